"""Small image files for tests of readers."""

import os
from pathlib import Path

import numpy as np
from PIL import Image

from alasca_pl.data.images import PathImages
from alasca_pl.data.samples import ImageFiles


def pixels(seed: int = 0, height: int = 9, width: int = 12, channels: int = 3) -> np.ndarray:
    array = np.random.default_rng(seed).integers(0, 256, (height, width, channels)).astype(np.uint8)
    return array[..., 0] if channels == 1 else array


def save(path: Path, seed: int = 0, height: int = 9, width: int = 12, channels: int = 3, **how) -> Path:
    """Write an image in the format that the name says, and make its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(seed, height, width, channels)).save(path, **how)
    return path


def save_all(root: Path, *names: str) -> Path:
    """Write different images under the given names."""
    for seed, name in enumerate(names):
        save(root / name, seed)
    return root


def truncate(path: Path, share: float = 0.6) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below ``root`` with size and time, to see that nothing was written."""
    paths = [Path(where) / name for where, folders, files in os.walk(root) for name in [*folders, *files]]
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in paths} | {
        str(root): (0, root.stat().st_mtime_ns)
    }


def names_of(files) -> list[str]:
    return [files.images.name(i) for i in range(len(files))]


def files_of(root: Path, *names: str, labels=None) -> ImageFiles:
    labels = np.arange(len(names)) % 2 if labels is None else np.array(labels)
    return ImageFiles(PathImages(root, names), labels)
