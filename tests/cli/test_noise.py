"""``alasca-noise``: what it writes is what a run would draw, and nothing is overwritten or taken on trust."""

import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from alasca_pl.build.data import build_data
from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.composition import compose_config
from alasca_pl.noise.labels import NoisyLabels
from running import Outcome, command

PNG = b"\x89PNG\r\n\x1a\n"


def alasca_noise(folder: Path, *arguments: str) -> Outcome:
    outcome = command(folder, *arguments, entry="noise")
    assert "Traceback" not in outcome.out + outcome.err
    return outcome


def succeeded(folder: Path, *arguments: str) -> str:
    outcome = alasca_noise(folder, *arguments)
    assert outcome.code == 0, outcome
    return outcome.out


def refused(folder: Path, *arguments: str) -> str:
    outcome = alasca_noise(folder, *arguments)
    assert outcome.code == 1, outcome
    return outcome.err


def data_for(*overrides: str):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose_config("train", overrides).config
    return build_data(OmegaConf.to_container(config, resolve=True))


def write_npz(path: Path, shift: int = 0, **more: np.ndarray) -> Path:
    """Images of three classes; ``shift`` changes the images, not the labels."""
    images = np.random.default_rng(0).integers(0, 200, (60, 8, 8)).astype(np.uint8) + np.uint8(shift)
    labels = np.arange(60) % 3
    content = {"train_images": images, "train_labels": labels, "test_images": images[:9], "test_labels": labels[:9]}
    np.savez(path, **(content | more))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, str]:
    """A file for the digits, and what was said of it."""
    folder = tmp_path_factory.mktemp("made")
    out = succeeded(folder, "make", "noise=symmetric", "noise.rate=0.5", "seed=3", "output=noise.npz")
    return folder / "noise.npz", out


@pytest.mark.parametrize("noise", [["noise=symmetric"], ["noise=instance"]])
def test_a_run_from_the_file_sees_what_the_run_itself_would_draw(tmp_path, noise):
    own = data_for(*noise, "noise.rate=0.4", "seed=1")
    succeeded(tmp_path, "make", *noise, "noise.rate=0.4", "seed=1", "output=my noise, [1].npz")
    read = data_for("noise=from_file", f"noise.path='{tmp_path / 'my noise, [1].npz'}'", "seed=1")
    assert read.noisy_labels.digest == own.noisy_labels.digest
    assert read.val_labels.digest == own.val_labels.digest
    assert (read.noisy_labels.rate, read.noisy_labels.seed) == (0.4, 1)
    assert read.noisy_labels.realised_rate == own.noisy_labels.realised_rate


def test_the_file_covers_both_splits_in_order_and_is_described(made):
    path, out = made
    labels = NoisyLabels.load(path)
    assert labels.index.tolist() == list(range(1397))
    assert (labels.kind, labels.rate, labels.seed, labels.num_classes) == ("symmetric", 0.5, 3, 10)
    assert labels.data_digest
    assert labels.realised_rate == pytest.approx(0.45, abs=5 * (0.5 * 0.1 * 0.9 / 1397) ** 0.5)
    assert f"1397 labels, {labels.realised_rate:.2%} wrong" in out
    assert f"{labels.class_rates[7]:.1%}" in out
    assert data_for("noise.rate=0.5", "seed=3").noisy_labels.digest in out
    assert path.with_suffix(".png").read_bytes().startswith(PNG)
    assert sorted(file.name for file in path.parent.iterdir()) == ["noise.npz", "noise.png"]


def test_the_command_that_trains_with_the_file_is_accepted(tmp_path):
    (tmp_path / "my conf" / "data").mkdir(parents=True)
    (tmp_path / "my conf" / "data" / "mine.yaml").write_text("# @package _global_\ndefaults:\n  - digits\n")
    options = ["--config-dir", "my conf", "data=mine", "data.num_val=50", "data.num_samples=null", "seed=3"]
    out = succeeded(tmp_path, "make", *options, "noise=symmetric", "output=my noise.npz", "plot=null")
    # The table is as wide as the terminal.
    words = shlex.split(" ".join(out.split()).partition("to train with it: alasca-train ")[2])
    config = command(tmp_path, *words, "--cfg", "job")
    assert config.code == 0, config
    values = yaml.safe_load(config.out)
    assert (values["seed"], values["data"]["num_val"], values["noise"]["path"]) == (3, 50, "my noise.npz")


def test_the_picture_can_be_elsewhere_or_left_out(tmp_path):
    succeeded(tmp_path, "make", "output=a.npz", "plot=pictures/of it, [1].png")
    assert (tmp_path / "pictures" / "of it, [1].png").read_bytes().startswith(PNG)
    succeeded(tmp_path, "make", "output=b.npz", "plot=null")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.npz", "b.npz", "pictures"]


@pytest.mark.parametrize("there", ["noise.npz", "noise.png"])
def test_nothing_is_overwritten(tmp_path, there):
    (tmp_path / there).write_bytes(b"mine")
    assert f"{there} exists and is not overwritten" in refused(tmp_path, "make")
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {there: b"mine"}


def test_a_validation_split_of_the_data_set_is_not_in_the_file(tmp_path):
    images = np.zeros((6, 8, 8), dtype=np.uint8)
    path = write_npz(tmp_path / "own.npz", val_images=images, val_labels=np.arange(6) % 3)
    settings = (f"data.path={path}", "data.labels_are_clean=true", "seed=0")
    out = succeeded(tmp_path, "make", "data=npz", *settings, "noise=pairflip", "noise.rate=0.5", "output=noise.npz")
    assert "validation split: 6 labels" in out
    assert "own and not in the file" in out
    assert NoisyLabels.load(tmp_path / "noise.npz").index.tolist() == list(range(60))
    read = data_for("data=npz", *settings, "noise=from_file", f"noise.path={tmp_path / 'noise.npz'}")
    assert read.val_labels.label.tolist() == (np.arange(6) % 3).tolist()


