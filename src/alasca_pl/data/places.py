"""Whether data of one's own is where it is said to be; loads nothing, so that a wrong place is reported at once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def find_folder(root: str | Path) -> Path:
    """Return the place of a folder of images, or of an archive.

    Raises:
        FileNotFoundError: If there is nothing.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise FileNotFoundError(f"no folder {root}; set data.root to a folder with one folder of images per class")
    return root


def find_table(path: str | Path, root: str | Path | None) -> tuple[Path, Path]:
    """Return the places of a table and of the folder that its paths are relative to.

    Raises:
        FileNotFoundError: If one does not exist.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; set data.path to a csv file with the columns path,label")
    root = path.parent if root is None else Path(root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"no folder {root}; set data.root to the folder that paths in {path} are relative to")
    return path, root


def find_arrays(path: str | Path) -> Path:
    """Return the place of a file of arrays.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"no file {path}; set data.path to a .npz file with the keys train_images, train_labels, test_images, test_labels"
        )
    return path


_OF_READERS: dict[str, Callable[[Mapping[str, Any]], object]] = {
    "alasca_pl.data.folder.read_folder": lambda data: find_folder(data["root"]),
    "alasca_pl.data.table.read_table": lambda data: find_table(data["path"], data["root"]),
    "alasca_pl.data.npz.read_npz": lambda data: find_arrays(data["path"]),
}


def check_places(data: Mapping[str, Any]) -> None:
    """Look for the data of a config.

    Args:
        data: The part ``data`` of a resolved config.

    Raises:
        FileNotFoundError: If data of a reader that this module knows is not there.
    """
    find = _OF_READERS.get((data.get("reader") or {}).get("_target_", ""))
    if find is not None:
        find(data)
