"""Networks that are not trained, for features of the training set."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alasca_pl.models.timm_names import timm_problem
from alasca_pl.models.weights import require_timm_weights


def require_weights(name: str, options: Mapping[str, Any], place: str = "encoder") -> None:
    """Raise unless the weights of a ``TimmEncoder`` can be had, see ``require_timm_weights``."""
    ways_out = (
        f"give a file as +{place}.options={{pretrained_cfg_overlay:{{file:FILE}}}}, or set {place}=null, which takes the "
        "features of the network that is trained"
    )
    require_timm_weights(name, options, place, ways_out)


class Encoder(nn.Module):
    """From pixels in [0, 1], (B, C, H, W), to features (B, E)."""

    def forward(self, image: Tensor) -> Tensor:
        """Return features (B, E)."""
        raise NotImplementedError


class TimmEncoder(Encoder):
    """Any timm model without its classifier. It is made, and its weights are loaded, when it is first used.

    Images are scaled to the size that the model was trained with, grey ones repeated in each channel, and normalised as in its
    training.

    Args:
        name: timm's name, e.g. ``vit_base_patch32_clip_224.openai``.
        pretrained: Load timm's weights, downloading them if needed; without them features are those of random weights.
        size: Height and width of the images that the model gets; None takes the size of its training.
        options: Further arguments of ``timm.create_model``.

    Raises:
        ValueError: If ``size`` is below 1; when it is first used, if timm is not installed, knows no such model, or its weights
            cannot be had.

    Example:
        >>> import torch
        >>> TimmEncoder("resnet18", pretrained=False, size=32)(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 512])
    """

    def __init__(
        self, name: str, pretrained: bool = True, size: int | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        if size is not None and not size >= 1:
            raise ValueError(f"size must be at least 1, got {size}; null is the size of the model's training")
        self.name = name
        self.pretrained = pretrained
        self.size = size
        self.options = dict(options or {})
        self._made: nn.Module | None = None

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        model: Any = self._model().to(image.device)
        config = model.pretrained_cfg
        channels, *size = config["input_size"] if self.size is None else (config["input_size"][0], self.size, self.size)
        if image.shape[1] == 1:
            image = image.expand(-1, channels, -1, -1)
        image = F.interpolate(image, size, mode="bicubic", antialias=True).clamp(0.0, 1.0)
        mean, std = (image.new_tensor(config[name]).view(1, -1, 1, 1) for name in ("mean", "std"))
        return model((image - mean) / std)

    def _model(self) -> nn.Module:
        if self._made is None:
            # Not earlier: a finished run is opened and used without it.
            problem = timm_problem(self.name, "an encoder of timm")
            if problem is not None:
                raise ValueError(problem)
            import timm

            if self.pretrained:
                require_weights(self.name, self.options)
            # Random weights are the same in all processes and runs.
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                made = timm.create_model(self.name, pretrained=self.pretrained, num_classes=0, **self.options)
            self._made = made.eval().requires_grad_(False)
        return self._made
