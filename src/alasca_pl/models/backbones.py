"""Trunks as stages with channel counts, from torchvision or timm; they are independent of auxiliary heads."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from alasca_pl.models.norms import norm_layer
from alasca_pl.models.timm_names import timm_problem
from alasca_pl.models.weights import require_timm_weights

# Those of torchvision.
_RESNETS = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d",
    "wide_resnet50_2", "wide_resnet101_2",
)  # fmt: skip


class Backbone(nn.Module):
    """A trunk that gives one feature map per stage.

    Attributes:
        channels: Channels of each stage's map, shallow to deep.
        reductions: Factor by which each stage's map is smaller than the input.
    """

    channels: tuple[int, ...]
    reductions: tuple[int, ...]

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the stages' maps (B, C_s, H_s, W_s) for images (B, C, H, W)."""
        raise NotImplementedError


class StagedBackbone(Backbone):
    """Stages that run one after the other.

    Args:
        stages: One module per stage.
        channels: Channels that each stage gives.
        reductions: Total reduction after each stage.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int], reductions: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.channels = tuple(channels)
        self.reductions = tuple(reductions)

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            image = stage(image)
            maps.append(image)
        return maps


def torchvision_resnet(
    name: str,
    in_channels: int = 3,
    stem: Literal["cifar", "imagenet"] = "cifar",
    pretrained: bool = False,
    norm: str = "batch",
) -> StagedBackbone:
    """A ResNet of torchvision, with four stages.

    Args:
        name: torchvision's name, e.g. ``resnet34``.
        in_channels: Channels of the images.
        stem: ``cifar``: 3x3 convolution with stride 1 and no pooling, for images of about 32 pixels; ``imagenet``: 7x7
            with stride 2, then pooling.
        pretrained: Load torchvision's ImageNet weights, downloading them if needed.
        norm: Normalisation, ``batch`` or ``group``.

    Raises:
        ValueError: If torchvision has no such ResNet, the stem is unknown, or pretrained weights do not fit the stem.

    References:
        He et al.: Deep Residual Learning for Image Recognition. CVPR 2016. https://arxiv.org/abs/1512.03385

    Example:
        >>> torchvision_resnet("resnet18").channels
        (64, 128, 256, 512)
    """
    if name not in _RESNETS:
        raise ValueError(
            f"torchvision has no ResNet {name!r}; choose one of {', '.join(_RESNETS)}, or model=timm for other families"
        )
    if stem not in ("cifar", "imagenet"):
        raise ValueError(f"unknown stem {stem!r}; choose one of cifar, imagenet")
    if pretrained and (stem == "cifar" or in_channels != 3 or norm != "batch"):
        raise ValueError(
            f"pretrained weights are for stem imagenet, 3 channels and norm batch, got stem {stem}, {in_channels} channels "
            f"and norm {norm}; set model.backbone.pretrained=false"
        )
    # Imported late: the package holds all of torchvision's models.
    from torchvision.models import get_model, get_model_weights

    make_norm = norm_layer(norm)
    try:
        weights = get_model_weights(name).DEFAULT if pretrained else None
        net = get_model(name, weights=weights, norm_layer=make_norm)
    except OSError as error:
        raise ValueError(
            f"the pretrained weights of {name} cannot be downloaded: {getattr(error, 'reason', error)}; connect to the "
            "internet once, or train from scratch with model.backbone.pretrained=false"
        ) from error
    first: list[nn.Module]
    if stem == "cifar":
        first = [nn.Conv2d(in_channels, 64, 3, padding=1, bias=False), net.bn1, net.relu]
        nn.init.kaiming_normal_(first[0].weight, mode="fan_out", nonlinearity="relu")  # type: ignore[arg-type]
    else:
        if in_channels != 3:
            net.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
            nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
        first = [net.conv1, net.bn1, net.relu, net.maxpool]
    expansion = net.fc.in_features // 512
    start = 1 if stem == "cifar" else 4
    return StagedBackbone(
        [nn.Sequential(*first, net.layer1), net.layer2, net.layer3, net.layer4],
        [width * expansion for width in (64, 128, 256, 512)],
        [start * factor for factor in (1, 2, 4, 8)],
    )


def small_resnet(
    in_channels: int = 3, width: int = 16, blocks: int = 1, num_stages: int = 3, norm: str = "batch"
) -> StagedBackbone:
    """A narrow residual network for small images and CPUs, made of torchvision's basic blocks.

    Args:
        in_channels: Channels of the images.
        width: Channels of the first stage; each further stage doubles them and halves the map.
        blocks: Basic blocks per stage.
        num_stages: Number of stages, at least 1.
        norm: Normalisation, ``batch`` or ``group``.

    Raises:
        ValueError: If a count is below 1 or ``norm`` is unknown.

    Example:
        >>> import torch
        >>> [tuple(each.shape) for each in small_resnet(in_channels=1)(torch.zeros(2, 1, 16, 16))]
        [(2, 16, 16, 16), (2, 32, 8, 8), (2, 64, 4, 4)]
    """
    for what, count in (("width", width), ("blocks", blocks), ("num_stages", num_stages)):
        if count < 1:
            raise ValueError(f"{what} must be at least 1, got {count}")
    make_norm = norm_layer(norm)
    stem = [nn.Conv2d(in_channels, width, 3, padding=1, bias=False), make_norm(width), nn.ReLU(inplace=True)]
    stages: list[nn.Module] = []
    channels = [width * 2**stage for stage in range(num_stages)]
    previous = width
    for number, current in enumerate(channels):
        layers = [] if number else list(stem)
        for block in range(blocks):
            stride = 2 if number and block == 0 else 1
            shortcut = None
            if stride != 1 or previous != current:
                conv = nn.Conv2d(previous, current, 1, stride=stride, bias=False)
                shortcut = nn.Sequential(conv, make_norm(current))
            layers.append(BasicBlock(previous, current, stride, shortcut, norm_layer=make_norm))
            previous = current
        stages.append(nn.Sequential(*layers))
    backbone = StagedBackbone(stages, channels, [2**stage for stage in range(num_stages)])
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            # torchvision's ResNet initialises its convolutions like this; its blocks alone do not.
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return backbone


class TimmBackbone(Backbone):
    """Any timm model that offers feature maps.

    Args:
        name: timm's name, e.g. ``convnext_atto``.
        in_channels: Channels of the images.
        pretrained: Load timm's weights, downloading them if needed.
        out_indices: Which of timm's feature maps are the stages; None takes all.
        options: Further arguments of ``timm.create_model``.
        modules: Names of modules of the model whose outputs are the stages, instead of timm's feature maps; the last must
            be the last that runs before pooling. Reductions are those at the model's usual size of images, rounded to
            powers of two.

    Raises:
        ValueError: If timm is not installed, or knows no such model, or the model has no such feature maps or modules, or its
            weights cannot be had.
    """

    def __init__(
        self,
        name: str,
        in_channels: int = 3,
        pretrained: bool = False,
        out_indices: Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
        modules: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        problem = timm_problem(name, "model=timm")
        if problem is not None:
            raise ValueError(problem)
        import timm

        extra = dict(options or {})
        if pretrained:
            require_timm_weights(name, extra)
        self._stage_names: tuple[str, ...] = tuple(modules or ())
        if modules is not None:
            if out_indices is not None or not self._stage_names:
                raise ValueError(
                    f"name the stages either by modules or by out_indices, got {list(modules)} and {out_indices}"
                )
            with torch.device("meta"):
                sketch = timm.create_model(name, num_classes=0, in_chans=in_channels, **extra)
            self.channels, self.reductions = self._measured(sketch, in_channels)
            self._channels_last = False
            self.trunk = timm.create_model(
                name, pretrained=pretrained, num_classes=0, in_chans=in_channels, **extra
            )  # fmt: skip
            return
        if out_indices is not None:
            extra["out_indices"] = tuple(out_indices)
        try:
            trunk: Any = timm.create_model(
                name, pretrained=pretrained, features_only=True, in_chans=in_channels, **extra
            )
        except (RuntimeError, AttributeError, AssertionError, IndexError) as error:
            raise ValueError(f"timm's {name!r} cannot give feature maps: {error}; choose another model") from error
        self.trunk = trunk
        # Some families put channels last; heads expect them second.
        self._channels_last = str(getattr(trunk, "output_fmt", "NCHW")).endswith("NHWC")
        self.channels = tuple(trunk.feature_info.channels())
        self.reductions = tuple(int(reduction) for reduction in trunk.feature_info.reduction())

    def _measured(self, trunk: Any, in_channels: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels and reductions of the named modules, from a model without data."""
        known = dict(trunk.named_modules())
        for module in self._stage_names:
            if module not in known:
                top = ", ".join(name for name, _ in trunk.named_children())
                raise ValueError(f"the model has no module {module!r}; it has {top} and modules within these")
        height, width = trunk.default_cfg["input_size"][1:]
        image = torch.zeros(1, in_channels, height, width, device="meta")
        with torch.no_grad():
            maps = self._outputs(trunk.eval(), image)
        if not all(isinstance(feature_map, Tensor) and feature_map.ndim == 4 for feature_map in maps):
            raise ValueError(f"modules {', '.join(self._stage_names)} do not all give maps of channels, height, width")
        return (
            tuple(feature_map.shape[1] for feature_map in maps),
            tuple(2 ** round(math.log2(height / feature_map.shape[2])) for feature_map in maps),
        )

    def _outputs(self, trunk: Any, image: Tensor) -> list[Tensor]:
        outputs: dict[str, Tensor] = {}
        handles = [
            trunk.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, name=name: outputs.__setitem__(name, output)
            )
            for name in self._stage_names
        ]
        try:
            trunk.forward_features(image)
        finally:
            for handle in handles:
                handle.remove()
        return [outputs[name] for name in self._stage_names]

    def forward(self, image: Tensor) -> list[Tensor]:
        if self._stage_names:
            return self._outputs(self.trunk, image)
        maps = self.trunk(image)
        return [feature_map.permute(0, 3, 1, 2) for feature_map in maps] if self._channels_last else list(maps)
