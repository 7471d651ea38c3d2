"""One owner per folder of a run."""

import contextlib
import errno
import itertools
import os
import socket
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

from alasca_pl.core.errors import UserError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

# Folders that this process has. A process does not see its own locks, and would lose one by opening its file again.
_HELD: set[str] = set()


class FolderLock:
    """A folder that one process at a time works in.

    The kernel gives the lock back when its owner is dead, however it died. Processes that the owner forks do not have it.
    Between machines it holds where the file system passes POSIX locks on, as NFS, Lustre and GPFS do; without any locks,
    it is taken for free.

    Args:
        folder: The folder; it is made if need be.
        name: Name of the lock's file.

    Example:
        >>> import tempfile
        >>> lock = FolderLock(Path(tempfile.mkdtemp()) / "run", ".lock")
        >>> lock.acquire()
        >>> lock.release()
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self._file = folder / name
        self._made: list[Path] = []
        self._release: weakref.finalize | None = None

    def acquire(self) -> None:
        """Take the lock, and make the folder if it does not exist.

        Raises:
            UserError: If another process has it, or the folder cannot be written to.
        """
        key = os.path.realpath(self.folder)
        if key in _HELD:
            raise _in_use(self.folder, "this process")
        try:
            descriptor = self._open()
        except OSError as error:
            self._remove_made()
            raise UserError(f"{self.folder} cannot be written to: {error.strerror}") from error
        _HELD.add(key)
        self._release = weakref.finalize(self, _give_back, descriptor, self._file, key, os.getpid())

    def acquire_new(self) -> Path:
        """Take the lock of a folder that did not exist; where it does, one with a number after its name is made.

        Returns:
            The folder.

        Raises:
            UserError: If the folder cannot be made.
        """
        wanted, name = self.folder, self._file.name
        for folder in numbered(wanted):
            self.folder, self._file = folder, folder / name
            try:
                self._make_folder()
            except OSError as error:
                self._remove_made()
                raise UserError(f"{folder} cannot be written to: {error.strerror}") from error
            if folder in self._made:
                break
        self.acquire()
        return self.folder

    def release(self) -> None:
        """Give the lock back."""
        if self._release is not None:
            self._release()
            self._release = None

    def undo(self) -> None:
        """Give the lock back, and remove the folders that were made for it if nothing else is in them."""
        self.release()
        self._remove_made()

    def _open(self) -> int:
        while True:
            self._make_folder()
            try:
                descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
            except FileNotFoundError:
                # Another run was refused and has removed its folder meanwhile.
                continue
            if not _lock(descriptor):
                owner = os.read(descriptor, 200).decode(errors="replace").strip()
                os.close(descriptor)
                raise _in_use(self.folder, owner or "another process")
            if _is_at(descriptor, self._file):
                with contextlib.suppress(OSError):
                    # Only said to who comes second; a full disk is not worth an error here.
                    os.truncate(descriptor, 0)
                    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
                return descriptor
            # Its last owner has removed the file between opening and locking.
            os.close(descriptor)

    def _make_folder(self) -> None:
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        for path in reversed(missing):
            with contextlib.suppress(FileExistsError):
                path.mkdir()
                self._made.append(path)

    def _remove_made(self) -> None:
        with contextlib.suppress(OSError):
            while self._made:
                self._made[-1].rmdir()
                self._made.pop()


def numbered(folder: Path) -> Iterator[Path]:
    """A folder, and the names to take if it exists.

    Example:
        >>> names = numbered(Path("run"))
        >>> [next(names).name for _ in range(3)]
        ['run', 'run-2', 'run-3']
    """
    yield folder
    for number in itertools.count(2):
        yield folder.with_name(f"{folder.name}-{number}")


def _in_use(folder: Path, owner: str) -> UserError:
    return UserError(
        f"{folder} is in use by {owner}; wait until it has ended, or choose another folder with hydra.run.dir=..."
    )


def _lock(descriptor: int) -> bool:
    """Take the lock on an open file if nobody has it."""
    try:
        if sys.platform == "win32":
            # Beyond what is written, because there nobody may read what is locked.
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
            os.lseek(descriptor, 0, os.SEEK_SET)
        else:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP):
            return True
        if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
            return False
        raise
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False


def _give_back(descriptor: int, file: Path, key: str, owner: int) -> None:
    # A forked process has a copy of this object, but not the lock.
    if os.getpid() != owner:
        return
    with contextlib.suppress(OSError):
        if sys.platform != "win32":
            file.unlink(missing_ok=True)
    os.close(descriptor)
    _HELD.discard(key)
