"""Batches to measure on, in memory and from files."""

import pytest
import torch
from toy_data import IMAGES, LABEL, MEAN, NAMES, STD, N, same, write_images

from alasca_pl.core.normalise import Normalise
from alasca_pl.data.eval_batches import EvalArrays, EvalFiles
from alasca_pl.data.images import PathImages
from alasca_pl.data.views import View


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("files"))


@pytest.mark.parametrize(("world", "size"), [(1, 5), (3, 5), (3, 100), (2, 4)])
def test_evaluation_covers_each_sample_once_over_all_ranks(world, size):
    seen = []
    for rank in range(world):
        batches = EvalArrays(IMAGES, LABEL, Normalise(MEAN, STD), size, rank, world)
        content = list(batches)
        assert len(content) == len(batches)
        assert max(len(batch.index) for batch in content) <= size
        for batch in content:
            assert torch.equal(batch.label, batch.index * 10)
        seen += [i for batch in content for i in batch.index.tolist()]
    assert sorted(seen) == list(range(N))


def test_evaluation_keeps_the_order_and_augments_nothing():
    batches = list(EvalArrays(IMAGES, LABEL, Normalise(MEAN, STD), 7))
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(N))
    expected = (IMAGES.double() / 255 - MEAN.double().view(1, 3, 1, 1)) / STD.double().view(1, 3, 1, 1)
    assert torch.allclose(torch.cat([batch.image for batch in batches]).double(), expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("world", "workers"), [(1, 2), (3, 0)])
def test_evaluation_from_files_equals_that_from_arrays(folder, world, workers):
    images = PathImages(folder, NAMES)
    for rank in range(world):
        arrays = EvalArrays(IMAGES, LABEL, Normalise(MEAN, STD), 4, rank, world)
        made = EvalFiles(images, 3, LABEL, Normalise(MEAN, STD), View(), None, 4, rank, world, workers)
        assert len(made) == len(arrays)
        # Twice, because it is measured after every epoch.
        for _ in range(2):
            assert all(same(one, other) for one, other in zip(list(made), list(arrays), strict=True))
