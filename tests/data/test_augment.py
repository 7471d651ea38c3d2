import math

import numpy as np
import pytest
import torch

from alasca_pl.data.augment import CropFlip, Cutout, Fit


def crop_and_flip(image: np.ndarray, padding: int, down: int, right: int, flip: int) -> np.ndarray:
    """Pad one image (C, H, W) with zeros, crop at a shift, then mirror, pixel by pixel."""
    channels, height, width = image.shape
    result = np.zeros_like(image)
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                row, column = i + down - padding, j + right - padding
                inside = 0 <= row < height and 0 <= column < width
                result[c, i, width - 1 - j if flip else j] = image[c, row, column] if inside else 0
    return result


@pytest.mark.parametrize("padding", [0, 1, 3])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_crop_and_flip_equal_a_plain_loop(padding, flip, dtype):
    images = torch.randint(1, 256, (12, 3, 5, 4), generator=torch.Generator().manual_seed(0)).to(dtype)
    before = images.clone()
    augment = CropFlip(padding, flip)
    draws = augment.draws(12, seed=1, epoch=2)
    result = augment(images, draws)
    for image, draw, got in zip(images, draws.tolist(), result):
        assert np.array_equal(got.numpy(), crop_and_flip(image.numpy(), padding, *draw))
    assert result.dtype == dtype
    assert torch.equal(images, before)


def test_draws_depend_on_seed_and_epoch_only():
    augment = CropFlip(4)
    draws = augment.draws(50, seed=3, epoch=1)
    torch.manual_seed(123)
    torch.rand(7)
    assert torch.equal(CropFlip(4).draws(50, 3, 1), draws)
    assert not torch.equal(augment.draws(50, 4, 1), draws)
    assert not torch.equal(augment.draws(50, 3, 2), draws)


def test_drawing_leaves_the_global_random_state_alone():
    before = torch.get_rng_state()
    CropFlip(4).draws(50, 0, 0)
    assert torch.equal(torch.get_rng_state(), before)


def test_shifts_are_uniform_and_half_of_the_samples_are_flipped():
    draws = CropFlip(2).draws(10_000, 0, 0)
    for axis in (0, 1):
        counts = torch.bincount(draws[:, axis], minlength=5)
        assert len(counts) == 5
        # Binomial with p = 1/5, 5 sd.
        assert (counts - 2_000).abs().max() < 5 * math.sqrt(10_000 * 0.2 * 0.8)
    assert set(draws[:, 2].tolist()) == {0, 1}
    assert abs(int(draws[:, 2].sum()) - 5_000) < 5 * math.sqrt(10_000 * 0.25)


def test_rows_and_columns_and_samples_are_drawn_apart():
    draws = CropFlip(3).draws(200, 0, 0)
    assert not torch.equal(draws[:, 0], draws[:, 1])
    assert len({tuple(row) for row in draws.tolist()}) > 50


def test_without_flip_the_shifts_are_the_same():
    assert torch.equal(CropFlip(4, flip=False).draws(50, 3, 1)[:, :2], CropFlip(4).draws(50, 3, 1)[:, :2])
    assert not CropFlip(4, flip=False).draws(50, 3, 1)[:, 2].any()


def test_padding_zero_without_flip_is_the_identity():
    images = torch.rand(9, 1, 6, 6)
    augment = CropFlip(0, flip=False)
    assert torch.equal(augment(images, augment.draws(9, 0, 0)), images)


def test_a_sample_is_augmented_alike_in_every_batch():
    images = torch.rand(10, 3, 6, 6)
    augment = CropFlip(2)
    draws = augment.draws(10, 0, 0)
    picked = torch.tensor([7, 2, 5])
    assert torch.equal(augment(images[picked], draws[picked]), augment(images, draws)[picked])


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="got -1"):
        CropFlip(-1)


def test_cutout_covers_one_square_and_nothing_else():
    images = torch.randint(0, 100, (200, 3, 9, 11), dtype=torch.uint8)
    cutout = Cutout(4)
    draws = cutout.draws(200, 0, 0)
    out = cutout(images, draws)
    for image, changed, (down, right) in zip(images, out, draws.tolist()):
        top, left = int(down * 9) - 2, int(right * 11) - 2
        expected = image.clone()
        for y in range(max(top, 0), min(top + 4, 9)):
            for x in range(max(left, 0), min(left + 4, 11)):
                expected[:, y, x] = 127
        assert torch.equal(changed, expected)
    assert torch.equal(cutout.draws(5, 1, 2, "view", 1), cutout.draws(5, 1, 2, "view", 1))
    assert not torch.equal(cutout.draws(5, 1, 2, "view", 1), cutout.draws(5, 1, 2))


@pytest.mark.parametrize("shape", [(256, 256), (50, 80), (300, 200), (224, 224)])
@pytest.mark.parametrize("size", [(224, 224), (96, 70)])
@pytest.mark.parametrize("random", [False, True])
def test_fitted_images_have_the_size(shape, size, random):
    out = Fit(size, random)(torch.randint(0, 256, (3, *shape), dtype=torch.uint8))
    assert out.shape == (3, *size) and out.dtype == torch.uint8


def test_an_image_of_8_7_of_the_size_is_only_cropped():
    image = torch.randint(0, 256, (3, 256, 256), dtype=torch.uint8)
    assert torch.equal(Fit((224, 224))(image), image[:, 16:240, 16:240])


def test_a_fitted_image_is_the_centre_of_the_scaled_one():
    """A bright square in the centre of 256 x 512, scaled by 1/2 to 128 x 256 and cropped to 112 x 112."""
    image = torch.zeros(1, 256, 512, dtype=torch.uint8)
    image[:, 64:192, 192:320] = 255
    out = Fit((112, 112))(image)[0] > 127
    low, high = torch.nonzero(out).aminmax(dim=0)
    assert (low.tolist(), high.tolist()) == ([24, 24], [87, 87])
