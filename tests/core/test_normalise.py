from pathlib import Path

import pytest
import torch

from alasca_pl.core.normalise import Normalise
from alasca_pl.core.types import DataFacts
from alasca_pl.runs.load import LoadedRun

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
PIXELS = torch.arange(256).to(torch.uint8).view(1, 1, 16, 16).expand(2, 3, 16, 16)


def test_pixels_are_shifted_and_scaled_per_channel():
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (MEAN, STD))
    made = Normalise(MEAN, STD)(PIXELS)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made.double(), (PIXELS.double() / 255 - mean) / std, rtol=0, atol=2e-6)
    assert torch.equal(made, Normalise(torch.tensor(MEAN), torch.tensor(STD))(PIXELS))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_images_given_stay_as_they_are(dtype):
    images = PIXELS.to(dtype).clone()
    Normalise(MEAN, STD)(images)
    assert torch.equal(images, PIXELS.to(dtype))


def test_an_opened_run_normalises_with_the_bits_of_training():
    facts = DataFacts("toy", 2, 4, (3, 16, 16), "", ("0", "1"), MEAN, STD)
    run = LoadedRun(Path(), None, {}, facts, {}, [], 0)
    assert torch.equal(run.normalise(PIXELS), Normalise(torch.tensor(MEAN), torch.tensor(STD))(PIXELS))