def test_doubtful_labels_give_no_rate_and_no_picture(tmp_path):
    path = write_npz(tmp_path / "own.npz")
    out = succeeded(tmp_path, "make", "data=npz", f"data.path={path}", "output=noise.npz")
    assert "60 labels, fraction of wrong labels unknown" in out
    assert "no picture: clean labels are unknown" in out
    assert not (tmp_path / "noise.png").exists()
    assert "unknown" in succeeded(tmp_path, "inspect", "noise.npz")
    assert "no clean labels" in refused(tmp_path, "inspect", "noise.npz", "plot=x.png")
    assert "clean labels not compared" in succeeded(tmp_path, "verify", "noise.npz", "data=npz", f"data.path={path}")


def test_inspect_says_the_same_without_data(made, tmp_path):
    path, out = made
    shown = succeeded(tmp_path, "inspect", str(path), "plot=matrix.png")
    rows = [line for line in out.splitlines() if line.startswith("│")]
    assert len(rows) == 10
    assert all(row in shown for row in rows)
    assert NoisyLabels.load(path).digest in shown
    assert (tmp_path / "matrix.png").read_bytes().startswith(PNG)
    assert "matrix.png exists" in refused(tmp_path, "inspect", str(path), "plot=matrix.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect"], "needs one file, got none"),
        (["inspect", "absent.npz"], "no noise file absent.npz"),
        (["inspect", "a.npz", "b.npz"], "got a.npz, b.npz"),
        (["inspect", "a.npz", "size=3"], "no option 'size=3'"),
        (["inspect", "damaged.npz"], "cannot use damaged.npz"),
        (["verify"], "needs one file, got none"),
        (["verify", "absent.npz"], "absent.npz"),
        (["verify", "damaged.npz"], "cannot use damaged.npz"),
        (["look", "a.npz"], "unknown command 'look'; choose one of make, inspect, verify"),
        (["make", "-m", "seed=0,1"], "leave out -m"),
        (["make", "output=noise.pt"], "noise.pt; the name of a noise file must end in .npz"),
        (["make", "noise.rate=1.5"], "[0, 1], got 1.5"),
        (["make", "noise=from_file"], "noise.path has no value"),
        (["make", "noise=human"], "noise.path=FILE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_end_with_one_message(tmp_path, arguments, message):
    (tmp_path / "damaged.npz").write_bytes(b"PK\x03\x04 no more")
    assert message in refused(tmp_path, *arguments)
    assert [file.name for file in tmp_path.iterdir()] == ["damaged.npz"]


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_help_shows_the_three_commands_with_examples(tmp_path, arguments):
    out = succeeded(tmp_path, *arguments)
    assert all(f"alasca-noise {name}" in out for name in ("make data=cifar10", "inspect noise.npz", "verify noise.npz"))


def test_verify_says_what_agreed(made, tmp_path):
    out = succeeded(tmp_path, "verify", str(made[0]), "seed=3")
    assert f"{made[0]} fits digits" in out
    for line in (
        "10 classes",
        "labels for 1397 of 1397 training samples",
        "clean labels at all 1397 positions",
        "hash of",
    ):
        assert line in out


def test_verify_looks_at_all_training_samples(made, tmp_path):
    assert "of 1397 training samples" in succeeded(
        tmp_path, "verify", str(made[0]), "seed=3", "data.max_train_samples=200"
    )


def change(path: Path, target: Path, **values: object) -> str:
    replace(NoisyLabels.load(path), **values).save(target)
    return str(target)


def test_verify_finds_every_contradiction(made, tmp_path):
    labels = NoisyLabels.load(made[0])
    order = np.random.default_rng(0).permutation(1397)
    permuted = change(made[0], tmp_path / "permuted.npz", clean_label=labels.clean_label[order])
    differ = int((labels.clean_label[order] != labels.clean_label).sum())
    assert f"differ from those of digits at {differ} of 1397 positions" in refused(tmp_path, "verify", permuted)
    more = change(made[0], tmp_path / "more.npz", num_classes=12)
    assert "it has 12 classes, the data 10" in refused(tmp_path, "verify", more)
    beyond = change(made[0], tmp_path / "beyond.npz", index=labels.index + 7)
    assert "7 of them for positions that digits with its 1397 training samples lacks, the first for 1397" in refused(
        tmp_path, "verify", beyond
    )


def test_verify_tells_other_images_with_the_same_labels_by_their_hash(tmp_path):
    one, other = write_npz(tmp_path / "one.npz"), write_npz(tmp_path / "other.npz", shift=1)
    settings = ("data=npz", "noise=pairflip", "data.labels_are_clean=true")
    succeeded(tmp_path, "make", *settings, f"data.path={one}", "output=noise.npz")
    succeeded(tmp_path, "verify", "noise.npz", *settings, f"data.path={one}")
    assert "made for other images" in refused(tmp_path, "verify", "noise.npz", *settings, f"data.path={other}")


def test_verify_takes_plain_labels_too(tmp_path):
    np.save(tmp_path / "labels.npy", np.zeros(1000, dtype=np.int64))
    out = succeeded(tmp_path, "verify", "labels.npy")
    assert "labels for 1000 of 1397 training samples; 397 have none" in out
    assert "clean labels not compared" in out
