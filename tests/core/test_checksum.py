"""No flipped bit of a file with a checksum goes unnoticed; files without one open as before."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch

from alasca_pl.core.checkpoint import CHECKPOINT_KEY, read_checkpoint
from alasca_pl.core.checksum import DamagedError, check, seal, sealed, unsealed
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import write_archive
from alasca_pl.core.measurement import Measurement
from alasca_pl.core.npz import open_npz
from alasca_pl.core.record import DataRecord, NoiseRecord, RunRecord
from alasca_pl.core.sample_file import SampleFile
from alasca_pl.core.types import DataFacts
from alasca_pl.noise.labels import NoisyLabels

FACTS = DataFacts("toy", 2, 5, (1, 4, 4), "00", ("a", "b"), (0.5,), (0.2,))
ABOUT = {"config": {}, "facts": FACTS._asdict()}


def _checkpoint(path):
    write_archive(path, lambda file: torch.save({CHECKPOINT_KEY: ABOUT, "weight": torch.arange(40.0)}, file))


def _record(path):
    data = DataRecord("digits", {"train": 5}, 3, [1, 8, 8], ["a", "b", "c"], "00")
    config = {"data": {"class_map": {10: 1, 9: 2}}, "nothing": float("nan"), "name": "é"}
    noise = NoiseRecord("none", None, None, None, "00")
    RunRecord("finished", ".", "now", 0, None, data, noise, None, [], {}, {}, None, {}, 1, "32", config=config).write(
        path
    )


def _noise(path):
    NoisyLabels(
        label=np.array([0, 1, 1]),
        clean_label=None,
        index=np.arange(3),
        num_classes=2,
        kind="none",
        rate=None,
        seed=None,
    ).save(path)


def _samples(path):
    whole = np.arange(3)
    SampleFile(whole, whole, whole, None, {"margin": np.array([[0.1, 0.2, 0.3]])}).save(path)


def _measured(path):
    Measurement("norms", {"epoch": 1}, [0, 1], [0, 1], None, [[0.5, 1.5]], ["a", "b"]).write(path)


KINDS = {
    "last.ckpt": (_checkpoint, read_checkpoint),
    "record.json": (_record, RunRecord.read),
    "noise.npz": (_noise, NoisyLabels.load),
    "samples.npz": (_samples, SampleFile.load),
    "jacobian.json": (_measured, Measurement.read),
}


@pytest.mark.parametrize("kind", KINDS)
# Torch warns of unknown pickle protocols before it gives up.
@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_every_flipped_bit_is_refused(tmp_path, kind):
    write, read = KINDS[kind]
    path = tmp_path / kind
    write(path)
    content, expected = path.read_bytes(), read(path)
    rng = np.random.default_rng(0)
    places = {*range(8), *range(len(content) - 100, len(content)), *rng.integers(0, len(content), 150).tolist()}
    for place in sorted(places):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        try:
            found = read(path)
        except ValueError as error:
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            # Blanks between the entries of a JSON file carry nothing.
            assert kind.endswith("json") and repr(found) == repr(expected), place


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cut", [1, 10, 90, 200])
def test_a_file_that_is_cut_or_has_more_is_refused(tmp_path, kind, cut):
    write, read = KINDS[kind]
    path = tmp_path / kind
    write(path)
    content = path.read_bytes()
    path.write_bytes(content[:-cut] if cut > 1 or kind.endswith("ckpt") else content[:-2])
    with pytest.raises(ValueError, match=kind):
        read(path)
    path.write_bytes(content + b"x" * cut)
    with pytest.raises(ValueError, match=kind):
        read(path)


def test_archives_with_a_checksum_open_as_before(tmp_path):
    path = tmp_path / "last.ckpt"
    _checkpoint(path)
    assert torch.equal(torch.load(path, weights_only=True)["weight"], torch.arange(40.0))
    assert check(path)
    _noise(tmp_path / "noise.npz")
    assert np.load(tmp_path / "noise.npz")["label"].tolist() == [0, 1, 1]
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None and archive.comment.startswith(b"alasca_pl sha256 ")


def test_files_of_earlier_versions_are_read_with_a_remark(tmp_path, caplog):
    torch.save({CHECKPOINT_KEY: ABOUT}, tmp_path / "last.ckpt")
    with caplog.at_level("INFO"):
        read_checkpoint(tmp_path / "last.ckpt")
    assert "no checksum" in caplog.text
    np.savez(tmp_path / "a.npz", label=np.arange(3))
    with open_npz(tmp_path / "a.npz") as file:
        assert file["label"].tolist() == [0, 1, 2]
    path = tmp_path / "record.json"
    _record(path)
    content = json.loads(path.read_text())
    del content["checksum"]
    path.write_text(json.dumps(content))
    assert RunRecord.read(path).status == "finished"
    caplog.clear()
    _checkpoint(tmp_path / "last.ckpt")
    with caplog.at_level("INFO"):
        read_checkpoint(tmp_path / "last.ckpt")
    assert not caplog.text


def test_only_checkpoints_that_can_be_read_are_offered(tmp_path):
    for name in ("last", "best", "epoch3", "old"):
        _checkpoint(tmp_path / f"{name}.ckpt")
    for name in ("last", "epoch3"):
        content = bytearray((tmp_path / f"{name}.ckpt").read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / f"{name}.ckpt").write_bytes(content)
    with pytest.raises(UserError, match=r"checksum.*; best\.ckpt and old\.ckpt in its folder can be read"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_only_what_is_an_archive_is_sealed():
    for content in (b"", b"text", b"PK\x05\x06" + bytes(16) + b"\1\0x"):
        with pytest.raises(ValueError, match="zip archive"):
            seal(io.BytesIO(content))


def test_what_an_entry_says_is_compared_not_how_it_is_written():
    content = {"b": {2: [1.5, None]}, "a": float("inf"), "t": (1, 2)}
    with_sum = sealed(content)
    again = json.loads(json.dumps(dict(reversed(with_sum.items())), indent=3))
    assert unsealed(again) == {"t": [1, 2], "a": float("inf"), "b": {"2": [1.5, None]}}
    assert sealed(with_sum) == with_sum
    with pytest.raises(DamagedError):
        unsealed({**again, "t": [1, 3]})
    assert unsealed([1]) == [1] and unsealed({"a": 1}) == {"a": 1}
