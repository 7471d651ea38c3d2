"""Folders with one folder of images per class."""

import logging
import os
from pathlib import Path

import numpy as np

from alasca_pl.data.archives import extract, is_archive
from alasca_pl.data.images import EXTENSIONS, PathImages
from alasca_pl.data.names import lookalikes, name_some
from alasca_pl.data.places import find_folder
from alasca_pl.data.samples import ImageFiles, RawData

log = logging.getLogger(__name__)

_SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def read_folder(root: str | Path, extract_to: str | Path | None = None) -> RawData:
    """Read ``<class>/*`` or ``{train,val,test}/<class>/*`` below a folder.

    Classes are numbered in the order of their names, compared as text (``10`` comes before ``2``); images are in the order
    of class, then path. Files below folders within a class belong to it. Hidden files are ignored, as are files without
    the name of an image. Folders of classes and files may be links. ``valid`` and ``validation`` also mean ``val``.

    Args:
        root: The folder, or a .zip, .tar, .tar.gz or .tgz file with such a folder in it. Nothing is written into or beside
            it.
        extract_to: Where an archive is unpacked, in a folder of its own.

    Returns:
        ``ImageFiles`` of the training split, and of the others that exist.

    Raises:
        FileNotFoundError: If ``root`` does not exist.
        ValueError: If it has no such layout, a class has no image, there is only one, or splits differ in their classes; for
            an archive also if it is refused or there is no ``extract_to``.
    """
    root = find_folder(root)
    shown = root
    if root.is_file():
        root = _unpacked(root, extract_to)
    elif not root.is_dir():
        raise ValueError(f"{root} is neither a folder nor a file; set data.root to a folder of images or an archive")
    folders = _split_folders(root, shown)
    classes = {split: [entry.name for entry in _folders(folder)] for split, folder in folders.items()}
    names = classes["train"]
    _check_classes(classes, folders, root, shown)
    splits: dict[str, ImageFiles] = {}
    ignored = 0
    for split, folder in folders.items():
        splits[split], other = _read_split(root, folder, names, shown)
        ignored += other
    if ignored:
        log.info("ignored %d file(s) of %s that do not have the name of an image in a class", ignored, shown)
    return RawData(splits["train"], splits.get("test"), splits.get("val"), tuple(names))


def _unpacked(root: Path, extract_to: str | Path | None) -> Path:
    if not is_archive(root):
        raise ValueError(f"{root} is a file; set data.root to a folder or to a .zip, .tar, .tar.gz or .tgz file")
    if extract_to is None:
        raise ValueError(f"{root} is an archive; set data.extract_to to the folder to unpack it in")
    folder = extract(root, extract_to)
    # Archives often contain only the folder that they were made from.
    while len(inside := _folders(folder)) == 1 and not _images_in(folder) and inside[0].name.lower() not in _SPLITS:
        if not _folders(Path(inside[0])):
            break
        folder = Path(inside[0])
    return folder


def _split_folders(root: Path, shown: Path) -> dict[str, Path]:
    """Folder of each split: the root itself if it holds classes."""
    folders = _folders(root)
    # A class may be called "train": as a split it holds folders.
    found = [entry for entry in folders if entry.name.lower() in _SPLITS and _folders(Path(entry))]
    if not found:
        if not folders:
            images = _images_in(root)
            raise ValueError(
                f"{shown} has no folders of classes; found {images} image(s) and {len(os.listdir(root)) - images} other "  # noqa: PTH208
                "file(s); put the images of each class into a folder of its name"
            )
        return {"train": root}
    splits: dict[str, Path] = {}
    for entry in found:
        split = _SPLITS[entry.name.lower()]
        if split in splits:
            raise ValueError(
                f"{shown} has both {splits[split].name}/ and {entry.name}/ for the {split} split; rename or remove one"
            )
        splits[split] = Path(entry)
    if "train" not in splits:
        raise ValueError(f"{shown} has {name_some([f'{entry.name}/' for entry in found])}, but no train/")
    others = [entry.name for entry in folders if entry not in found]
    if others:
        log.warning("ignored folders of %s beside its splits: %s", shown, name_some([repr(name) for name in others]))
    return {split: splits[split] for split in ("train", "val", "test") if split in splits}


def _check_classes(classes: dict[str, list[str]], folders: dict[str, Path], root: Path, shown: Path) -> None:
    names = classes["train"]
    same = lookalikes(sorted(set().union(*classes.values())))
    if same:
        raise ValueError(
            f"the class folders {same[0]!a} and {same[1]!a} in {shown} look the same; rename one like the other, "
            "or move its images there"
        )
    for split, found in classes.items():
        lacking, more = sorted(set(names) - set(found)), sorted(set(found) - set(names))
        if lacking or more:
            differences = [f"lacks {name_some([repr(name) for name in lacking])}"] if lacking else []
            differences += [f"has {name_some([repr(name) for name in more])} in addition"] if more else []
            raise ValueError(
                f"the classes of {shown} differ: compared with train/, {folders[split].name}/ {' and '.join(differences)}"
            )
    if len(names) == 1:
        where = shown / folders["train"].relative_to(root)
        raise ValueError(f"{where} has only one class, {names[0]!r}; a classifier needs at least 2")
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(
                f"the name of the class folder {name!r} in {shown} is not valid UTF-8; rename it"
            ) from None


def _read_split(root: Path, folder: Path, names: list[str], shown: Path) -> tuple[ImageFiles, int]:
    paths: list[str] = []
    labels: list[int] = []
    where = folder.relative_to(root)
    ignored = sum(entry.is_file() and not entry.name.startswith(".") for entry in os.scandir(folder))
    for label, name in enumerate(names):
        images, other = _images_below(folder / name)
        ignored += other
        if not images:
            raise ValueError(
                f"empty class: no image in {shown / where / name}; images end in {', '.join(sorted(EXTENSIONS))}"
            )
        paths += [str(where / name / image) for image in images]
        labels += [label] * len(images)
    return ImageFiles(PathImages(root, paths), np.array(labels, dtype=np.int64)), ignored


def _images_below(folder: Path) -> tuple[list[str], int]:
    """Paths of images relative to a folder, in order, and the number of other files."""
    images, other = [], 0
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        relative = Path(where).relative_to(folder)
        for name in files:
            if name.startswith("."):
                continue
            if _is_image(name):
                images.append(str(relative / name))
            else:
                other += 1
    return sorted(images), other


def _folders(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return sorted(found, key=lambda entry: entry.name)


def _images_in(folder: Path) -> int:
    with os.scandir(folder) as entries:
        return sum(_is_image(entry.name) and entry.is_file() for entry in entries)


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in EXTENSIONS  # noqa: PTH122  # called for each of perhaps a million names
