"""A trunk with its main head and auxiliary heads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from alasca_pl.core.modes import evaluating
from alasca_pl.core.pooling import GlobalAverage
from alasca_pl.core.types import NetworkOutput
from alasca_pl.models.backbones import Backbone
from alasca_pl.models.norm_outputs import collected, norm_layers

# Logits, logits of the auxiliary heads, features, those of the auxiliary heads.
_Classified: TypeAlias = tuple[Tensor, tuple[Tensor, ...], Tensor, tuple[Tensor, ...]]
_Classify: TypeAlias = Callable[["Network", Tensor], _Classified]
_MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


class Network(nn.Module):
    """Backbone stages, a main head on the last, auxiliary heads on earlier ones.

    Args:
        backbone: The trunk.
        num_classes: K.

    Attributes:
        feature_size: D, input size of the main head.
        memory_format: Layout of images and feature maps; set by ``use_memory_format``.
        compiled_sizes: Batches whose size is a multiple of this one are trained by compiled code; None if none are. Set by
            ``compile_for``.

    Example:
        >>> import torch
        >>> from alasca_pl.models.backbones import small_resnet
        >>> network = Network(small_resnet(in_channels=1), num_classes=10)
        >>> network(torch.zeros(2, 1, 16, 16)).logits.shape
        torch.Size([2, 10])
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.feature_size = backbone.channels[-1]
        self.pool = GlobalAverage()
        self.head = nn.Linear(self.feature_size, num_classes)
        self.aux_heads = nn.ModuleDict()
        self.extra_heads = nn.ModuleList()
        self.memory_format = torch.contiguous_format
        self.compiled_sizes: int | None = None
        self._run: _Classify = _classify
        self._gives_norm_outputs = False

    def use_memory_format(self, name: str) -> None:
        """Choose the layout of weights, images and feature maps; shapes stay the same.

        Args:
            name: ``channels_last``, in which convolutions are faster on most processors and GPUs, or ``contiguous``. Their
                results differ by rounding.

        Raises:
            ValueError: If the name is unknown.
        """
        if name not in _MEMORY_FORMATS:
            raise ValueError(f"unknown model.memory_format {name!r}; choose one of {', '.join(_MEMORY_FORMATS)}")
        self.memory_format = _MEMORY_FORMATS[name]
        self.to(memory_format=self.memory_format)

    def enable_norm_outputs(self) -> None:
        """Return the activations after the normalisation layers inside the backbone's blocks from now on.

        All other outputs of the network stay the same to the last bit.

        Raises:
            ValueError: If the backbone has no supported blocks.
        """
        norm_layers(self.backbone)
        self._gives_norm_outputs = True

    def compile_for(self, batch_size: int, backend: Any = "inductor") -> bool:
        """Compile the training of batches whose size is a multiple of a given one; the first of each size takes up to minutes.

        Other sizes, such as an epoch's last batch, and evaluation are not compiled, so that nothing is compiled again in the
        course of a run. Results differ by rounding.

        Args:
            batch_size: Size of a process's batches.
            backend: See ``torch.compile``.

        Returns:
            Whether it will be compiled: not if activations after normalisation layers are returned, because a penalty on their
            gradient needs second derivatives, which compiled code does not have.
        """
        if self._gives_norm_outputs:
            return False
        self.compiled_sizes = batch_size
        # A function of the network, not bound to it: a copy of this network must run its own weights.
        self._run = torch.compile(_classify, dynamic=False, backend=backend)
        return True

    def _is_compiled_for(self, image: Tensor) -> bool:
        size = self.compiled_sizes
        return size is not None and self.training and torch.is_grad_enabled() and len(image) % size == 0

    def attach(self, heads: Mapping[int, nn.Module]) -> None:
        """Attach auxiliary heads to stages.

        Args:
            heads: Stage number from 1, to a module with a method ``features`` from maps (B, C_s, H_s, W_s) to (B, D) and
                a module ``linear`` from these to logits (B, K).

        Raises:
            ValueError: If a stage does not exist.
        """
        for stage in sorted(heads):
            if not 1 <= stage <= len(self.backbone.channels):
                raise ValueError(f"no stage {stage}; the network has stages 1 to {len(self.backbone.channels)}")
            self.aux_heads[str(stage)] = heads[stage]

    def attach_extra(self, heads: Sequence[nn.Module]) -> None:
        """Add further heads on the features, which count as parts of the main network; who needs them applies them."""
        self.extra_heads.extend(heads)

    def part(self, name: str) -> nn.Module:
        """Return a part of the network by its name.

        Args:
            name: ``backbone``, its ``earlier_stages`` or ``last_stage``, ``head`` or ``aux_heads``.

        Raises:
            ValueError: If the network has no such part.
        """
        if name in ("backbone", "head", "aux_heads"):
            return getattr(self, name)
        if name not in ("earlier_stages", "last_stage"):
            raise ValueError(f"a network has no part {name!r}")
        stages = getattr(self.backbone, "stages", None)
        if not isinstance(stages, nn.ModuleList) or len(stages) < 2:
            raise ValueError(
                f"this backbone has no {name} apart from the rest; choose a ResNet, or name backbone and head"
            )
        return stages[:-1] if name == "earlier_stages" else stages[-1]

    def forward(self, image: Tensor) -> NetworkOutput:
        """Classify images (B, C, H, W) with all heads."""
        # Looked up at each pass, because layers are replaced when a network is converted for several processes.
        image = image.contiguous(memory_format=self.memory_format)
        run = self._run if self._is_compiled_for(image) else _classify
        with collected(norm_layers(self.backbone) if self._gives_norm_outputs else []) as norm_outputs:
            logits, aux_logits, features, aux_features = run(self, image)
        return NetworkOutput(logits, aux_logits, features, tuple(norm_outputs), aux_features)


