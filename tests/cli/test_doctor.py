"""``alasca-train doctor``: what is there, what is missing, how to get it; it writes nothing."""

import importlib.util
import shutil
from collections import namedtuple
from pathlib import Path

import pytest

from alasca_pl.runs import doctor, early
from alasca_pl.runs.doctor import _KNOWN, examine
from running import command, config_for


def _finding(config, what, choices=None, folder="/nowhere/run"):
    found = [one for one in examine(config, choices or {"data": "digits"}, Path(folder)) if one.what == what]
    return found[-1] if found else None


def test_the_default_config_can_run_and_nothing_is_written(tmp_path):
    outcome = command(tmp_path, "doctor")
    assert outcome.code == 0, outcome
    for word in (
        "python",
        "torch",
        "lightning",
        "hydra-core",
        "alasca-pl",
        "bfloat16",
        "threads",
        "run folder",
        "wandb",
    ):
        assert word in outcome.out
    assert "this config can run here" in outcome.out
    assert list(tmp_path.iterdir()) == []


def test_what_a_config_lacks_gives_status_1(tmp_path, monkeypatch):
    monkeypatch.setattr(early, "has_gpu", lambda: False)
    monkeypatch.setenv("ALASCA_DATA", str(tmp_path / "data"))
    outcome = command(tmp_path, "doctor", "data=clothing1m", "trainer=gpu", "epochs=0")
    assert outcome.code == 1
    text = " ".join(outcome.out.split())
    assert "missing for this config: trainer, values, data=clothing1m" in text
    assert "trainer=cpu" in text and "noisy_label" in text


@pytest.mark.parametrize(
    ("arguments", "word"),
    [(["-m"], "leave out -m"), (["metod=ce"], "did you mean method?"), (["data=folder"], "data.root has no value")],
)
def test_what_cannot_be_composed_is_one_line(tmp_path, arguments, word):
    outcome = command(tmp_path, "doctor", *arguments)
    assert outcome.code == 1 and word in outcome.err and len(outcome.err.splitlines()) == 2


def test_known_data_are_found_where_their_readers_look(tmp_path, monkeypatch):
    monkeypatch.setenv("ALASCA_DATA", str(tmp_path))
    config = config_for()
    for name, known in _KNOWN.items():
        for files in known.choices:
            assert _finding(config, f"data={name}").status == "note"
            made = [tmp_path / known.folder / file.rpartition("|")[2] for file in files]
            for file in made:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("")
            assert _finding(config, f"data={name}").status == "ok"
            made[-1].unlink()
            lacking = _finding(config, f"data={name}")
            assert lacking.status == "note" and lacking.advice
            for path in tmp_path.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_data_that_a_run_fetches_are_not_missing(tmp_path):
    config = config_for()
    config["data"] |= {"root": str(tmp_path), "download": True}
    assert _finding(config, "data=cifar10", {"data": "cifar10"}).status == "note"
    config["data"]["download"] = False
    assert _finding(config, "data=cifar10", {"data": "cifar10"}).status == "missing"


def test_data_of_ones_own_are_looked_for(tmp_path):
    config = config_for()
    config["data"]["path"] = str(tmp_path / "own.npz")
    assert _finding(config, "data.path", {"data": "npz"}).status == "missing"
    assert _finding(config, "data.path", {"data": "huggingface"}).status == "note"
    (tmp_path / "own.npz").write_text("")
    assert _finding(config, "data.path", {"data": "npz"}).status == "ok"


def test_a_package_that_the_config_needs_is_missing_with_the_way_to_install_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    config = config_for()
    assert _finding(config, "timm").status == "note"
    config["model"]["backbone"]["_target_"] = "alasca_pl.models.backbones.TimmBackbone"
    found = _finding(config, "timm")
    assert found.status == "missing" and found.advice == "pip install 'alasca-pl[timm]'"


@pytest.mark.parametrize(("free", "status"), [(10**12, "ok"), (10**9, "note"), (10**7, "missing")])
def test_a_full_disk_is_seen(tmp_path, monkeypatch, free, status):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: namedtuple("Usage", "free")(free))
    assert _finding(config_for(), "run folder", folder=tmp_path / "a" / "b").status == status
    assert list(tmp_path.iterdir()) == []


def test_more_threads_than_cores_are_worth_a_look(monkeypatch):
    monkeypatch.setattr(doctor, "cores", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert _finding(config_for(), "OMP_NUM_THREADS").advice == "OMP_NUM_THREADS=2"
    assert "OMP_NUM_THREADS=8" in _finding(config_for(), "environment").found
