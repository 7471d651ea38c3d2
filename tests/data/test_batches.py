"""Batches in memory and from files: one plan, one contract, the same images."""

import itertools

import pytest
import torch
from toy_data import IMAGES, LABEL, MEAN, NAMES, STD, N, order, same, write_images

from alasca_pl.core.normalise import Normalise
from alasca_pl.data.augment import CropFlip
from alasca_pl.data.batches import ArrayBatches, FileBatches
from alasca_pl.data.images import PathImages
from alasca_pl.data.plan import EpochPlan
from alasca_pl.data.views import View, make_view


def train(size: int = 5, seed: int = 0, epoch: int = 0, augment=None, views=None, partner=False, **options):
    views = views or [View(batch=(augment,) if augment else ())]
    batches = ArrayBatches(IMAGES, LABEL, Normalise(MEAN, STD), EpochPlan(LABEL, size, seed, **options), views, partner)
    batches.set_epoch(epoch)
    return batches


def test_each_sample_comes_once_per_epoch():
    batches = list(train())
    assert [len(batch.index) for batch in batches] == [5, 5, 5, 5, 3]
    assert sorted(i for batch in batches for i in batch.index.tolist()) == list(range(N))
    assert len(train()) == 5


def test_drop_last_leaves_out_the_smaller_batch():
    batches = train(drop_last=True)
    assert [len(batch.index) for batch in batches] == [5, 5, 5, 5] == [5] * len(batches)
    assert order(batches) == order(train())[:20]


def test_labels_and_images_belong_to_the_index():
    for batch in train():
        assert torch.equal(batch.label, batch.index * 10)
        for image, i in zip(batch.image, batch.index.tolist()):
            expected = (IMAGES[i].double() / 255 - MEAN.double().view(3, 1, 1)) / STD.double().view(3, 1, 1)
            assert image.dtype == torch.float32
            assert torch.allclose(image.double(), expected, rtol=0, atol=2e-6)


def test_order_is_a_function_of_seed_and_epoch():
    first = order(train(seed=1, epoch=2))
    torch.manual_seed(99)
    assert order(train(seed=1, epoch=2)) == first
    assert order(train(seed=1, epoch=2, size=7, augment=CropFlip(1))) == first
    assert order(train(seed=2, epoch=2)) != first
    assert order(train(seed=1, epoch=3)) != first
    assert first != list(range(N))


def test_augmentation_follows_sample_and_epoch_not_the_batch():
    def by_sample(size: int, epoch: int) -> dict[int, torch.Tensor]:
        batches = train(size, epoch=epoch, augment=CropFlip(2))
        return {i: image for batch in batches for i, image in zip(batch.index.tolist(), batch.image)}

    small, large, later = by_sample(4, 1), by_sample(9, 1), by_sample(4, 2)
    assert all(torch.equal(small[i], large[i]) for i in range(N))
    assert not all(torch.equal(small[i], later[i]) for i in range(N))


