"""Open array files without executing code from them."""

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from alasca_pl.core.checksum import check


class ArrayFile:
    """Arrays of an ``npz`` file by name.

    Attributes:
        names: Names of the arrays.
    """

    def __init__(self, file: "np.lib.npyio.NpzFile") -> None:
        self._file = file
        self.names: tuple[str, ...] = tuple(file.files)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __getitem__(self, name: str) -> np.ndarray:
        """Read one array.

        Raises:
            ValueError: If no array has that name, or it holds pickled objects.
        """
        if name not in self.names:
            raise ValueError(f"lacks {name}; it holds {', '.join(self.names) or 'nothing'}")
        try:
            return self._file[name]
        except ValueError as error:
            if "allow_pickle" not in str(error):
                raise
            raise ValueError(
                f"{name} holds pickled objects, which are never opened; save it as plain numbers"
            ) from error


@contextmanager
def open_npz(path: Path) -> Iterator[ArrayFile]:
    """Open an ``npz`` file for reading; arrays are read on demand.

    Raises:
        ValueError: If the file does not have its checksum, is damaged or not an ``npz`` file, also while it is read.
    """
    try:
        # Opened here, because numpy leaves the file open when it turns out to be damaged.
        check(path)
        with path.open("rb") as stream:
            file = np.load(stream, allow_pickle=False)
            if not isinstance(file, np.lib.npyio.NpzFile):
                raise ValueError("is one array, not an archive of named arrays")
            with file:
                yield ArrayFile(file)
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise ValueError(f"cannot use {path}: {error}") from error
