"""Clothing1M: a million images of clothes with labels taken from the surrounding text, 14 classes.

Source: Xiao et al., CVPR 2015. Files as in shengliu66/ELR (lists in the root) and Kthyeon/FINE_official (in
``annotations``).
"""

from pathlib import Path
from typing import Literal

import numpy as np

from alasca_pl.data.images import PathImages
from alasca_pl.data.listfiles import find_base, find_list, read_keys, read_pairs
from alasca_pl.data.names import name_some
from alasca_pl.data.samples import ImageFiles, RawData
from alasca_pl.noise.labels import Labels

CLASS_NAMES = (
    "T-Shirt",
    "Shirt",
    "Knitwear",
    "Chiffon",
    "Sweater",
    "Hoodie",
    "Windbreaker",
    "Jacket",
    "Down Coat",
    "Suit",
    "Shawl",
    "Dress",
    "Vest",
    "Underwear",
)


def read_clothing1m(root: str | Path, train: Literal["noisy", "clean"] = "noisy") -> RawData:
    """Read the lists of the data set; images stay in their files.

    ``{noisy,clean}_train_key_list.txt``, ``clean_val_key_list.txt``, ``clean_test_key_list.txt``, ``noisy_label_kv.txt`` and
    ``clean_label_kv.txt`` may each be in ``root`` or in ``root/annotations``; images in ``root/images`` or in ``root``.

    Args:
        root: Folder of the data set; nothing is written into it.
        train: Training list: ``noisy``, or ``clean`` for the small one with clean labels.

    Returns:
        Training, validation and test split. Labels of the last two are clean.

    Raises:
        FileNotFoundError: If a list or all images are missing.
        ValueError: If a list is damaged, or images have no label.
    """
    if train not in ("noisy", "clean"):
        raise ValueError(f"unknown training list {train!r} of Clothing1M; choose one of noisy, clean")
    root = Path(root).expanduser()
    folders = (root, root / "annotations")
    clean = _read_labels(find_list("clean_label_kv.txt", folders))
    noisy = _read_labels(find_list("noisy_label_kv.txt", folders)) if train == "noisy" else clean
    lists = {split: find_list(f"clean_{split}_key_list.txt", folders) for split in ("val", "test")}
    lists["train"] = find_list(f"{train}_train_key_list.txt", folders)
    keys = {split: [_stripped(key) for key in read_keys(path)] for split, path in lists.items()}
    base = find_base(keys["train"], (root / "images", root), "images of Clothing1M")
    splits = {}
    for split, path in lists.items():
        labels = _look_up(keys[split], noisy if split == "train" else clean, path)
        known = all(key in clean for key in keys[split])
        of_split = _look_up(keys[split], clean, path) if known else None
        splits[split] = ImageFiles(PathImages(base, keys[split]), labels, of_split)
    return RawData(splits["train"], splits["test"], splits["val"], CLASS_NAMES)


def _read_labels(path: Path) -> dict[str, int]:
    keys, labels = read_pairs(path, len(CLASS_NAMES))
    return dict(zip((_stripped(key) for key in keys), labels.tolist()))


def _stripped(key: str) -> str:
    return key.removeprefix("images/")


def _look_up(keys: list[str], labels: dict[str, int], path: Path) -> Labels:
    without = [repr(key) for key in keys if key not in labels]
    if without:
        raise ValueError(f"{len(without)} of {len(keys)} images of {path} have no label: {name_some(without)}")
    return np.array([labels[key] for key in keys], dtype=np.int64)
