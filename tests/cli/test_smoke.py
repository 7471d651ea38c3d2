"""A run from the command to its folder, and back from the folder to predictions."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import alasca_pl
from alasca_pl.build.data import build_data
from alasca_pl.core.checkpoint import CHECKPOINT_KEY
from alasca_pl.core.errors import UserError
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.runs.load import open_checkpoint
from running import Outcome, command

HEADS = ("main", "ensemble_all", "main_last")


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> tuple[Path, Outcome]:
    """The default run, cut to two epochs of two batches."""
    folder = tmp_path_factory.mktemp("smoke")
    outcome = command(folder, "trainer=smoke", "hydra.run.dir=run", draws=True)
    assert outcome.code == 0, outcome
    return folder / "run", outcome


@pytest.fixture
def run(smoke) -> Path:
    return smoke[0]


def read_record(run: Path) -> dict[str, Any]:
    return json.loads((run / "record.json").read_text())


def test_config_holds_the_resolved_values(run):
    text = (run / "config.yaml").read_text()
    config = yaml.safe_load(text)
    assert "${" not in text
    assert (config["trainer"]["max_epochs"], config["noise"]["rate"], config["noise"]["seed"]) == (2, 0.8, 0)


def test_record_says_what_was_run_on_what(run):
    record = read_record(run)
    assert record["status"] == "finished"
    assert record["overrides"] == ["trainer=smoke"]
    assert (record["choices"]["method"], record["choices"]["alasca"], record["seed"]) == ("ce", "digits", 0)
    assert {"train", "val", "test"} <= record["data"]["sizes"].keys()
    assert {"python", "torch", "lightning", "alasca-pl"} <= record["versions"].keys()
    assert record["noise"]["kind"] == "symmetric"
    # 80 % redrawn of 1,297: 0.72 wrong on average, 5 sd.
    assert record["noise"]["realised_rate"] == pytest.approx(0.72, abs=5 * (0.8 * 0.09 / 1_297) ** 0.5)


def test_noise_file_holds_the_labels_that_the_record_names(run):
    labels = NoisyLabels.load(run / "noise.npz")
    noise = read_record(run)["noise"]
    assert labels.digest == noise["sha256"]
    assert labels.realised_rate == noise["realised_rate"]
    assert len(labels.label) == 1_297


def test_metrics_have_one_row_per_epoch_and_agree_with_the_record(run):
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert [row["step"] for row in rows] == ["2", "4"]
    metrics = read_record(run)["metrics"]
    for head in HEADS:
        values = [float(row[f"test/acc_{head}"]) for row in rows]
        assert metrics["last"][f"test/acc_{head}"] == values[-1]
        assert metrics["mean_of_last"][f"test/acc_{head}"] == pytest.approx(sum(values) / 2)
        assert metrics["best_test"][f"test/acc_{head}"] == max(values)
    best = max(rows, key=lambda row: float(row["val/acc"]))
    assert metrics["best_val"]["test/acc"] == float(best["test/acc"])


def test_curves_are_a_picture(run):
    assert (run / "curves.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_checkpoints_load_without_executing_anything(run):
    for name in ("last.ckpt", "best.ckpt"):
        content = torch.load(run / "checkpoints" / name, map_location="cpu", weights_only=True)
        assert content[CHECKPOINT_KEY]["facts"]["noise_digest"] == read_record(run)["noise"]["sha256"]
    assert content["global_step"] in (2, 4)


def test_nothing_is_left_half_written(run):
    assert not list(run.rglob("*.tmp"))


def test_the_command_prints_the_accuracies_and_the_run_to_compare_with(smoke):
    run, outcome = smoke
    last = read_record(run)["metrics"]["last"]
    for head in HEADS:
        assert f"{last[f'test/acc_{head}']:.2%}" in outcome.out
    assert "alasca-train trainer=smoke alasca=none" in outcome.out
    assert outcome.err == "alasca-train: loading PyTorch ...\n"


@pytest.mark.parametrize("rule", HEADS)
def test_a_loaded_run_reproduces_its_last_test_accuracy(run, rule):
    loaded = alasca_pl.load_run(run)
    loaded.module.predict_rule = rule
    right = total = 0
    for batch in build_data(loaded.config).eval_batches("test"):
        with torch.no_grad():
            scores = loaded.module(batch.image)
        right += sum(int(s.argmax()) == int(y) for s, y in zip(scores, batch.label))
        total += len(batch.label)
    assert total == 400
    assert right / total == pytest.approx(loaded.record.metrics["last"][f"test/acc_{rule}"], abs=1e-6)


def test_a_loaded_run_knows_its_history(run):
    loaded = alasca_pl.load_run(run)
    assert not loaded.module.training
    assert (loaded.epoch, len(loaded.history), loaded.folder) == (1, 2, run)
    assert loaded.history[-1] == loaded.record.metrics["last"]
    assert loaded.facts.num_samples == 1_297
    assert loaded.config == yaml.safe_load((run / "config.yaml").read_text())


def test_the_best_checkpoint_is_that_of_the_best_validation_accuracy(run):
    best = alasca_pl.load_run(run, "best")
    assert best.epoch == read_record(run)["metrics"]["best_val"]["epoch"]


def test_a_loaded_table_of_confidences_is_that_of_the_run(run):
    stored = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    part = alasca_pl.load_run(run).module.method.regularizers[0]["alasca"]
    tables = [value["rows"] for name, value in stored.items() if "alasca" in name and isinstance(value, dict)]
    rows = [value["rows"] for value in part.state_dict().values() if isinstance(value, dict)]
    assert len(tables) == len(rows) == 1
    assert torch.equal(tables[0], rows[0])
    assert tables[0].abs().sum() > 0


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_evaluation_prints_and_writes_the_accuracy(run, tmp_path, split):
    arguments = ["device=cpu", f"split={split}", f"output={tmp_path / 'figures.json'}"]
    outcome = command(tmp_path, f"ckpt_path={run / 'checkpoints' / 'last.ckpt'}", *arguments, entry="evaluate")
    assert outcome.code == 0, outcome
    result = json.loads((tmp_path / "figures.json").read_text())
    record = read_record(run)
    assert result["samples"] == record["data"]["sizes"][split]
    for head in HEADS:
        assert f"{result['accuracy'][head]:.2%}" in outcome.out
        if split != "train":
            assert result["accuracy"][head] == pytest.approx(record["metrics"]["last"][f"{split}/acc_{head}"], abs=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == ["figures.json"]


def test_evaluation_without_heads_has_the_accuracy_of_each_class_by_any_rule(tmp_path):
    arguments = ("trainer=smoke", "alasca=none", "predict.rule=ensemble_all", "hydra.run.dir=run")
    assert command(tmp_path, *arguments).code == 0
    outcome = command(tmp_path, "ckpt_path=run/checkpoints/last.ckpt", "output=figures.json", entry="evaluate")
    assert outcome.code == 0, outcome
    result = json.loads((tmp_path / "figures.json").read_text())
    loaded = alasca_pl.load_run(tmp_path / "run")
    right, total = [0] * 10, [0] * 10
    for batch in build_data(loaded.config).eval_batches("test"):
        with torch.no_grad():
            scores = loaded.module(batch.image)
        for row, label in zip(scores, batch.label.tolist()):
            total[label] += 1
            right[label] += int(row.argmax()) == label
    assert result["accuracy_per_class"] == pytest.approx([hit / all_ for hit, all_ in zip(right, total)], abs=1e-6)
    assert result["accuracy"] == {"main": pytest.approx(sum(right) / sum(total), abs=1e-6)}


def test_evaluation_on_other_data_is_refused(smoke, tmp_path):
    path = write_npz(tmp_path / "own.npz", (8, 8))
    arguments = ["data=npz", "trainer=smoke", "data.batch_size=8", "data.path=own.npz", "hydra.run.dir=run"]
    assert command(tmp_path, *arguments).code == 0
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(tmp_path / "other.npz", **arrays | {"train_labels": arrays["train_labels"][::-1]})
    outcome = command(tmp_path, "ckpt_path=run/checkpoints/last.ckpt", "data.path=other.npz", entry="evaluate")
    assert outcome.code == 1
    assert "noisy labels" in outcome.err
    assert "Traceback" not in outcome.err


# Lightning remarks that the folder of checkpoints is not empty, and that it was moved.
RESUMED = pytest.mark.filterwarnings("ignore:Checkpoint directory", "ignore:The dirpath has changed")


@RESUMED
def test_a_finished_run_goes_on_with_more_epochs(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    outcome = command(tmp_path, f"ckpt_path={folder / 'checkpoints' / 'last.ckpt'}", "trainer.max_epochs=3")
    assert outcome.code == 0, outcome
    record = read_record(folder)
    assert len(record["sessions"]) == 2
    assert record["metrics"]["last"]["epoch"] == 2
    assert len((folder / "metrics.csv").read_text().splitlines()) == 4


@RESUMED
@pytest.mark.parametrize("moved", [False, True])
def test_the_best_checkpoint_stays_the_best_when_a_run_goes_on(tmp_path, moved):
    assert command(tmp_path, "trainer=smoke", "callbacks=quiet", "hydra.run.dir=run").code == 0
    folder = tmp_path / "run"
    checkpoint = folder / "checkpoints" / "last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    (state,) = (state for name, state in content["callbacks"].items() if "'val/acc'" in name)
    # No later epoch can be better than this.
    best = torch.ones_like(state["best_model_score"])
    state |= {"best_model_score": best, "kth_value": best, "best_k_models": {state["best_model_path"]: best}}
    torch.save(content, checkpoint)
    if moved:
        folder = folder.rename(tmp_path / "elsewhere")
    before = (folder / "checkpoints" / "best.ckpt").read_bytes()
    outcome = command(tmp_path, f"ckpt_path={folder / 'checkpoints' / 'last.ckpt'}", "trainer.max_epochs=3")
    assert outcome.code == 0, outcome
    assert len(read_record(folder)["sessions"]) == 2
    assert (folder / "checkpoints" / "best.ckpt").read_bytes() == before


def write_npz(path: Path, shape: tuple[int, ...]) -> Path:
    rng = np.random.default_rng(0)
    content = {}
    for part, size in (("train", 48), ("val", 12), ("test", 12)):
        content[f"{part}_images"] = rng.integers(0, 256, (size, *shape)).astype(np.uint8)
        content[f"{part}_labels"] = (np.arange(size) % 3)[:, None]
    np.savez(path, **content)
    return path


@pytest.mark.parametrize(
    ("shape", "read"),
    [((8, 8), [1, 8, 8]), ((9, 7, 3), [3, 9, 7]), ((8, 8, 4), [3, 8, 8])],
    ids=["grey", "RGB", "RGBA"],
)
def test_an_own_array_file_trains(tmp_path, shape, read):
    write_npz(tmp_path / "own.npz", shape)
    arguments = ["data.path=own.npz", "trainer=smoke", "data.batch_size=8", "callbacks=quiet", "hydra.run.dir=run"]
    outcome = command(tmp_path, "data=npz", "noise=symmetric", *arguments)
    assert outcome.code == 0, outcome
    record = read_record(tmp_path / "run")
    assert (record["status"], record["data"]["image_shape"], record["data"]["num_classes"]) == ("finished", read, 3)
    assert alasca_pl.load_run(tmp_path / "run").facts.image_shape == tuple(read)


def with_config(run: Path, folder: Path, change: dict[str, Any]) -> Path:
    """Copy a run and change values of its checkpoint's config, given by dotted names."""
    copied = shutil.copytree(run, folder / "changed")
    checkpoint = copied / "checkpoints" / "last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    for name, value in change.items():
        *path, last = name.split(".")
        node = content[CHECKPOINT_KEY]["config"]
        for key in path:
            node = node[key]
        node[last] = value
    torch.save(content, checkpoint)
    return copied


