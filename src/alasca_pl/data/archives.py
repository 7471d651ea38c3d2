"""Unpack archives safely, whatever they contain."""

import errno
import gzip
import hashlib
import json
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from filelock import FileLock

from alasca_pl.core.files import parse_json
from alasca_pl.data.names import unsafe

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz")

_MARKER = ".extracted.json"
_TAIL = 2**16
# Headers of tar files are far smaller; a larger one is meant to exhaust the memory.
_LARGEST_HEADER = 2**24


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    is_folder: bool
    entry: Any


def is_archive(path: Path) -> bool:
    """Whether ``extract`` can unpack a file, judged by its name."""
    return path.name.lower().endswith(ENDINGS)


def extract(archive: str | Path, target: str | Path, max_bytes: int = 500 * 2**30, max_files: int = 10_000_000) -> Path:
    """Unpack an archive into a folder of its own, once.

    The archive's list of members is checked before anything is written, and the folder gets its name only when it is
    complete. Another call for the same archive, also by another process, reuses it.

    Args:
        archive: A .zip, .tar, .tar.gz or .tgz file.
        target: Folder in which the archive's own folder is made.
        max_bytes: Limit of the unpacked size.
        max_files: Limit of the number of files and folders.

    Returns:
        The archive's folder below ``target``.

    Raises:
        FileNotFoundError: If there is no such archive.
        ValueError: If the archive is damaged, encrypted, too large unpacked, or holds anything but folders and files that
            stay below their folder, or if the folder was changed after an earlier extraction.
        OSError: If the disk has too little space or cannot be written.
    """
    archive, target = Path(archive).expanduser(), Path(target).expanduser().absolute()
    if not archive.is_file():
        raise FileNotFoundError(f"no archive {archive}")
    if not is_archive(archive):
        raise ValueError(f"cannot unpack {archive}: its name must end in one of {', '.join(ENDINGS)}")
    identity = _identity(archive)
    key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
    folder = target / f"{archive.name.split('.')[0] or 'archive'}-{key}"
    if _is_whole(folder, identity):
        return folder
    target.mkdir(parents=True, exist_ok=True)
    # Several processes of one run may reach this at once; one of them unpacks.
    with FileLock(target / f".{folder.name}.lock"):
        if not _is_whole(folder, identity):
            _unpack(archive, folder, identity, max_bytes, max_files)
    return folder


def _identity(archive: Path) -> dict[str, Any]:
    # The end of a file holds the directory of a zip and the checksum of a gzip: reading it is quick also for an archive
    # whose list of members takes minutes to read.
    state = archive.stat()
    with archive.open("rb") as file:
        file.seek(max(0, state.st_size - _TAIL))
        tail = hashlib.sha256(file.read()).hexdigest()
    return {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "tail": tail}


def _is_whole(folder: Path, identity: dict[str, Any]) -> bool:
    if not folder.exists():
        return False
    try:
        marker = parse_json((folder / _MARKER).read_text())
        is_same = all(marker[name] == value for name, value in identity.items())
        expected = int(marker["files"])
    except (OSError, ValueError, KeyError, TypeError):
        is_same, expected = False, -1
    found = sum(len(files) for _, _, files in os.walk(folder)) - 1
    if not is_same or found != expected:
        raise ValueError(
            f"{folder} was changed after the archive had been unpacked there; remove it to unpack it again"
        )
    return True


