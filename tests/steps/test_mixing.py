"""Mixing among used rows, on one process and on several, and masks of regions."""

import numpy as np
import pytest
import torch

from alasca_pl.steps.mixing import low_frequency_mask, mix_among


def test_ranks_mix_among_the_used_rows_of_all(generator: torch.Generator):
    everyone, used = torch.randn(9, 1, 2, 2, generator=generator), torch.tensor([1, 0, 1, 1, 0, 0, 0, 1, 0]).bool()
    labels, indices, order = torch.arange(9) % 3, 10 + torch.arange(9), torch.randperm(9, generator=generator)
    whole = mix_among(everyone, everyone, used, used, torch.arange(9), labels, indices, 0.7, order)
    assert sorted(whole.targets.index[1].tolist()) == sorted(whole.targets.index[0].tolist()) == [10, 12, 13, 17]
    parts = [
        mix_among(everyone[place], everyone, used[place], used, place, labels, indices, 0.7, order)
        for place in (torch.arange(4), torch.arange(4, 7), torch.arange(7, 9))
    ]
    counted = torch.cat([each.counted for each in parts]).bool()
    assert [len(each.counted) for each in parts] == [3, 2, 1]
    assert torch.equal(torch.cat([each.image for each in parts])[counted], whole.image)
    assert torch.equal(torch.cat([each.targets.label for each in parts], dim=1)[:, counted], whole.targets.label)


def test_a_mask_shows_the_own_image_where_it_is_1(generator: torch.Generator):
    images, used, index = torch.randn(4, 3, 2, 2, generator=generator), torch.ones(4).bool(), torch.arange(4)
    mask = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    found = mix_among(images, images, used, used, index, index, index, 0.5, torch.tensor([1, 0, 3, 2]), mask)
    other = images[[1, 0, 3, 2]]
    assert torch.equal(found.image[..., 0, 0], images[..., 0, 0])
    assert torch.equal(found.image[..., 0, 1], other[..., 0, 1])


@pytest.mark.parametrize("own", [0.0, 0.3, 1.0])
def test_masks_have_their_size_and_hang_together(own: float):
    masks = torch.stack([low_frequency_mask(own, 16, 12, np.random.default_rng(seed)) for seed in range(20)])
    assert torch.allclose(masks.mean(dim=(1, 2)), torch.tensor(round(own * 192) / 192))
    assert set(masks.unique().tolist()) <= {0.0, 1.0}
    # Of pairs of neighbours far fewer differ than of random pixels.
    assert (masks[:, 1:] != masks[:, :-1]).float().mean() <= 0.5 * 2 * own * (1 - own)
    assert torch.equal(masks[3], low_frequency_mask(own, 16, 12, np.random.default_rng(3)))
