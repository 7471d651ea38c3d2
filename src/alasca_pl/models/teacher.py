"""A moving average of a network's weights, whose predictions vary less."""

import copy
import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from alasca_pl.core.types import NetworkOutput

Schedule = Literal["constant", "sigmoid_ramp", "bias_corrected"]
Listener = Literal["self", "peer"]


class WeightAverage(nn.Module):
    """Moving average of a network's parameters, without its auxiliary heads.

    Args:
        network: The network to average; the copy starts equal to it.
        momentum: Fraction of the old average that is kept at an update, in [0, 1).
        schedule: How the momentum grows over updates n = 1, 2, ... ``constant``: not at all. ``sigmoid_ramp``: ``momentum``
            times ``exp(-5 (1 - min((n + 1) / ramp_steps, 1))^2)``. ``bias_corrected``: ``min(1 - 1 / (n + 1),
            momentum)``, at first the plain mean of the initial weights and all updates.
        ramp_steps: Updates until the end of the ramp, at least 1; only for ``sigmoid_ramp``.
        own_statistics: False copies buffers and always predicts in evaluation mode. True averages parameters only and
            predicts in this module's mode, so that in training mode its normalisation layers use and collect their own
            statistics.
        listen: Which average gives the predictions that network m's parts observe: ``self``, its own; ``peer``, that of
            network (m + 1) mod M. Only steps read it.

    Raises:
        ValueError: If a value is outside its range or unknown.

    Source: schedules and statistics as in shengliu66/ELR, where the copy starts from its own random weights and not
    from those of the network.

    References:
        Tarvainen and Valpola: Mean teachers are better role models. NeurIPS 2017. https://arxiv.org/abs/1703.01780
        Liu et al.: Early-Learning Regularization Prevents Memorization of Noisy Labels. NeurIPS 2020.
        https://arxiv.org/abs/2007.00151
        Code: shengliu66/ELR@934af53

    Example:
        >>> import torch
        >>> network = torch.nn.Linear(1, 1, bias=False)
        >>> _ = torch.nn.init.constant_(network.weight, 2.0)
        >>> teacher = WeightAverage(network, momentum=0.75)
        >>> _ = torch.nn.init.constant_(network.weight, 6.0)
        >>> teacher.update(network)
        >>> teacher.average.weight.item()
        3.0
    """

    def __init__(
        self,
        network: nn.Module,
        momentum: float = 0.999,
        schedule: Schedule = "constant",
        ramp_steps: int = 40_000,
        own_statistics: bool = False,
        listen: Listener = "self",
    ) -> None:
        super().__init__()
        if not 0.0 <= momentum < 1.0:
            raise ValueError(f"momentum must lie in [0, 1), got {momentum}; 0 follows the network at once")
        if schedule not in get_args(Schedule):
            raise ValueError(f"unknown schedule {schedule!r}; choose one of {', '.join(get_args(Schedule))}")
        if not ramp_steps >= 1:
            raise ValueError(f"ramp_steps must be at least 1, got {ramp_steps}; schedule=constant has no ramp")
        if listen not in get_args(Listener):
            raise ValueError(f"unknown listen {listen!r}; choose one of {', '.join(get_args(Listener))}")
        self.momentum = momentum
        self.schedule: Schedule = schedule
        self.ramp_steps = ramp_steps
        self.own_statistics = own_statistics
        self.listen: Listener = listen
        self.steps = 0
        self.average = copy.deepcopy(network).requires_grad_(False)
        if hasattr(self.average, "aux_heads"):
            # The copy's heads are not used, and in training mode their layers would needlessly collect statistics.
            self.average.aux_heads = nn.ModuleDict()

    def current_momentum(self) -> float:
        """Fraction of the old average that the next update keeps."""
        if self.schedule == "constant":
            return self.momentum
        # The next update, counted from 1 as in shengliu66/ELR.
        number = self.steps + 1
        if self.schedule == "bias_corrected":
            return min(1.0 - 1.0 / (number + 1), self.momentum)
        left = 1.0 - min((number + 1) / self.ramp_steps, 1.0)
        return self.momentum * math.exp(-5.0 * left**2)

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the average towards the network; called after each optimiser step."""
        keep = self.current_momentum()
        weights = dict(network.named_parameters())
        for name, weight in self.average.named_parameters():
            weight.lerp_(weights[name], 1.0 - keep)
        if not self.own_statistics:
            buffers = dict(network.named_buffers())
            for name, buffer in self.average.named_buffers():
                buffer.copy_(buffers[name])
        self.steps += 1

    @torch.no_grad()
    def forward(self, image: Tensor) -> NetworkOutput:
        """Classify images (B, C, H, W) with the averaged weights, without gradient."""
        self.average.train(self.own_statistics and self.training)
        return self.average(image)

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        self.steps = int(state)