def _unpack(archive: Path, folder: Path, identity: dict[str, Any], max_bytes: int, max_files: int) -> None:
    with _damage_named(archive):
        members, listing = _check(archive, max_bytes, max_files)
        needed, free = sum(size for _, size in members), shutil.disk_usage(folder.parent).free
        if needed > free:
            raise OSError(errno.ENOSPC, f"it needs {needed} bytes unpacked, but {folder.parent} has only {free} left")
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            written = _write(archive, temporary, dict(members))
            marker = identity | {"listing": listing, "files": written}
            (temporary / _MARKER).write_text(json.dumps(marker, indent=2))
            # mkdtemp makes folders that only their owner can read.
            temporary.chmod(0o777 & ~_umask())
            temporary.rename(folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise


def _check(archive: Path, max_bytes: int, max_files: int) -> tuple[list[tuple[str, int]], str]:
    """Files with their sizes, and the SHA-256 of the list of all members."""
    listing = hashlib.sha256()
    files: list[tuple[str, int]] = []
    seen: set[str] = set()
    total = 0
    with _open(archive) as opened:
        for count, member in enumerate(_members(opened), start=1):
            total += member.size
            # Checked before the next member is read, because in a compressed tar this unpacks the current one.
            if total > max_bytes or count > max_files:
                raise ValueError(
                    f"unpacked it takes more than {max_bytes} bytes or {max_files} files; "
                    "unpack it yourself if you know its origin"
                )
            path = str(PurePosixPath(member.name))
            if path in seen and not member.is_folder:
                raise ValueError(f"it contains {member.name!r} twice")
            seen.add(path)
            listing.update(f"{member.size} {member.is_folder} {member.name}\0".encode("utf-8", "surrogateescape"))
            if not member.is_folder:
                files.append((member.name, member.size))
    return files, listing.hexdigest()


def _write(archive: Path, folder: Path, sizes: dict[str, int]) -> int:
    written = 0
    with _open(archive) as opened:
        for member in _members(opened):
            # The archive may have been replaced since it was checked.
            if not member.is_folder and sizes.get(member.name) != member.size:
                raise ValueError("it changed while it was read")
            path = folder / member.name
            # Folders that macOS adds to archives would be read as a class.
            if "__MACOSX" in PurePosixPath(member.name).parts:
                continue
            if member.is_folder:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with _read(opened, member) as source, path.open("xb") as file:
                shutil.copyfileobj(source, file, 2**20)
                if file.tell() != member.size:
                    raise ValueError(f"{member.name!r} has {file.tell()} instead of {member.size} bytes")
            written += 1
    return written


def _members(opened: zipfile.ZipFile | tarfile.TarFile) -> Iterator[_Member]:
    members = _members_of_zip(opened) if isinstance(opened, zipfile.ZipFile) else _members_of_tar(opened)
    for member in members:
        # Tar files made of "." begin with the folder itself.
        if member.is_folder and PurePosixPath(member.name) == PurePosixPath("."):
            continue
        reason = unsafe(member.name) or ("holds a backslash" if "\\" in member.name else None)
        if reason or PurePosixPath(member.name).parts[0] == _MARKER:
            raise ValueError(f"its member {member.name!r} {reason or 'is reserved'}")
        yield member


def _members_of_zip(opened: zipfile.ZipFile) -> Iterator[_Member]:
    for entry in opened.infolist():
        # orig_filename, because zipfile cuts a name at a zero byte.
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ValueError(f"its member {entry.orig_filename!r} is a link or a device")
        if entry.flag_bits & 1:
            raise ValueError(f"its member {entry.orig_filename!r} is encrypted")
        yield _Member(entry.orig_filename, entry.file_size, entry.is_dir(), entry)


def _members_of_tar(opened: tarfile.TarFile) -> Iterator[_Member]:
    # Members are read by next() so that they can be discarded; a list of a million would exhaust the memory.
    while (entry := opened.next()) is not None:
        if not (entry.isreg() or entry.isdir()):
            raise ValueError(f"its member {entry.name!r} is a link or a device")
        yield _Member(entry.name, entry.size if entry.isreg() else 0, entry.isdir(), entry)
        opened.members = []  # type: ignore[attr-defined]
    # tarfile treats a damaged header as the end.
    assert opened.fileobj is not None, "open for reading"
    opened.fileobj.seek(opened.offset)
    if opened.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise ValueError("it is damaged or truncated")


def _read(opened: zipfile.ZipFile | tarfile.TarFile, member: _Member) -> IO[bytes]:
    if isinstance(opened, zipfile.ZipFile):
        return opened.open(member.entry)
    source = opened.extractfile(member.entry)
    assert source is not None, "only folders and files get here"
    return source


@contextmanager
def _open(archive: Path) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    if archive.name.lower().endswith(".zip"):
        with zipfile.ZipFile(archive) as opened:
            yield opened
        return
    is_compressed = archive.name.lower().endswith("gz")
    with (
        gzip.open(archive) if is_compressed else archive.open("rb") as file,
        tarfile.open(fileobj=_Limited(file), mode="r:") as tar,
    ):
        yield tar


class _Limited:
    """A file that cannot be read in pieces larger than any regular header or copied block."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise ValueError(f"it has a header of {size} bytes")
        return self._file.read(size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def _damage_named(archive: Path) -> Iterator[None]:
    try:
        yield
    except (ValueError, EOFError, OSError, zipfile.BadZipFile, tarfile.TarError, zlib.error, RuntimeError) as error:
        # gzip's errors about damaged files have no errno, those of the system do.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError(f"cannot unpack {archive}: {error}") from error


def _umask() -> int:
    current = os.umask(0o022)
    os.umask(current)
    return current
