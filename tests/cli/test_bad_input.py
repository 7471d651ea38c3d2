"""What goes wrong ends with status 1 and one message that names the value and the way out."""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import alasca_pl
from alasca_pl import cli
from alasca_pl.runs import early
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
        (["noise.variant=both"], ["'both'", "inclusive, inclusive_floor, exclusive"]),
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
        (["+trainer.accumulate_grad_batches=2"], ["trainer.accumulate_grad_batches", "2", "data.batch_size"]),
    ],
    ids=" ".join,
)
def test_a_wrong_value_is_named_with_the_way_out(tmp_path, overrides, words):
    assert_refused(command(tmp_path, *TINY, *overrides), *words)
    assert not list(tmp_path.rglob("record.json"))
    # Nor does a folder stay in whose log there is nothing.
    assert all(file.stat().st_size for file in tmp_path.rglob("train.log"))


def test_weights_of_an_encoder_that_cannot_be_had_are_missed_before_the_data_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *arguments: None)
    outcome = command(tmp_path, *TINY, "method=simifeat", "selector.encoder.name=resnet18")
    assert_refused(outcome, "weights of resnet18", "+selector.encoder.options=", "selector.encoder=null")
    assert "digits" not in outcome.out and not list(tmp_path.rglob("record.json"))


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


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["+callbacks.lr._target_=lightning.pytorch.callbacks.LearningRateMonitor"],
            ["LearningRateMonitor", "no logger"],
        ),
        (
            ["+callbacks.e={_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: nope}"],
            ["EarlyStopping waits for the metric 'nope'", "train, val, test", "val/acc"],
        ),
        (
            ["data.num_val=0", "+callbacks.e={_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val/acc}"],
            ["'val/acc'", "(train, test)"],
        ),
    ],
)
def test_callbacks_and_loggers_that_cannot_work_are_refused_at_the_start(tmp_path, options, words):
    outcome = command(tmp_path, *TINY, *options)
    assert_refused(outcome, *words)
    assert "epoch 1" not in outcome.out


def test_a_number_of_nodes_without_a_cluster_is_not_waited_for(tmp_path, monkeypatch):
    for name in early._CLUSTER:
        monkeypatch.delenv(name, raising=False)
    outcome = command(tmp_path, "trainer=smoke", "trainer.num_nodes=2")
    assert_refused(outcome, "trainer.num_nodes=2", "srun", "MASTER_ADDR")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    early.check_devices({"trainer": {"num_nodes": 2}})


@pytest.mark.parametrize("devices", ["abc", "0;1", "1.5,2"])
def test_devices_are_a_number_a_list_or_auto(tmp_path, devices):
    outcome = command(tmp_path, "trainer=smoke", f"trainer.devices='{devices}'")
    assert_refused(outcome, f"trainer.devices={devices}", "[0,1]", "auto")
    for fits in ("auto", "-1", "2", "0,1", "0, 1", "1,"):
        early.check_devices({"trainer": {"devices": fits}})


@pytest.mark.parametrize("flag", ["-x", "--no-such-flag"])
def test_unknown_flags_are_named_in_one_line(tmp_path, flag):
    assert_refused(command(tmp_path, "epochs=1", flag), f"unrecognized arguments: {flag};", "--help")


@pytest.mark.parametrize("group", ["callbacks", "logger", "regularizers"])
def test_an_empty_part_is_not_taken_for_none(tmp_path, group):
    assert_refused(command(tmp_path, *TINY, f"+{group}.x={{}}"), f"{group}.x", "_target_ or null")


@pytest.mark.parametrize("value", ["null", "nan", "3", "true"])
def test_what_is_no_name_chooses_nothing_in_a_group(tmp_path, value):
    outcome = command(tmp_path, *TINY, f"logger={value}")
    assert_refused(outcome, f"logger={value} chooses no file of the group logger", "tensorboard")


def test_a_network_that_no_memory_holds_is_one_line(tmp_path):
    outcome = command(tmp_path, *TINY, "model.backbone.width=10000000000")
    assert_refused(outcome, "does not fit into memory", "model.backbone")


def test_numbers_without_end_are_no_values_of_parts(tmp_path):
    outcome = command(tmp_path, *TINY, "regularizers.alasca.strength=1e400")
    assert_refused(outcome, "regularizers.alasca.strength", "inf")


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
        assert_refused(outcome, "run/checkpoints/last.ckpt", "there is no folder", "give the folder of a run")


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
        (["split=training"], ["'training'", "val", "test"]),
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


# A run of a second on images from files; the part of TINY that fits other data.
OWN = (
    "trainer=smoke",
    "data.batch_size=4",
    "model.backbone.width=4",
    "callbacks=quiet",
    "data.num_workers=0",
    "data.num_val=0",
)


