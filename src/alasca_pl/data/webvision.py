"""mini-WebVision: the first classes of WebVision's images from Google, tested on WebVision and ImageNet.

Source: Li et al., 2017 (WebVision); subset and files as in LiJunnan1992/DivideMix.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

from alasca_pl.data.images import PathImages
from alasca_pl.data.listfiles import find_base, find_list, read_pairs
from alasca_pl.data.samples import ImageFiles, RawData

log = logging.getLogger(__name__)

_ALL_CLASSES = 1000
_IMAGENET_LIST = "imagenet_val.txt"


def read_webvision(root: str | Path, num_classes: int = 50, imagenet_root: str | Path | None = None) -> RawData:
    """Read the lists of the data set; images stay in their files.

    ``info/train_filelist_google.txt`` names training images relative to ``root``, ``info/val_filelist.txt`` those in
    ``val_images_256``, and ``imagenet_val.txt``, if present, images of the ILSVRC-2012 validation set.

    Args:
        root: Folder of the data set; nothing is written into it.
        num_classes: Classes from 0 to keep, 2 to 1000.
        imagenet_root: Folder with ``imagenet_val.txt``; None for ``root/imagenet``, which may be absent. Images are
            searched in it, in its ``val``, and in ``root``.

    Returns:
        Training split, WebVision's validation images as test split, and the further test split ``imagenet``. People have checked
        the labels of the last two, which count as clean.

    Raises:
        FileNotFoundError: If a list or all images of a split are missing.
        ValueError: If ``num_classes`` is out of range, a list is damaged, or no image is left.
    """
    if not 2 <= num_classes <= _ALL_CLASSES:
        raise ValueError(
            f"WebVision has {_ALL_CLASSES} classes; data.num_classes must be 2 to {_ALL_CLASSES}, got {num_classes}"
        )
    root = Path(root).expanduser()
    train_list = find_list("train_filelist_google.txt", (root / "info",))
    val_list = find_list("val_filelist.txt", (root / "info",))
    train = _read_split(train_list, (root,), num_classes, is_clean=False)
    test = _read_split(val_list, (root / "val_images_256", root), num_classes)
    folder = root / "imagenet" if imagenet_root is None else Path(imagenet_root).expanduser()
    extra = {}
    if imagenet_root is not None or (folder / _IMAGENET_LIST).is_file():
        bases = (folder, folder / "val", root)
        extra["imagenet"] = _read_split(find_list(_IMAGENET_LIST, (folder,)), bases, num_classes)
    else:
        log.warning("no %s: the network will not be tested on ImageNet", folder / _IMAGENET_LIST)
    return RawData(train, test, extra=extra)


def _read_split(path: Path, bases: Sequence[Path], num_classes: int, is_clean: bool = True) -> ImageFiles:
    keys, labels = read_pairs(path, _ALL_CLASSES)
    kept = [key for key, label in zip(keys, labels.tolist()) if label < num_classes]
    if not kept:
        raise ValueError(f"{path} has no image of the first {num_classes} classes")
    base = find_base(kept, bases, f"images of {path.name}")
    labels = labels[labels < num_classes]
    return ImageFiles(PathImages(base, kept), labels, labels if is_clean else None)
