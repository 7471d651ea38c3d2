"""CIFAR-10 and CIFAR-100, from an array file if there is one, else through torchvision."""

from pathlib import Path
from typing import Literal

import numpy as np
from filelock import FileLock
from torchvision.datasets import CIFAR10, CIFAR100

from alasca_pl.data.arrays import ImageArrays, RawData
from alasca_pl.data.npz import read_npz

_DATASETS = {"cifar10": CIFAR10, "cifar100": CIFAR100}


def read_cifar(name: Literal["cifar10", "cifar100"], root: str | Path, download: bool = True) -> RawData:
    """Read 50,000 training and 10,000 test images of 32 x 32 pixels.

    Args:
        name: ``cifar10`` or ``cifar100``.
        root: Folder of the data. A file ``<name>.npz`` with MedMNIST's keys in it is used if it is there; else
            torchvision's files, whose checksums torchvision compares before it opens them.
        download: Let torchvision fetch missing files into ``root``.

    Raises:
        FileNotFoundError: If the data is not there and may not, or could not, be downloaded.
        ValueError: If ``name`` is unknown.
    """
    if name not in _DATASETS:
        raise ValueError(f"unknown data set {name!r}; choose one of {', '.join(_DATASETS)}")
    root = Path(root).expanduser()
    if (root / f"{name}.npz").is_file():
        return read_npz(root / f"{name}.npz")
    way_out = (
        f"put {name}.npz or torchvision's files there, set data.root to where they are, or allow data.download=true"
    )
    if not root.is_dir() and not download:
        raise FileNotFoundError(f"{name} is not in {root.absolute()}, which does not exist: {way_out}")
    if download:
        root.mkdir(parents=True, exist_ok=True)
    parts = {}
    try:
        for part in ("train", "test"):
            # Several processes of one run may arrive here at once; one of them downloads.
            if download:
                with FileLock(root / f".{name}.lock"):
                    dataset = _DATASETS[name](str(root), train=part == "train", download=True)
            else:
                dataset = _DATASETS[name](str(root), train=part == "train", download=False)
            parts[part] = ImageArrays(np.asarray(dataset.data), np.asarray(dataset.targets, dtype=np.int64))
    except (RuntimeError, OSError) as error:
        tried = "could not be downloaded" if download else "is not whole"
        raise FileNotFoundError(f"{name} in {root.absolute()} {tried} ({error}): {way_out}") from error
    return RawData(parts["train"], parts["test"], class_names=tuple(dataset.classes))