@pytest.mark.parametrize(("world", "size"), [(2, 6), (2, 8), (3, 9)])
def test_shards_of_ranks_make_up_the_batch_of_one_process(world, size):
    alone = list(train(size, augment=CropFlip(1)))
    ranks = [list(train(size, augment=CropFlip(1), rank=rank, world=world)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {len(alone)}
    for whole, *shards in zip(alone, *ranks):
        lengths = [len(one.index) for one in shards]
        assert max(lengths) - min(lengths) <= 1
        for field in ("image", "label", "index"):
            assert torch.equal(getattr(whole, field), torch.cat([getattr(one, field) for one in shards]))


@pytest.mark.parametrize("stop", [1, 2, 4])
@pytest.mark.parametrize("epoch", [0, 3])
def test_resuming_within_an_epoch_gives_exactly_the_remaining_batches(stop, epoch):
    whole = list(train(epoch=epoch, augment=CropFlip(1)))
    stopped = train(epoch=epoch, augment=CropFlip(1))
    list(itertools.islice(stopped, stop))
    resumed = train(epoch=epoch, augment=CropFlip(1))
    resumed.load_state_dict(stopped.state_dict())
    rest = list(resumed)
    assert len(rest) == len(whole) - stop
    assert all(same(one, other) for one, other in zip(rest, whole[stop:]))
    resumed.set_epoch(epoch + 1)
    assert order(resumed) == order(train(epoch=epoch + 1))


def test_resuming_after_a_whole_epoch_starts_the_next_at_its_first_batch():
    finished = train()
    list(finished)
    resumed = train(epoch=1)
    resumed.load_state_dict(finished.state_dict())
    assert order(resumed) == order(train(epoch=1))


def test_resuming_does_not_repeat_itself_in_the_same_epoch():
    stopped = train()
    list(itertools.islice(stopped, 2))
    resumed = train()
    resumed.load_state_dict(stopped.state_dict())
    assert len(list(resumed)) == 3
    assert len(list(resumed)) == 5


def test_after_a_break_within_an_epoch_the_next_starts_at_its_first_batch():
    batches = train()
    list(itertools.islice(batches, 2))
    batches.set_epoch(1)
    assert order(batches) == order(train(epoch=1))


def test_a_state_saved_after_a_break_does_not_shorten_the_next_epoch():
    batches = train()
    list(itertools.islice(batches, 2))
    resumed = train(epoch=1)
    resumed.load_state_dict(batches.state_dict())
    assert order(resumed) == order(train(epoch=1))


def test_further_views_leave_the_first_as_it_is_and_differ_from_it():
    crop = View(batch=(CropFlip(2),))
    alone, pair = list(train(views=[crop])), list(train(views=[crop, crop, View()]))
    for one, two in zip(alone, pair):
        assert torch.equal(one.image, two.image) and torch.equal(one.index, two.index)
        assert not torch.equal(two.image, two.views[0])
        assert torch.equal(two.views[1], Normalise(MEAN, STD)(IMAGES[two.index]))


def test_partner_images_are_those_of_the_partners():
    for batch in train(partner=True):
        assert torch.equal(batch.partner_image, Normalise(MEAN, STD)(IMAGES[batch.partner]))
    assert all(batch.partner is None for batch in train())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("files"))


def files(folder, size=5, epoch=0, views=None, partner=False, workers=0, **options) -> FileBatches:
    images = PathImages(folder, NAMES)
    plan = EpochPlan(LABEL, size, 0, **options)
    views = views or [make_view("weak", (4, 4))]
    batches = FileBatches(images, 3, LABEL, Normalise(MEAN, STD), plan, views, partner, None, workers)
    batches.set_epoch(epoch)
    return batches


@pytest.mark.parametrize("names", [["none"], ["weak"], ["strong"], ["weak", "strong", "weak"]], ids=" ".join)
@pytest.mark.parametrize("workers", [0, 2])
def test_files_and_arrays_give_the_same_batches(folder, names, workers):
    """The same order, indices, labels and, bit for bit, the same augmented images."""
    views = [make_view(name, (4, 4)) for name in names]
    for epoch in (0, 2):
        mine = list(files(folder, epoch=epoch, views=views, partner=True, workers=workers))
        theirs = list(train(epoch=epoch, views=views, partner=True))
        assert len(mine) == len(theirs) == 5
        assert all(same(one, other) for one, other in zip(mine, theirs))


def test_workers_follow_the_epoch(folder):
    views = [make_view("strong", (4, 4))]
    batches = files(folder, views=views, workers=1)
    for epoch in (0, 1, 5):
        batches.set_epoch(epoch)
        assert all(same(one, other) for one, other in zip(batches, train(epoch=epoch, views=views)))


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_files_resume_within_an_epoch(folder, workers):
    whole = list(files(folder, epoch=3))
    stopped = files(folder, epoch=3, workers=workers)
    list(itertools.islice(stopped, 2))
    resumed = files(folder, epoch=3, workers=workers)
    resumed.load_state_dict(stopped.state_dict())
    rest = list(resumed)
    assert len(rest) == 3
    assert all(same(one, other) for one, other in zip(rest, whole[2:]))
    assert order(resumed) == order(files(folder, epoch=3))


def test_files_of_ranks_make_up_the_batch_of_one_process(folder):
    alone = list(files(folder, size=6))
    ranks = [list(files(folder, size=6, rank=rank, world=2)) for rank in range(2)]
    for whole, *shards in zip(alone, *ranks):
        assert torch.equal(whole.image, torch.cat([one.image for one in shards]))
        assert torch.equal(whole.index, torch.cat([one.index for one in shards]))


def test_decoding_leaves_the_random_state_of_the_run_alone(folder):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    list(files(folder, views=[make_view("strong", (4, 4))]))
    list(train(views=[make_view("strong", (4, 4))]))
    assert torch.equal(torch.get_rng_state(), before)
