"""Names of classes, data and folders reach terminal and log without control characters."""

import numpy as np
import pytest
from PIL import Image

from running import TINY, command

EVIL = "cat\x1b[2J\x9b1m\nerror: all is well\u202e"


def _is_clean(text):
    return all(character.isprintable() or character == "\n" for character in text) and "\nerror: all" not in text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on images in classes with hostile names, in a folder with such a name."""
    folder = tmp_path_factory.mktemp("evil")
    rng = np.random.default_rng(0)
    for kind in ("train", "test"):
        for name in (EVIL, "dog", "hen\x07"):
            place = folder / f"data{EVIL}" / kind / name
            place.mkdir(parents=True)
            for number in range(12):
                Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8)).save(place / f"{number}\x1b[1m.png")
            (place / f"broken{EVIL}.txt").touch()
    options = [*TINY, "epochs=1", "data=folder", f"data.root={folder}/data{EVIL}", "hydra.run.dir=run\x1b[2J"]
    outcome = command(
        folder, *options, "data.image_size=8", "data.batch_size=8", "data.num_val=6", "noise=none", "alasca=none"
    )
    assert outcome.code == 0, outcome
    return folder / "run\x1b[2J", outcome


def test_training_shows_and_logs_no_control_characters(run):
    folder, outcome = run
    assert _is_clean(outcome.out) and _is_clean(outcome.err), outcome
    log = (folder / "train.log").read_text()
    assert _is_clean(log) and "\\x1b" in log


@pytest.mark.parametrize(
    ("entry", "arguments"),
    [
        ("evaluate", ["ckpt_path={run}/checkpoints/last.ckpt"]),
        ("report", ["{run}"]),
        ("audit", ["{run}"]),
        ("measure", ["{run}", "samples=4"]),
        ("noise", ["inspect", "{run}/noise.npz"]),
        ("train", ["ckpt_path={run}", "epochs=1"]),
        ("train", ["ckpt_path={run}/no\x1b[2Jsuch\nerror: all is well.ckpt"]),
        ("train", ["data=folder", "data.root={run}/no\x1b[2Jsuch"]),
    ],
)
def test_commands_show_no_control_characters(run, tmp_path, entry, arguments):
    outcome = command(tmp_path, *(word.format(run=run[0]) for word in arguments), entry=entry)
    assert outcome.out + outcome.err
    if entry != "report":
        assert _is_clean(outcome.out), outcome.out
    assert _is_clean(outcome.err), outcome.err
