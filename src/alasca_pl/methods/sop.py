"""SOP and SOP+: a small noise term per sample absorbs what the network does not explain."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from alasca_pl.core.batch_mean import batch_mean
from alasca_pl.core.numerics import full_precision
from alasca_pl.core.parts import Criterion
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.seeds import generator
from alasca_pl.core.types import Progress, Targets

_EPS = 1e-4
# Standard deviation of the noise terms at the start.
_START = 1e-8
# Published rates are for the mean over batches of this size.
_BATCH = 128


class SparseOverParameterization(Criterion):
    """Cross-entropy of the prediction plus the sample's noise term, which is learned along and left out at test time.

    Sample i has a number ``u`` and K numbers ``v``. ``U = u^2`` raises the probability of the given label, ``V = v^2`` lowers
    those of the other classes; the result is scaled to sum to 1. After each optimiser step they descend the gradient of

    * ``-log q_y`` of that probability, only ``u``;
    * the squared error of ``onehot(argmax p) + U - V`` against the label, which has no gradient for the network and is not
      part of the loss that is returned.

    Near zero they grow by a constant factor per visit, so that they stay negligible while the network learns what is common.

    SOP+ adds a penalty on the mean prediction's distance from uniform, and with further views
    ``KL(prediction for the first || prediction for the other)``, with no gradient for the first.

    Args:
        num_samples: N, size of the training split.
        num_classes: K.
        lr_u: Rate of ``u``, at least 0, as published for batches of 128: a visit moves a row by the rate over 128 times the
            gradient of its own loss, whatever the batch size is.
        lr_v: Rate of ``v``.
        strength_consistency: Factor of the consistency of views, at least 0; above 0 the step must bring further views.
        strength_balance: Factor of the penalty on the mean prediction, at least 0.
        u_follows_error: Let ``u`` descend the squared error too, as the authors' code does and their Algorithm 1 does not.
        seed: Of the start.

    Raises:
        ValueError: If a value is outside its range.

    Source: Liu et al., ICML 2022; shengliu66/SOP.

    References:
        Liu et al.: Robust Training under Label Noise by Over-parameterization. ICML 2022.
        https://arxiv.org/abs/2202.14026
        Code: shengliu66/SOP@4d991ce

    Example:
        >>> import torch
        >>> from alasca_pl.core.types import Progress, Targets
        >>> targets = Targets.unmixed(label=torch.tensor([0, 1]), index=torch.tensor([0, 1]))
        >>> now = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5)
        >>> logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
        >>> criterion = SparseOverParameterization(num_samples=2, num_classes=3)
        >>> criterion(logits, targets, now)
        tensor([0.4076, 1.4076])
        >>> for _ in range(40):
        ...     criterion.settle()
        ...     loss = criterion(logits, targets, now)
        >>> loss
        tensor([0.4076, 0.4742])
    """

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        lr_u: float = 10.0,
        lr_v: float = 10.0,
        strength_consistency: float = 0.0,
        strength_balance: float = 0.0,
        u_follows_error: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name, value in (
            ("lr_u", lr_u),
            ("lr_v", lr_v),
            ("strength_consistency", strength_consistency),
            ("strength_balance", strength_balance),
        ):
            if not value >= 0:
                raise ValueError(f"{name} must be at least 0, got {value}")
        self.lr_u = lr_u
        self.lr_v = lr_v
        self.strength_consistency = strength_consistency
        self.strength_balance = strength_balance
        self.u_follows_error = u_follows_error
        self.others = "views" if strength_consistency else "none"
        self.noise = SampleBuffer(num_samples, 1 + num_classes, momentum=0.0)
        """Rows (u, v_1, ..., v_K)."""
        start = torch.randn(num_samples, 1 + num_classes, generator=generator(seed, "sop"))
        self.noise.fill(_START * start)
        self._kept: list[tuple[Tensor, Tensor]] = []

    def confidence(self, label: Tensor) -> Tensor:
        return 1.0 - self.noise.rows[:, 0].square().clamp(max=1.0)

    def forward(self, logits: Tensor, targets: Targets, progress: Progress, others: Sequence[Tensor] = ()) -> Tensor:
        log_probs = F.log_softmax(full_precision(logits), dim=1)
        probs = log_probs.exp()
        rows = self.noise.read(targets).to(probs.dtype)
        self._keep(probs.detach(), targets, rows)
        cross_entropy, _, shifted = self.terms(probs, targets.label, rows)
        loss = (targets.weight * cross_entropy).sum(dim=0)
        if self.strength_balance:
            loss = loss + self.strength_balance * _balance(shifted, targets)
        for other in others if self.strength_consistency else ():
            second = F.log_softmax(full_precision(other), dim=1)
            first = log_probs.detach()
            loss = loss + self.strength_consistency * (first.exp() * (first - second)).sum(dim=1)
        return loss

    def inactive_because(self, last: Progress) -> str | None:
        largest = float(self.noise.rows.square().max())
        if largest >= _EPS or self.strength_consistency or self.strength_balance:
            return None
        return (
            f"its noise terms u^2 and v^2 stayed below {_EPS:g}, the smallest probability that the loss tells apart; they grow "
            "by a factor per epoch, so train longer or raise lr_u and lr_v"
        )

    def settle(self) -> None:
        for delta, index in self._kept:
            self.noise.add(delta, index)
        self._kept.clear()

    def terms(self, probs: Tensor, label: Tensor, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The losses of each label.

        Args:
            probs: (B, K).
            label: int64 (V, B).
            rows: (V, B, 1 + K), values of ``noise``.

        Returns:
            The cross-entropy (V, B), the squared error (V, B) and the probabilities with noise, (V, B, K).
        """
        onehot = F.one_hot(label, probs.shape[1]).to(probs.dtype)
        raised = (rows[..., :1].square() * onehot).clamp(0.0, 1.0)
        lowered = (rows[..., 1:].square() * (1.0 - onehot)).clamp(0.0, 1.0)
        mass = (probs + raised - lowered.detach()).clamp_min(_EPS)
        shifted = (mass / mass.sum(dim=-1, keepdim=True)).clamp(_EPS, 1.0)
        cross_entropy = -shifted.gather(-1, label.unsqueeze(-1)).squeeze(-1).log()
        predicted = F.one_hot(probs.argmax(dim=1), probs.shape[1]).to(probs.dtype)
        if not self.u_follows_error:
            raised = raised.detach()
        error = (predicted + raised - lowered - onehot).square().sum(dim=-1)
        return cross_entropy, error, shifted

    def _keep(self, probs: Tensor, targets: Targets, rows: Tensor) -> None:
        """Keep the steps of the rows until the optimiser has taken its own."""
        with torch.enable_grad():
            leaf = rows.clone().requires_grad_()
            cross_entropy, error, shifted = self.terms(probs, targets.label, leaf)
            loss = (targets.weight * (cross_entropy + error)).sum()
            if self.strength_balance:
                # It is a term of the whole batch, so that the sum over its samples is what the others are.
                loss = loss + self.strength_balance * _balance(shifted, targets).sum()
            (slope,) = torch.autograd.grad(loss, leaf)
        rate = slope.new_tensor([self.lr_u] + [self.lr_v] * (rows.shape[-1] - 1)) / _BATCH
        self._kept.append(((-rate * slope).flatten(0, 1), targets.index.flatten()))


def _balance(shifted: Tensor, targets: Targets) -> Tensor:
    """Minus the mean logarithm of the mean prediction (V, B, K), for each sample (B,)."""
    mean, factor = batch_mean((targets.weight.to(shifted.dtype).unsqueeze(-1) * shifted).sum(dim=0))
    return (-mean.clamp(_EPS, 1.0).log().mean() * factor).expand(shifted.shape[1])
