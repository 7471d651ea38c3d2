import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from alasca_pl.core.errors import UserError
from alasca_pl.core.normalise import Normalise
from alasca_pl.core.types import DataFacts
from alasca_pl.runs.load import LoadedRun
from alasca_pl.training.module import NoisyLabelModule

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


RUN = LoadedRun(Path(), None, {}, DataFacts("toy", 2, 4, (3, 16, 16), "", ("0", "1"), MEAN, STD), None, [], 0)


def test_an_opened_run_normalises_with_the_bits_of_training():
    run = RUN
    assert torch.equal(run.normalise(PIXELS), Normalise(torch.tensor(MEAN), torch.tensor(STD))(PIXELS))


def test_arrays_and_tensors_of_bytes_and_of_floats_mean_the_same():
    expected = RUN.normalise(PIXELS)
    array = PIXELS.permute(0, 2, 3, 1).numpy()
    assert torch.equal(RUN.normalise(array), expected)
    array.flags.writeable = False
    assert torch.equal(RUN.normalise(array), expected)
    for floats in (PIXELS / 255, array / 255, (array / 255).astype(np.float32), (PIXELS / 255).double()):
        torch.testing.assert_close(RUN.normalise(floats, scaled=True), expected, rtol=0, atol=2e-6)
    grey = dataclasses.replace(RUN, facts=RUN.facts._replace(image_shape=(1, 16, 16), mean=(0.5,), std=(0.5,)))
    flat = array[..., 0]
    assert torch.equal(grey.normalise(flat), grey.normalise(PIXELS[:, :1]))
    torch.testing.assert_close(grey.normalise(flat / 255, scaled=True), grey.normalise(flat), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("images", "scaled", "message"),
    [
        (PIXELS / 255, False, r"of type torch.float32; give pixels 0 to 255 as uint8, or floats .* with scaled=True"),
        (PIXELS.numpy() / 255, False, "of type float64; give pixels"),
        (PIXELS.float(), True, r"values from 0 to 255; with scaled=True they must be in \[0, 1\]"),
        (PIXELS / 0, True, "values from nan"),
        (PIXELS, True, "of type torch.uint8; give pixels"),
        (PIXELS.int(), False, "of type torch.int32"),
        (PIXELS.tolist(), False, "of type list; give a tensor or a numpy array"),
        (PIXELS[0], False, r"shape \(3, 16, 16\); the run takes tensors \(n, 3, H, W\) or arrays \(n, H, W, 3\)"),
        (PIXELS[:, :1], False, r"shape \(2, 1, 16, 16\)"),
        (PIXELS.numpy(), False, "images has shape"),
        (PIXELS.numpy() / 255, True, "images have shape"),
    ],
)
def test_other_pixels_are_refused_in_one_line(images, scaled, message):
    with pytest.raises(UserError, match=message):
        RUN.normalise(images, scaled=scaled)


def test_the_module_refuses_pixels_that_are_not_normalised():
    for images in (PIXELS, PIXELS.numpy()):
        with pytest.raises(UserError, match=r"the module takes normalised images, got .*; see normalise and predict"):
            NoisyLabelModule.forward(None, images)
