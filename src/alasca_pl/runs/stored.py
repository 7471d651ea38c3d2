"""A checkpoint together with the data that it was trained on."""

from typing import Any

import torch

from alasca_pl.build.data import build_data
from alasca_pl.core.errors import UserError
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.runs.early import check_device
from alasca_pl.runs.load import LoadedRun


def data_of(run: LoadedRun, source: dict[str, Any] | None = None) -> NoisyDataModule:
    """Read the data of a run anew.

    Args:
        run: An opened run.
        source: Current location of the data, e.g. ``{"root": ...}``, if it has moved since the run.

    Raises:
        UserError: If these are other data than the run's.
    """
    # A measurement must not download data that the run already had.
    fetch = {"download": False} if "download" in run.config["data"] else {}
    data = build_data({**run.config, "data": {**run.config["data"], **fetch, **(source or {})}})
    if data.facts.noise_digest != run.facts.noise_digest or data.facts.num_classes != run.facts.num_classes:
        raise UserError(
            f"{run.folder} was trained on other data: noisy labels {run.facts.noise_digest[:12]} of "
            f"{run.facts.num_classes} classes, now {data.facts.noise_digest[:12]} of {data.facts.num_classes}; "
            "point data.root or data.path to the same data"
        )
    return data


def device_of(name: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` names.

    Raises:
        UserError: If it is another name, or there is no such device.
    """
    check_device(name)
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device is cuda, but torch finds no CUDA device; choose device=cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
