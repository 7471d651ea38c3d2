"""Checkpoints open without executing anything, and bad files give an error that names them."""

import io
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from alasca_pl.core.checkpoint import facts_of, pack, read_checkpoint
from alasca_pl.core.errors import UserError
from alasca_pl.core.types import DataFacts

FACTS = DataFacts("digits", 3, 50, (1, 8, 8), "ab12", ("zero", "one", "two"), (0.5,), (0.25,))


def _saved(content: Any, zipped: bool = True) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=zipped)
    return file.getvalue()


def _good(zipped: bool = True) -> bytes:
    return _saved({"alasca_pl": pack({"seed": 3}, FACTS), "state_dict": {"weight": torch.arange(64.0)}}, zipped)


def _zip_of_text() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", "no tensors here")
    return file.getvalue()


class _Hostile:
    """Makes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.mkdir, (str(self.canary),)


def test_what_was_packed_comes_back(tmp_path: Path):
    path = tmp_path / "last.ckpt"
    path.write_bytes(_good())
    checkpoint = read_checkpoint(path)
    assert facts_of(checkpoint) == FACTS
    assert checkpoint["alasca_pl"]["config"] == {"seed": 3}
    assert torch.equal(checkpoint["state_dict"]["weight"], torch.arange(64.0))


def test_packed_facts_are_plain_containers():
    facts = pack({}, FACTS)["facts"]
    assert {type(value) for value in facts.values()} == {str, int, list, type(None)}
    told = pack({}, FACTS._replace(realised_rate=0.4, class_counts=(20, 20, 10)))["facts"]
    assert (told["realised_rate"], told["class_counts"]) == (0.4, [20, 20, 10])


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9, 0.99])
def test_truncated_files_are_named(tmp_path: Path, zipped: bool, share: float):
    path, content = tmp_path / "last.ckpt", _good(zipped)
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"last\.ckpt"):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        b"hello\n",
        b"epoch,step\n0,10\n",  # metrics.csv of a run
        b'{"seed": 0}',  # record.json of a run
        b"seed: 0\nepochs: 3\n",  # config.yaml of a run
        b"\x89PNG\r\n\x1a\n" + bytes(40),
        bytes(100),
        pickle.dumps({"alasca_pl": 1}, protocol=4),
        _zip_of_text(),
        _saved([1, 2]),
        _saved({"state_dict": {"weight": torch.ones(2)}}),
        _saved(torch.ones(3)),
    ],
    ids=["text", "csv", "json", "yaml", "png", "zeros", "pickle", "zip", "list", "other_program", "tensor"],
)
# Torch warns of unknown pickle protocols before it gives up.
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_foreign_files_are_named(tmp_path: Path, content: bytes):
    path = tmp_path / "other.ckpt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"other\.ckpt"):
        read_checkpoint(path)


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare"])
def test_hostile_files_are_refused_and_nothing_in_them_runs(tmp_path: Path, kind: str):
    path, canary = tmp_path / "evil.ckpt", tmp_path / "canary"
    content = {"alasca_pl": pack({}, FACTS), "payload": _Hostile(canary)}
    path.write_bytes(pickle.dumps(content, protocol=2) if kind == "bare" else _saved(content, zipped=kind == "zip"))
    with pytest.raises(UserError, match=r"evil\.ckpt"):
        read_checkpoint(path)
    assert not canary.exists()
    # The same file is loaded trustingly, so that the check above cannot pass for want of a working payload.
    if kind == "bare":
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert canary.exists()


def test_a_damaged_file_points_to_its_neighbours(tmp_path: Path):
    (tmp_path / "best.ckpt").write_bytes(_good())
    (tmp_path / "last.ckpt").write_bytes(_good()[:100])
    with pytest.raises(UserError, match=r"last\.ckpt.*best\.ckpt"):
        read_checkpoint(tmp_path / "last.ckpt")


@pytest.mark.parametrize("make", [lambda path: None, Path.mkdir], ids=["absent", "folder"])
def test_what_is_no_file_is_named(tmp_path: Path, make):
    path = tmp_path / "gone.ckpt"
    make(path)
    with pytest.raises(UserError, match=r"gone\.ckpt"):
        read_checkpoint(path)
