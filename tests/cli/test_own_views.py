"""An augmentation of one's own in a file of the current folder."""

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