def write_images(root: Path, classes: str = "abc", train: int = 6, test: int = 2, bright: int = 0) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for name in classes:
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 200, (8, 8, 3)).astype(np.uint8) // (1 + bright)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "images")


def assert_own_refused(folder: Path, data: Path, arguments: list[str], words: list[str]) -> None:
    """The command refuses with one message, leaves no record of a run, and the data as they are."""
    before = {path: path.lstat().st_mtime_ns for path in [data, *data.rglob("*")]}
    outcome = command(folder, *OWN, *arguments, "hydra.run.dir=run")
    assert_refused(outcome, *words)
    assert outcome.err.count("error: ") == 1
    for name in ("record.json", "config.yaml", "noise.npz", "metrics.csv", "checkpoints"):
        assert not (folder / "run" / name).exists()
    assert {path: path.lstat().st_mtime_ns for path in [data, *data.rglob("*")]} == before


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["data.root=gone"], ["gone", "data.root"]),
        (["data.image_size=0"], ["data.image_size", "got 0"]),
        (["data.image_size=abc"], ["data.image_size", "'abc'"]),
        (["data.image_size=[32]"], ["data.image_size", "[32]"]),
        (["data.channels=2"], ["data.channels", "1 (grey) or 3 (RGB)", "2"]),
        (["data.num_val=1.5"], ["data.num_val", "1.5"]),
        (["data.num_val=0.99"], ["data.num_val", "0.99"]),
        (["data.loader=foo"], ["data.loader", "'foo'", "auto, arrays, files"]),
        (["data.check=deep"], ["data.check", "'deep'", "full, header, none"]),
        (["data.on_corrupt=ignore"], ["data.on_corrupt", "'ignore'", "error, skip"]),
        (["data.augment=heavy"], ["data.augment", "'heavy'", "none, weak, strong"]),
        (["data.num_workers=-1"], ["data.num_workers", "-1", "at least 0"]),
        (["data.subset_size=2"], ["data.subset_size", "2", "3 classes"]),
        (["data.num_classes=2"], ["data.num_classes", "2"]),
        (["data.mean=[0.5]"], ["data.mean", "1 values", "3 channel"]),
        (["noise=instance", "noise.rate=1.5"], ["rate", "1.5", "[0, 1]"]),
        (["noise=matrix"], ["matrix", "like", "neither"]),
        (["noise=matrix", "noise.matrix=[[0.9,0.1],[0.2,0.8]]"], ["2 classes", "3"]),
        (["noise=matrix", "noise.matrix=[[0.9,0.2,0],[0,1,0],[0,0,1]]"], ["row 0", "1.1"]),
        (["noise=matrix", "noise.matrix=[[1.5,-0.5,0],[0,1,0],[0,0,1]]"], ["[0, 1]"]),
        (["noise=matrix", "noise.matrix=gone.csv"], ["gone.csv"]),
        (["noise=from_file", "noise.path=gone.npz"], ["gone.npz", "noise.path"]),
        (["noise=human"], ["CIFAR", "3"]),
    ],
    ids=" ".join,
)
def test_a_wrong_value_for_images_from_files_is_named(images, tmp_path, overrides, words):
    assert_own_refused(tmp_path, images, ["data=folder", f"data.root={images}", *overrides], words)


@pytest.mark.parametrize("loader", ["arrays", "files"])
def test_images_that_cannot_be_read_are_counted_and_named(images, tmp_path, loader):
    folder = shutil.copytree(images, tmp_path / "images")
    (folder / "train" / "a" / "3.png").write_bytes(b"")
    cut = folder / "train" / "b" / "4.png"
    cut.write_bytes(cut.read_bytes()[:90])
    (folder / "test" / "c" / "1.png").write_text("no image")
    words = ["3 of 24 images", "'train/a/3.png' (the file is empty)", "'train/b/4.png'", "'test/c/1.png'", "skip"]
    assert_own_refused(tmp_path, folder, ["data=folder", f"data.root={folder}", f"data.loader={loader}"], words)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_an_image_that_breaks_off_ends_the_run_with_its_name(images, tmp_path, workers):
    folder = shutil.copytree(images, tmp_path / "images")
    cut = folder / "test" / "c" / "1.png"
    cut.write_bytes(cut.read_bytes()[:90])
    arguments = ["data=folder", f"data.root={folder}", "data.loader=files", "data.check=header"]
    outcome = command(tmp_path, *OWN, *arguments, f"data.num_workers={workers}", "hydra.run.dir=run")
    assert_refused(outcome, "test/c/1.png")
    assert json.loads((tmp_path / "run" / "record.json").read_text())["status"] == "failed"


