import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from alasca_pl.core.pickles import read_torch_file


class Canary:
    """Creates a folder if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


CONTENT = {"label": np.array([3, 1, 2]), "coarse": [0, 1, 0]}


def rewrite(path: Path, old: bytes, new: bytes) -> None:
    """Replace bytes in the pickle inside a file of torch."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data.replace(old, new) if name.endswith("data.pkl") else data)


@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_arrays_written_with_either_numpy_come_back(tmp_path, module):
    path = tmp_path / "labels.pt"
    torch.save(CONTENT, path)
    here = np.empty(0).__reduce__()[0].__module__.encode()
    rewrite(path, here, module)
    assert module in path.read_bytes()
    loaded = read_torch_file(path, hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest())
    assert loaded["label"].tolist() == [3, 1, 2]
    assert loaded["label"].dtype == np.int64
    assert loaded["coarse"] == [0, 1, 0]


def test_another_file_than_the_published_one_is_refused_before_it_is_opened(tmp_path):
    path = tmp_path / "labels.pt"
    path.write_bytes(b"anything")
    found = hashlib.md5(b"anything", usedforsecurity=False).hexdigest()
    with pytest.raises(ValueError, match=rf"labels\.pt.*expected MD5 {'0' * 32}, got {found}.*check_md5=false"):
        read_torch_file(path, "0" * 32)


def hostile(path: Path, kind: str, canary: Path) -> None:
    content = {"label": Canary(canary)}
    if kind == "zip":
        torch.save(content, path)
    elif kind == "legacy":
        torch.save(content, path, _use_new_zipfile_serialization=False)
    elif kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save({"label": np.array([Canary(canary)], dtype=object)}, path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle", "object array"])
def test_a_hostile_pickle_is_refused_and_nothing_of_it_runs(tmp_path, kind):
    path = tmp_path / "labels.pt"
    hostile(path, kind, tmp_path / "canary")
    with pytest.raises(ValueError, match=r"labels\.pt is damaged or unsafe to load.*nothing of it was executed"):
        read_torch_file(path)
    assert not (tmp_path / "canary").exists()


def test_what_is_allowed_here_is_not_allowed_afterwards(tmp_path):
    path = tmp_path / "labels.pt"
    torch.save(CONTENT, path)
    read_torch_file(path)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)


@pytest.mark.parametrize("keep", [0, 10, -40])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = tmp_path / "labels.pt"
    torch.save(CONTENT, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"labels\.pt"):
        read_torch_file(path)


def test_what_is_no_dictionary_or_no_file_is_refused(tmp_path):
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt holds a list"):
        read_torch_file(tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"absent\.pt"):
        read_torch_file(tmp_path / "absent.pt")
