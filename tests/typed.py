"""Commands and programs that stand in documents, and what makes each of them one of seconds."""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml

from alasca_pl.cli import CONF_DIR
from running import command

# What makes a job one of seconds; its own values stay otherwise.
SECONDS = (
    "epochs=1", "data.max_train_samples=160", "data.num_val=20", "data.max_test_samples=40", "model.backbone.width=4",
    "callbacks=quiet", "trainer=cpu", "trainer.precision=32-true", "report.last_epochs=1",
)  # fmt: skip
SWEEPS = ("hydra.launcher.jobs=2", "hydra.launcher.view=lines")
# Of a sweep's values the first one, but of these the first and the last.
_COMPARED = ("component", "alasca")


class Block(NamedTuple):
    """A block of code: ``info`` is what stands behind its fence, ``caption`` the name of the file that it is."""

    info: str
    caption: str | None
    text: str


def blocks(document: str) -> list[Block]:
    """All blocks between fences of backticks, those in others left out."""
    found = []
    for fenced in re.finditer(r"^(`{3,})([^\n`]*)\n(.*?)^\1\n", document + "\n", flags=re.MULTILINE | re.DOTALL):
        info, text = fenced[2].strip(), fenced[3]
        caption = re.match(r":caption: (.+)\n+", text)
        found.append(Block(info, caption[1] if caption else None, text[caption.end() :] if caption else text))
    return found


def lines(text: str) -> list[list[str]]:
    """Words of each command in a block, without comments and variables of the environment."""
    each = text.replace("\\\n", " ").splitlines()
    words = [[word for word in shlex.split(line, comments=True) if "OMP_NUM_THREADS" not in word] for line in each]
    return [line for line in words if line]


def narrowed(line: list[str]) -> list[str]:
    """Options that leave a few jobs of a sweep."""
    given = dict(word.split("=", 1) for word in line if "=" in word)
    params = {}
    if "experiment" in given:
        config = yaml.safe_load((CONF_DIR / "experiment" / f"{given['experiment']}.yaml").read_text())
        sweeper = config.get("hydra", {}).get("sweeper", {})
        grids = sweeper.get("grids") or [{}]
        grid = next((each for each in grids if each.get("method") == given.get("method")), grids[0])
        params = {**(sweeper.get("params") or {}), **grid}
    found = []
    for name, values in {
        **params,
        **{key: value for key, value in given.items() if "," in value and value[0] != "["},
    }.items():
        each = str(given.get(name, values)).split(",")
        few = [each[0], each[-1]] if name in _COMPARED and len(each) > 1 else each[:1]
        found.append(f"{name}={','.join(few)}")
    return found


def write_cifar(folder: Path) -> Path:
    """Files of the form of CIFAR-10 and CIFAR-10N with random pixels."""
    rng = np.random.default_rng(0)
    labels = {part: np.arange(size) % 10 for part, size in (("train", 400), ("test", 100))}
    images = {part: rng.integers(0, 256, (len(label), 32, 32, 3)).astype(np.uint8) for part, label in labels.items()}
    np.savez(
        folder / "cifar10.npz",
        **{f"{part}_images": images[part] for part in images},
        **{f"{part}_labels": labels[part] for part in labels},
    )
    names = ("clean_label", "aggre_label", "worse_label", "random_label1", "random_label2", "random_label3")
    human = {name: labels["train"] if name == "clean_label" else rng.permutation(labels["train"]) for name in names}
    torch.save(human, folder / "CIFAR-10_human.pt")
    return folder


def run(folder: Path, line: list[str], *options: str) -> None:
    """Type a command in a folder; it must succeed."""
    outcome = command(folder, *line[1:], *options, entry=line[0].removeprefix("alasca-"))
    assert outcome.code == 0, f"{shlex.join(line)} {shlex.join(options)}\n{outcome.out}\n{outcome.err}"