def test_a_class_without_images_is_named(images, tmp_path):
    folder = shutil.copytree(images, tmp_path / "images")
    for path in (folder / "train" / "c").iterdir():
        path.unlink()
    (folder / "train" / "c" / "notes.txt").write_text("none yet")
    words = ["empty class", str(folder / "train" / "c"), ".jpg"]
    assert_own_refused(tmp_path, folder, ["data=folder", f"data.root={folder}"], words)


def test_splits_with_different_classes_are_compared(images, tmp_path):
    folder = shutil.copytree(images, tmp_path / "images")
    (folder / "test" / "c").rename(folder / "test" / "d")
    assert_own_refused(tmp_path, folder, ["data=folder", f"data.root={folder}"], ["test/", "lacks 'c'", "'d'"])


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["train/a/0.png,1.5"], ["line 2", "'1.5'", "whole number"]),
        (["train/a/0.png,-1"], ["line 2", "'-1'"]),
        (["train/a/0.png,0", "train/b/0.png,b"], ["all whole numbers or all names", "line 2", "line 3", "'b'"]),
        (["train/a/0.png,"], ["line 2", "empty"]),
        ([f"train/{name}/0.png,{label}" for label, name in enumerate("abc")], ["label 2", "0 to 1"]),
        (["../images/train/a/0.png,0"], ["line 2", "../images/train/a/0.png", "leads out of"]),
        (["{root}/train/a/0.png,0"], ["line 2", "absolute"]),
        (["train/a/none.png,0"], ["1 image(s) are missing", "'train/a/none.png' (line 2)"]),
        (["train/a/0.png,0", "train/a/0.png,1"], ["twice", "'train/a/0.png' (line 3)"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_a_table_that_cannot_be_used_is_named_with_its_line(images, tmp_path, lines, words):
    table = tmp_path / "list.csv"
    table.write_text("\n".join(["path,label", *lines]).format(root=images) + "\n")
    arguments = ["data=csv", f"data.path={table}", f"data.root={images}", "data.num_classes=2"]
    assert_own_refused(tmp_path, images, arguments, ["list.csv" if "label 2" not in words else "csv", *words])


def write_archive(path: Path, *members: str, link: bytes | None = None) -> Path:
    """Members of one byte each; with ``link`` also a link of that kind to a file of the system."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name in members:
                file.writestr(name, b"x")
            if link:
                entry = zipfile.ZipInfo("a/link.png")
                entry.external_attr = 0o120777 << 16
                file.writestr(entry, "/etc/passwd")
        return path
    with tarfile.open(path, "w") as file:
        for name in members:
            entry = tarfile.TarInfo(name)
            entry.size = 1
            file.addfile(entry, io.BytesIO(b"x"))
        if link:
            entry = tarfile.TarInfo("a/link.png")
            entry.type, entry.linkname = link, "/etc/passwd"
            file.addfile(entry)
    return path


@pytest.mark.parametrize("ending", ["zip", "tar"])
@pytest.mark.parametrize(
    ("members", "link", "words"),
    [
        (["{target}/evil.png"], None, ["absolute"]),
        (["a/0.png", "a/../../../evil.png"], None, ["leads out of its folder"]),
        (["a/0.png"], tarfile.SYMTYPE, ["a/link.png", "link"]),
    ],
    ids=["absolute", "upwards", "link"],
)
def test_an_archive_that_reaches_outside_is_refused(tmp_path, ending, members, link, words):
    (tmp_path / "data").mkdir()
    (tmp_path / "work").mkdir()
    names = [name.format(target=tmp_path) for name in members]
    archive = write_archive(tmp_path / "data" / f"images.{ending}", *names, link=link)
    arguments = ["data=folder", f"data.root={archive}", "data.extract_to=unpacked"]
    assert_own_refused(tmp_path / "work", tmp_path / "data", arguments, [archive.name, *words])
    assert not list(tmp_path.rglob("evil.png"))
    assert not list(tmp_path.rglob("*/0.png"))


def test_an_archive_needs_a_place_to_be_unpacked(tmp_path):
    (tmp_path / "data").mkdir()
    archive = write_archive(tmp_path / "data" / "images.tar", "a/0.png")
    words = ["images.tar", "data.extract_to"]
    assert_own_refused(tmp_path, tmp_path / "data", ["data=folder", f"data.root={archive}"], words)


def test_a_noise_file_for_other_data_is_refused(images, tmp_path):
    made = command(tmp_path, "make", "data=folder", f"data.root={images}", "noise=symmetric", "noise.rate=0.4",
                   "data.num_val=4", "output=noise.npz", "plot=null", entry="noise")  # fmt: skip
    assert made.code == 0, made
    noise = ["noise=from_file", f"noise.path={tmp_path / 'noise.npz'}", "data.num_val=4"]
    for number, how in enumerate(({"bright": 3}, {"train": 7}, {"classes": "abcd"})):
        other = write_images(tmp_path / f"other{number}", **how)
        assert_own_refused(tmp_path, other, ["data=folder", f"data.root={other}", *noise], ["noise.npz", "other data"])


@pytest.mark.parametrize(
    ("reverse", "overrides", "words"),
    [
        (False, [], ["CIFAR-10_human.pt", "MD5", "check_md5=false"]),
        (True, ["noise.check_md5=false"], ["CIFAR-N", "another order"]),
        (False, ["noise.check_md5=false", "noise.labels=fine"], ["'fine'", "100 classes", "10"]),
        (False, ["noise.check_md5=false", "noise.root=gone"], ["gone", "CIFAR-10_human.pt", "noise.path"]),
    ],
    ids=["another file", "another order", "other classes", "no file"],
)
def test_human_labels_that_do_not_fit_are_refused(tmp_path, reverse, overrides, words):
    data = write_images(tmp_path / "images", "abcdefghij", train=2, test=1)
    clean = np.repeat(np.arange(10), 2)
    clean = clean[::-1].copy() if reverse else clean
    names = ("aggre_label", "random_label1", "random_label2", "random_label3", "worse_label")
    torch.save({"clean_label": clean} | dict.fromkeys(names, (clean + 1) % 10), tmp_path / "CIFAR-10_human.pt")
    arguments = ["data=folder", f"data.root={data}", "noise=human", f"noise.root={tmp_path}"]
    assert_own_refused(tmp_path, data, [*arguments, *overrides], words)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("data.augment=none", "data.augment (was 'weak', now 'none')"),
        ("data.image_size=16", "data.image_size (was None, now 16)"),
        ("data.flip=false", "data.flip (was True, now False)"),
        ("data.subset_size=9", "data.subset_size (was None, now 9)"),
        ("data.on_corrupt=skip", "data.on_corrupt (was 'error', now 'skip')"),
    ],
)
def test_resuming_with_other_images_is_refused(finished_on_images, override, key):
    before = contents(finished_on_images)
    outcome = command(
        finished_on_images.parent, f"ckpt_path={finished_on_images / 'checkpoints' / 'last.ckpt'}", override
    )
    assert_refused(outcome, key, "ckpt_path")
    assert contents(finished_on_images) == before


@pytest.fixture(scope="module")
def finished_on_images(tmp_path_factory, images):
    folder = tmp_path_factory.mktemp("finished_on_images")
    outcome = command(folder, *OWN, "data=folder", f"data.root={images}", "hydra.run.dir=run")
    assert outcome.code == 0, outcome
    return folder / "run"


@pytest.mark.parametrize("file", ["criterion: {_target_: a.B}\n", "defaults: [ce]\ncriterion: {scale: 2.0}\n"])
def test_a_file_of_a_group_without_its_first_line(tmp_path, file):
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "own.yaml").write_text(file)
    outcome = command(tmp_path, "--config-dir", str(tmp_path / "mine"), "method=own", *TINY)
    assert_refused(outcome, "method/own.yaml", "its first line must be: # @package _global_")


@pytest.mark.parametrize(
    ("option", "contract", "arguments"),
    [
        ("criterion={_target_:torch.nn.CrossEntropyLoss}", "Criterion", "(logits, targets, progress)"),
        ("+regularizers.mine={_target_:torch.nn.L1Loss}", "Regularizer", "(view)"),
        ("selector={_target_:torch.nn.Identity}", "SampleSelector", "(losses, logits, targets, progress)"),
        ("mixer={_target_:torch.nn.Identity}", "InputMixer", "(batch, progress)"),
    ],
)
def test_a_class_that_follows_no_contract(tmp_path, option, contract, arguments):
    outcome = command(tmp_path, option, *TINY, "hydra.run.dir=run")
    assert_refused(outcome, f"does not inherit alasca_pl.core.parts.{contract}", f"forward{arguments}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "words"), [("early_stopping", "early_end.patience=10"), ("model_checkpoint", "checkpoint.every_n_steps")]
)
def test_what_lightning_has_as_callbacks_is_named(tmp_path, option, words):
    assert_refused(command(tmp_path, f"callbacks={option}"), words)


@pytest.mark.parametrize("entry", ["train", "report", "sweep", "audit", "predict"])
def test_the_version_is_ours(tmp_path, entry):
    outcome = command(tmp_path, "--version", entry=entry)
    assert (outcome.code or 0, outcome.out) == (0, f"alasca_pl {alasca_pl.__version__}\n")