LOSS = "alasca_pl.methods.cross_entropy.CrossEntropy"


@pytest.mark.parametrize(
    "criterion",
    [
        {"_target_": "os.system"},
        {"_target_": "alasca_pl_of_somebody_else.Loss"},
        {"_target_": LOSS, "inner": {"_target_": "os.system"}},
        {"_target_": LOSS, "inner": [{"_target_": "os.system"}]},
        {"_target_": LOSS, "inner": ({"_target_": "os.system"},)},
        {"_target_": LOSS, "logger": {"_target_": "os.system"}},
        {"_target_": "alasca_pl.core.files.os.system"},
        {"_target_": "torch.optim.sgd.torch.os.system"},
    ],
    ids=["plain", "alike", "nested", "in a list", "in a tuple", "named logger", "through us", "through torch"],
)
def test_a_checkpoint_that_would_call_foreign_code_is_refused(run, tmp_path, monkeypatch, criterion):
    def armed(node: Any) -> Any:
        if isinstance(node, list | tuple):
            return type(node)(armed(item) for item in node)
        if not isinstance(node, dict):
            return node
        call = {"command": f"touch '{tmp_path / 'canary'}'"} if node["_target_"].endswith("system") else {}
        return {name: armed(value) for name, value in node.items()} | call

    changed = with_config(run, tmp_path, {"criterion": armed(criterion)})
    with pytest.raises(UserError, match=r"which is no part of a run here.*trust=true"):
        alasca_pl.load_run(changed)
    assert not (tmp_path / "canary").exists()


def test_foreign_classes_are_called_if_they_are_trusted(run, tmp_path, monkeypatch):
    (tmp_path / "somebody_s_steps.py").write_text(
        "from alasca_pl.steps.supervised import SupervisedStep\n\n\nclass OwnStep(SupervisedStep):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    changed = with_config(run, tmp_path, {"step._target_": "somebody_s_steps.OwnStep"})
    with pytest.raises(UserError, match=r"somebody_s_steps\.OwnStep"):
        alasca_pl.load_run(changed)
    assert type(alasca_pl.load_run(changed, trust=True).module.step).__name__ == "OwnStep"

    arguments = [f"ckpt_path={changed / 'checkpoints' / 'last.ckpt'}", "device=cpu"]
    refused = command(tmp_path, *arguments, entry="evaluate")
    assert refused.code == 1
    assert "somebody_s_steps.OwnStep" in refused.err
    assert command(tmp_path, *arguments, "trust=true", entry="evaluate").code == 0


def test_a_file_of_another_program_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    with pytest.raises(UserError, match=r"other\.ckpt is not a checkpoint of alasca_pl"):
        open_checkpoint(tmp_path / "other.ckpt")
