"""Every command and every program in README and docs: typed as it stands there, in runs of seconds."""

import re
import shlex
import shutil
import signal
import sys
import tomllib
import zipfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image

import alasca_pl
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.training.module import NoisyLabelModule
from running import command
from typed import SECONDS, SWEEPS, blocks, lines, narrowed, run, write_cifar

ROOT = Path(__file__).parents[2]
# Generated pages are what commands, configs and docstrings say; theirs are tested where they come from.
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
    if not {"generated", "_build"} & set(path.parts)
}
# Commands that install something: each with what a machine without a network lacks for it.
NOT_TYPED = {
    "pip install uv": "needs a package index",
    "pip install uv && uv run --no-dev alasca-train": "needs a package index; .ci/run begins with the like",
    "pip install uv && uv run pytest": "needs a package index; .ci/run begins with it",
    "uv run --no-dev alasca-train": "needs a package index; its last word is typed in docs/tutorials/first_run.md",
}
# What cannot be trained here; such lines are composed only: by --explain, or sweeps by --dry-run.
COMPOSED = {
    "trainer=ddp": "several processes; they train in tests/distributed",
    "hydra/launcher=slurm": "needs a cluster; its jobs run in tests/sweeps/test_slurm.py",
    "logger=wandb": "would send to the account of whoever is logged in; tests/runs/test_wandb.py writes its files",
    "logger=mlflow": "its first import takes a minute; tests/runs/test_wandb.py reads what it writes",
    "experiment=a_coteaching": "a network for GPUs",
}
# Blocks of code that are neither commands nor programs.
OTHER = ("text", "bibtex", "{toctree}", "{figure}", "{include}", "{literalinclude}", "{eval-rst}")


def test_every_block_is_known():
    unknown = {
        (page, block.info)
        for page, text in PAGES.items()
        for block in blocks(text)
        if block.info.split(" ")[0] not in ("bash", "python", *OTHER) and block.caption is None
    }
    assert not unknown


def typed_lines() -> list[str]:
    return [
        shlex.join(line)
        for text in PAGES.values()
        for block in blocks(text)
        if block.info == "bash"
        for line in lines(block.text.replace("&&", "'&&'"))
    ]


def test_no_exception_is_made_for_nothing():
    every = [line.replace("'&&'", "&&") for line in typed_lines()]
    assert set(NOT_TYPED) <= set(every)
    assert all(any(option in shlex.split(line) for line in every) for option in COMPOSED)
    assert len(every) > 60
    assert not [line for line in every if not line.startswith("alasca-") and line not in NOT_TYPED]


@pytest.fixture(scope="module")
def given(tmp_path_factory) -> Path:
    """What the pages' names stand for: images, files, and runs, one finished and one interrupted."""
    folder = tmp_path_factory.mktemp("given")
    write_cifar(folder)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (240, 8, 8)).astype(np.uint8)
    labels = np.arange(240) % 3
    for number, (image, label) in enumerate(zip(images, labels)):
        path = folder / "DIR" / "abc"[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    shutil.copytree(folder / "DIR", folder / "my_images")
    shutil.copy(folder / "DIR/a/0.png", folder / "photo.png")
    paths = sorted(path.relative_to(folder) for path in (folder / "DIR").rglob("*.png"))
    (folder / "FILE.csv").write_text("path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in paths))
    with zipfile.ZipFile(folder / "FILE.zip", "w") as archive:
        for path in paths:
            archive.write(folder / path, path.relative_to("DIR"))
    np.savez(folder / "FILE.npz", train_images=images, train_labels=labels)
    pictures = [Image.fromarray(image) for image in images]
    Dataset.from_dict({"image": pictures, "label": labels.tolist()}).save_to_disk(str(folder / "NAME_OR_FOLDER"))

    def stop(module) -> None:
        if module.current_epoch == 1:
            signal.raise_signal(signal.SIGTERM)

    run(folder, ["alasca-train"], *SECONDS, "data.num_val=40", "hydra.run.dir=finished")
    with mock.patch.object(NoisyLabelModule, "on_train_batch_start", lambda module, *_: stop(module)):
        outcome = command(folder, *SECONDS, "epochs=2", "hydra.run.dir=interrupted")
    assert outcome.code == 143, outcome
    labels = NoisyLabels.load(folder / "finished" / "noise.npz")
    row = f"{labels.index[0]},train,{labels.label[0]},keep,{labels.label[0]}\n"
    (folder / "decisions.csv").write_text("index,split,given_label,decision,label\n" + row)
    return folder


def infos(text: str) -> set[str]:
    return {block.info for block in blocks(text)}


INTERRUPTED = ("docs/howto/train.md", "docs/howto/resume.md")


def options(line: list[str]) -> list[str]:
    """What makes a command one of seconds."""
    entry, *words = line
    is_sweep = "-m" in words
    if entry == "alasca-train" and any(word in COMPOSED for word in words):
        return [*narrowed(line), "--dry-run"] if is_sweep else ["--explain"]
    if entry == "alasca-noise":
        # The config says how many samples the real data set has.
        return ["data.root=.", "data.num_samples=null", "data.num_val=20"] if "data=cifar10" in words else []
    trains = entry == "alasca-train" or any(word.startswith("data=") for word in words)
    if not trains or any(word.startswith("ckpt_path=") for word in words):
        return []
    # Lightning warns of loggers that see no step.
    added = [*SECONDS, "trainer.log_every_n_steps=1"]
    if "data=cifar10" in words or any(word.startswith("experiment=") for word in words):
        added += ["data.root=."] + ["model=small"] * ("experiment=table4" not in words)
    return added + [*SWEEPS, *narrowed(line)] * is_sweep


def in_seconds(*words: str, **given_options):
    """``alasca_pl.train`` with the options that make it one of seconds."""
    fast = () if "ckpt_path" in given_options else SECONDS
    names = {word.partition("=")[0] for word in fast}
    return TRAIN(*words, *fast, **{name: value for name, value in given_options.items() if name not in names})


TRAIN = alasca_pl.train


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page, text in PAGES.items() if any(b.info in ("bash", "python") for b in blocks(text))]
)
def test_what_a_page_says_works(page, given, tmp_path, monkeypatch):
    folder = tmp_path / "here"
    shutil.copytree(given, folder)
    (folder / "interrupted" if page in INTERRUPTED else folder / "finished").rename(folder / "RUN")
    (folder / "experiments").symlink_to(ROOT / "experiments")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(alasca_pl, "train", in_seconds, raising=False)
    before = set(sys.modules)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(PAGES[page]):
        if block.caption is not None:
            Path(block.caption).parent.mkdir(parents=True, exist_ok=True)
            Path(block.caption).write_text(block.text)
        elif block.info == "bash":
            for line in lines(block.text.replace("&&", "'&&'")):
                if " ".join(line) not in NOT_TYPED:
                    run(folder, line, *options(line))
        elif block.info == "python":
            exec(compile(block.text, page, "exec"), names)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]


def test_badges_are_true():
    badges = re.findall(r"img.shields.io/badge/([a-z]+)-(\S+?)-blue", PAGES["README.md"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    least, above = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project["requires-python"]).groups()
    assert dict(badges) == {"licence": project["license"], "python": f"3.{least}_to_3.{int(above) - 1}"}
