import os
import pickle
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pytest

from alasca_pl.data import cifar
from alasca_pl.data.cifar import read_cifar


def write_npz(path: Path, seed: int) -> np.ndarray:
    images = np.random.default_rng(seed).integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
    labels = np.arange(20) % 10
    np.savez(path, train_images=images, train_labels=labels, test_images=images[:5], test_labels=labels[:5])
    return images


def unreachable(*args, **kwargs):
    raise OSError("no route to host")


@pytest.mark.parametrize("download", [False, True])
def test_an_array_file_in_the_root_is_used(tmp_path, download):
    images = write_npz(tmp_path / "cifar10.npz", 0)
    write_npz(tmp_path / "cifar100.npz", 1)
    raw = read_cifar("cifar10", tmp_path, download=download)
    assert np.array_equal(raw.train.images, images)
    assert np.array_equal(raw.test.images, images[:5])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cifar10.npz", "cifar100.npz"]


@pytest.mark.parametrize("exists", [False, True])
def test_missing_data_without_download_names_folder_and_way_out(tmp_path, exists):
    root = tmp_path / "nowhere"
    if exists:
        root.mkdir()
        write_npz(root / "cifar100.npz", 0)
    before = sorted(root.rglob("*"))
    with pytest.raises(FileNotFoundError, match=rf"{root}.*data\.download=true.*cifar10\.npz.*data\.root"):
        read_cifar("cifar10", root, download=False)
    assert sorted(root.rglob("*")) == before
    assert root.exists() == exists


def test_a_download_that_fails_names_folder_and_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "_dataset", lambda name: unreachable)
    with pytest.raises(FileNotFoundError, match=rf"{tmp_path}.*no route to host.*cifar10\.npz"):
        read_cifar("cifar10", tmp_path / "new" / "below", download=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kept", [[], ["notes.txt"], ["cifar-10-python.tar.gz"], ["cifar-10-batches-py/data_batch_1"]])
def test_a_download_that_fails_leaves_what_was_there(tmp_path, monkeypatch, kept):
    root = tmp_path / "data"
    root.mkdir()
    for name in kept:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("mine")
    before = list(root.rglob("*"))

    def breaks_off(root, **options):
        for name in ("cifar-10-python.tar.gz", "cifar-10-batches-py/data_batch_1"):
            (Path(root) / name).parent.mkdir(exist_ok=True)
            (Path(root) / name).write_text("half")
        raise HTTPException("broken off")

    monkeypatch.setattr(cifar, "_dataset", lambda name: breaks_off)
    monkeypatch.setattr(cifar, "_read_torchvision", unreachable)
    with pytest.raises(FileNotFoundError, match="broken off"):
        read_cifar("cifar10", root, download=True)
    assert set(before) <= set(root.rglob("*"))
    assert {path.name for path in root.iterdir()} == {Path(name).parts[0] for name in kept}


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("download", [False, True])
def test_how_to_get_the_data_by_hand_is_said(tmp_path, monkeypatch, name, download):
    theirs = cifar._dataset(name)
    monkeypatch.setattr(cifar, "_dataset", lambda name: unreachable)
    with pytest.raises(FileNotFoundError) as caught:
        read_cifar(name, tmp_path, download=download)
    for word in (theirs.url, str(tmp_path / theirs.base_folder), f"{name}.npz", "data.root=DIR"):
        assert word in str(caught.value)
    assert ("data.download=true" in str(caught.value)) != download
    assert list(tmp_path.iterdir()) == []


def test_files_with_a_wrong_checksum_are_refused_and_never_unpickled(tmp_path):
    class Canary:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "canary"),)

    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"):
        (folder / name).write_bytes(pickle.dumps(Canary()))
    (folder / "batches.meta").write_bytes(pickle.dumps(Canary()))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        read_cifar("cifar10", tmp_path, download=False)
    assert not (tmp_path / "canary").exists()


def test_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"'cifar20'.*cifar10, cifar100"):
        read_cifar("cifar20", ".", download=False)