def _classify(network: Network, image: Tensor) -> _Classified:
    maps = network.backbone(image)
    features = network.pool(maps[-1]).flatten(1)
    aux_features, aux_logits = [], []
    for stage, head in network.aux_heads.items():
        aux_features.append(head.features(maps[int(stage) - 1]))  # type: ignore[operator]
        aux_logits.append(head.linear(aux_features[-1]))  # type: ignore[operator]
    return network.head(features), tuple(aux_logits), features, tuple(aux_features)


def kaiming_init(module: nn.Module) -> None:
    """Initialise all convolution and linear weights by Kaiming's normal rule with default arguments.

    Biases keep their values. Source: jongwooko/ALASCA; torchvision's own rule differs.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(part.weight)


def torch_init(module: nn.Module) -> None:
    """Draw all convolution and linear weights and biases anew by torch's own rule, uniform by the fan-in.

    Source: Kthyeon/FINE_official, which does not reinitialise torch's layers; torchvision's ResNets do.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.reset_parameters()


_RULES: dict[str, Callable[[nn.Module], None]] = {
    "library": lambda module: None,
    "kaiming": kaiming_init,
    "torch": torch_init,
}


def initialise(module: nn.Module, rule: str) -> None:
    """Initialise a network or a head.

    Args:
        module: The network or head as its library made it.
        rule: ``library`` does not change it; ``kaiming``, see ``kaiming_init``; ``torch``, see ``torch_init``.

    Raises:
        ValueError: If the rule is unknown.
    """
    if rule not in _RULES:
        raise ValueError(f"unknown model.init {rule!r}; choose one of {', '.join(_RULES)}")
    _RULES[rule](module)


@torch.no_grad()
def check_shapes(network: Network, image_shape: tuple[int, int, int]) -> None:
    """Run one image through a network in evaluation mode, so that sizes that do not fit are detected before training.

    Args:
        network: The network with its heads.
        image_shape: (C, H, W).

    Raises:
        ValueError: If the image is too small for the network or one of its heads.
    """
    try:
        with evaluating(network):
            network(torch.zeros(1, *image_shape))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"images of {image_shape[0]} x {image_shape[1]} x {image_shape[2]} (channels, height, width) do not fit the "
            f"network: {error}; choose a smaller network, fewer stages (aux.stages) or larger images"
        ) from error
