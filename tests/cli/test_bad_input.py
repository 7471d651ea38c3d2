"""What goes wrong ends with status 1 and one message that names the value and the way out."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from alasca_pl import cli
from running import Outcome, command

# A run of a second on 200 of the digits.
TINY = (
    "trainer=smoke",
    "data.max_train_samples=200",
    "data.batch_size=20",
    "model.backbone.width=4",
    "callbacks=quiet",
)


def assert_refused(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 1, outcome
    assert "Traceback" not in outcome.out + outcome.err
    message = outcome.err.strip()
    assert message
    assert len(message.splitlines()) <= 40
    missing = [word for word in words if word not in message]
    assert not missing, f"{missing} not in: {message}"


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_npz(path: Path, **change: np.ndarray) -> Path:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (24, 8, 8)).astype(np.uint8)
    labels = np.arange(24) % 3
    content = {"train_images": images, "train_labels": labels, "test_images": images[:9], "test_labels": labels[:9]}
    np.savez(path, **{name: array for name, array in (content | change).items() if array is not None})
    return path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    outcome = command(folder, *TINY, "hydra.run.dir=run")
    assert outcome.code == 0, outcome
    return folder / "run"


@pytest.mark.parametrize("group", ["method", "data", "noise", "model", "alasca", "optim", "trainer"])
def test_an_unknown_choice_lists_the_valid_ones(tmp_path, group):
    choices = [file.stem for file in (cli.CONF_DIR / group).glob("*.yaml")]
    assert_refused(command(tmp_path, f"{group}=no_such_thing"), f"{group}/no_such_thing", *choices)
    assert not list(tmp_path.rglob("record.json"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["aux.kind=foo"], ["foo", "bottleneck, mlp, mlp_gap_first, residual, depthwise"]),
        (["aux.stages=[7]"], ["aux.stages", "stage 7", "1, 2"]),
        (["aux.stages=deep"], ["aux.stages", "'deep'", "all, last"]),
        (["noise.rate=1.5"], ["rate", "1.5", "[0, 1]"]),
        (["noise.rate=-0.1"], ["rate", "-0.1", "[0, 1]"]),
        (["noise.variant=both"], ["'both'", "inclusive, exclusive"]),
        (["noise.seed=-1"], ["seed", "-1", "at least 0"]),
        (["regularizers.alasca.temperature=0"], ["temperature", "0", "above 0"]),
        (["regularizers.alasca.strength=-1"], ["strength", "-1", "at least 0"]),
        (["regularizers.alasca.momentum=1.0"], ["momentum", "1.0", "[0, 1)"]),
        (["regularizers.alasca.target=none_of_these"], ["none_of_these", "others", "uniform", "paper_omega"]),
        (["method=gce", "criterion.q=2"], ["q", "2", "(0, 1]"]),
        (["method=elr", "criterion.momentum=-0.5"], ["momentum", "-0.5", "[0, 1)"]),
        (["+criterion.foo=1"], ["CrossEntropy", "foo"]),
        (["+noise.foo=1"], ["SymmetricNoise", "foo", "variant"]),
        (["criterion._target_=alasca_pl.methods.no_such_file.Loss"], ["no_such_file"]),
        (["no_such_key=1"], ["no_such_key"]),
        (["data.batch_size=0"], ["batch_size", "0", "at least 1"]),
        (["data.batch_size=5000"], ["data.batch_size", "5000", "200"]),
        (["data.batch_size=199"], ["data.batch_size", "data.drop_last=true"]),
        (["data.num_val=5000"], ["data.num_val", "5000"]),
        (["epochs=0"], ["epochs", "0", "at least 1"]),
        (["epochs=1.5"], ["epochs", "1.5"]),
        (["checkpoint.every_n_steps=0"], ["checkpoint.every_n_steps", "0", "null"]),
        (["predict.rule=best_head"], ["best_head", "main", "ensemble_all", "main_last"]),
        (["predict.average=median"], ["median", "logits", "probs"]),
        (["trainer.precision=7"], ["precision", "7"]),
        (["optim.lr=-1"], ["-1"]),
    ],
    ids=" ".join,
)
def test_a_wrong_value_is_named_with_the_way_out(tmp_path, overrides, words):
    assert_refused(command(tmp_path, *TINY, *overrides), *words)
    assert not list(tmp_path.rglob("record.json"))


def test_a_batch_that_cannot_be_split_is_refused_before_any_process_starts(tmp_path, monkeypatch):
    def start(*args, **kwargs):
        raise AssertionError(f"a process was started: {args}")

    monkeypatch.setattr(subprocess.Popen, "__init__", start)
    outcome = command(tmp_path, "trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "data.batch_size=63")
    assert_refused(outcome, "data.batch_size 63", "2 processes", "multiple of 2", "trainer.devices")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train_labels": None}, ["train_labels", "lacks"]),
        ({"test_images": None}, ["test_images", "lacks"]),
        ({"train_labels": np.array([0, 1])}, ["24 images", "2 labels"]),
        ({"test_labels": np.full(9, 5)}, ["label 5", "0 to 2"]),
        ({"train_labels": np.arange(24) - 1}, ["label -1"]),
        ({"train_images": np.zeros((24, 8, 8), dtype=np.float32)}, ["float32", "uint8"]),
        ({"test_images": np.zeros((9, 7, 8), dtype=np.uint8)}, ["differ in size"]),
        ({"train_images": np.array([{}] * 24, dtype=object)}, ["own.npz"]),
        ({"train_labels": np.zeros(24, dtype=int), "test_labels": np.zeros(9, dtype=int)}, ["1 class"]),
    ],
    ids=lambda value: "" if isinstance(value, list) else " ".join(value),
)
def test_an_array_file_that_cannot_be_used_is_named(tmp_path, change, words):
    path = write_npz(tmp_path / "own.npz", **change)
    outcome = command(
        tmp_path,
        "data=npz",
        f"data.path={path}",
        "data.batch_size=8",
        "trainer=smoke",
        "noise=symmetric",
        "noise.rate=0.2",
    )
    assert_refused(outcome, *words)
    assert "own.npz" in outcome.err or "npz holds label" in outcome.err or "npz has 1 class" in outcome.err


def test_a_truncated_array_file_is_named(tmp_path):
    path = write_npz(tmp_path / "own.npz")
    path.write_bytes(path.read_bytes()[:-300])
    assert_refused(command(tmp_path, "data=npz", f"data.path={path}", "trainer=smoke"), "own.npz")


def test_an_array_file_that_is_not_there_is_named(tmp_path):
    assert_refused(command(tmp_path, "data=npz", "data.path=gone.npz"), "gone.npz", "data.path")
    assert_refused(command(tmp_path, "data=npz"), "data.path")


def test_groups_that_name_no_class_are_refused(tmp_path):
    outcome = command(tmp_path, *TINY, "noise=asymmetric", "noise.class_map=null", "noise.groups=[[0,10]]")
    assert_refused(outcome, "class 10", "0 to 9")


def test_missing_cifar_names_folder_and_way_out(tmp_path):
    outcome = command(tmp_path, "data=cifar10", f"data.root={tmp_path / 'nowhere'}", "data.download=false")
    assert_refused(outcome, str(tmp_path / "nowhere"), "cifar10.npz", "data.root", "data.download=true")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("overrides", [TINY, (*TINY, "seed=5")], ids=["the same run", "another run"])
def test_a_folder_with_a_finished_run_is_refused_and_stays_as_it_is(finished, overrides):
    before = contents(finished)
    assert "record.json" in before
    outcome = command(finished.parent, *overrides, f"hydra.run.dir={finished}")
    assert_refused(outcome, str(finished), "finished", "hydra.run.dir=")
    assert contents(finished) == before


def test_a_folder_with_a_damaged_record_is_refused(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "run")
    (folder / "record.json").write_text('{"status": "fini')
    before = contents(folder)
    assert_refused(command(tmp_path, *TINY, f"hydra.run.dir={folder}"), "record.json", "hydra.run.dir=")
    checkpoint = folder / "checkpoints" / "last.ckpt"
    assert_refused(command(tmp_path, f"ckpt_path={checkpoint}"), "record.json")
    assert contents(folder) == before


@pytest.mark.parametrize("keep", [0, 100, -1000])
def test_a_truncated_checkpoint_is_refused(finished, tmp_path, keep):
    folder = shutil.copytree(finished, tmp_path / "run")
    checkpoint = folder / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:keep])
    before = contents(folder)
    assert_refused(command(tmp_path, f"ckpt_path={checkpoint}"), str(checkpoint), "truncated", "best.ckpt")
    assert contents(folder) == before
    assert_refused(command(tmp_path, f"ckpt_path={checkpoint}", entry="evaluate"), str(checkpoint), "truncated")


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    for entry in ("train", "evaluate"):
        outcome = command(tmp_path, "ckpt_path=run/checkpoints/last.ckpt", entry=entry)
        assert_refused(outcome, "run/checkpoints/last.ckpt", "ckpt_path=RUN/checkpoints/last.ckpt")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("optim.lr=0.5", "optim.lr (was 0.05, now 0.5)"),
        ("data.batch_size=40", "data.batch_size (was 20, now 40)"),
        ("noise.seed=3", "noise.seed (was 0, now 3)"),
        ("noise.rate=0.3", "noise.rate (was 0.8, now 0.3)"),
        ("method=gce", "criterion._target_"),
        ("alasca=none", "regularizers.alasca"),
        ("seed=1", "seed (was 0, now 1)"),
        ("model.backbone.width=8", "model.backbone.width (was 4, now 8)"),
    ],
)
def test_resuming_as_another_experiment_is_refused(finished, override, key):
    before = contents(finished)
    outcome = command(finished.parent, f"ckpt_path={finished / 'checkpoints' / 'last.ckpt'}", override)
    assert_refused(outcome, key, "ckpt_path")
    assert contents(finished) == before


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["part=training"], ["'training'", "val", "test"]),
        (["device=tpu"], ["'tpu'", "auto, cpu, cuda"]),
        (["output=record.json"], ["record.json", "exists already"]),
        (["no_such_key=1"], ["no_such_key"]),
    ],
    ids=" ".join,
)
def test_a_wrong_question_to_a_checkpoint_is_refused(finished, overrides, words):
    before = contents(finished)
    outcome = command(finished, "ckpt_path=checkpoints/last.ckpt", *overrides, entry="evaluate")
    assert_refused(outcome, *words)
    assert contents(finished) == before


def test_evaluation_without_a_checkpoint_asks_for_one(tmp_path):
    assert_refused(command(tmp_path, entry="evaluate"), "ckpt_path")


@pytest.mark.parametrize(
    ("overrides", "words"),
    [(["method=no_such_thing"], ["no_such_thing", "gce"]), (["noise.rate=1.5"], ["1.5", "[0, 1]"])],
    ids=" ".join,
)
def test_the_command_itself_ends_with_status_one(tmp_path, overrides, words):
    done = subprocess.run(
        [sys.executable, "-m", "alasca_pl.cli", *TINY, *overrides], cwd=tmp_path, capture_output=True, text=True
    )
    assert_refused(Outcome(done.returncode, done.stdout, done.stderr), *words)
