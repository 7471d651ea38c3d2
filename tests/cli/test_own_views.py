"""An augmentation of one's own in a file of the current folder."""

import shlex

import numpy as np
import pytest

from alasca_pl.build.data import build_data
from alasca_pl.build.make import make
from running import command, config_for

FILE = """
import torch
from torch import nn


class Dim(nn.Module):
    def __init__(self, factor: int) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image // self.factor
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "dim_views.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_run_is_augmented_by_a_class_of_the_current_folder(folder):
    made = command(folder, "trainer=smoke", "data.augment={_target_:dim_views.Dim,factor:4}", "hydra.run.dir=run")
    assert made.code == 0, made.err
    assert "augmentation: Dim" in made.out + (folder / "run" / "train.log").read_text()


def test_the_commands_that_follow_such_a_run_are_accepted(folder):
    images = np.random.default_rng(0).integers(0, 200, (60, 8, 8)).astype(np.uint8)
    np.savez(folder / "own.npz", train_images=images, train_labels=np.arange(60) % 3)
    own = ["data.augment={_target_:dim_views.Dim,factor:4}", "data.batch_size=8", "data.num_val=9"]
    made = command(folder, "data=npz", "data.path=own.npz", "epochs=1", "alasca=none", *own, "hydra.run.dir=my run")
    assert made.code == 0, made.err
    words = shlex.split(made.out.splitlines()[-1].partition(": ")[2])
    assert words == ["alasca-audit", str(folder / "my run"), "trust=true"]
    audited = command(folder, *words[1:], entry="audit")
    assert audited.code == 0, audited
    suggested = dict(line.split(": ", 1) for line in audited.out.splitlines() if ": alasca-" in line)
    apply = shlex.split(suggested["after the review"])
    assert apply == ["alasca-audit", "apply", "decisions.csv", str(folder / "my run" / "audit"), "trust=true"]
    again = command(folder, *shlex.split(suggested["clean.npz"])[1:], "--cfg", "job")
    assert again.code == 0, again
    assert "_target_: dim_views.Dim" in again.out and "num_val: 9" in again.out and "epochs: 1" in again.out


def test_both_views_of_mixmatch_are_a_choice(folder):
    config = config_for(
        "method=dividemix", "data.augment=none", "step.views=[default,{_target_:dim_views.Dim,factor:2}]"
    )
    data, step = build_data(config), make(config["step"], num_classes=10)
    data.request(step.views)
    mean, std = data.facts.mean[0], data.facts.std[0]
    batch = next(iter(data.train_dataloader()))
    first, second = ((image * std + mean) * 255 for image in (batch.image, batch.views[0]))
    assert (first.round() // 2 == second.round()).all()
    with pytest.raises(ValueError, match="two views"):
        make({**config["step"], "views": ["weak"]}, num_classes=10)
