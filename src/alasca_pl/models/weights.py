"""Whether pretrained weights can be had, asked in seconds rather than minutes."""

import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FILES = ("model.safetensors", "pytorch_model.bin")
_SECONDS = 10.0
_WAYS_OUT = (
    "give a file as model.backbone.options={pretrained_cfg_overlay:{file:FILE}}, or train from scratch with "
    "model.backbone.pretrained=false (with a recipe, suggested.pretrained=false)"
)


def require_timm_weights(
    name: str, options: Mapping[str, Any], place: str = "model.backbone", ways_out: str = _WAYS_OUT
) -> None:
    """Raise unless timm's weights of a model are on this machine or can be downloaded.

    timm itself tries again and again for more than a minute, and then does not say which weights it lacks.

    Args:
        name: timm's name of the model.
        options: Further arguments of ``timm.create_model``; with weights from elsewhere only their file is looked for.
        place: Name of the model in the config, for the message.
        ways_out: What can be done without a download, for the message.

    Raises:
        ValueError: If there are no weights or no such file, or they are neither here nor can be reached.
    """
    file = (options.get("pretrained_cfg_overlay") or {}).get("file") or options.get("checkpoint_path")
    if file and not Path(file).is_file():
        raise ValueError(f"there is no file {file} with weights of {name}, which {place}.options names")
    if any(key.startswith("pretrained_cfg") or key == "checkpoint_path" for key in options):
        return
    import timm

    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise ValueError(f"timm has no pretrained weights of {name!r}; set {place}.pretrained=false")
    if not config.hf_hub_id:
        return
    from huggingface_hub import constants, try_to_load_from_cache

    if any(isinstance(try_to_load_from_cache(config.hf_hub_id, file), str) for file in _FILES):
        return
    reason = "HF_HUB_OFFLINE is set"
    if not constants.HF_HUB_OFFLINE:
        address = f"{constants.ENDPOINT}/{config.hf_hub_id}/resolve/main/{_FILES[0]}"
        try:
            with urllib.request.urlopen(urllib.request.Request(address, method="HEAD"), timeout=_SECONDS):
                return
        except urllib.error.HTTPError:
            # There is an answer; what it means is left to timm.
            return
        except OSError as error:
            reason = str(getattr(error, "reason", error))
    raise ValueError(
        f"the pretrained weights of {name} ({config.hf_hub_id}) are not on this machine and cannot be downloaded: {reason}; "
        f"connect to the internet once, {ways_out}"
    )
