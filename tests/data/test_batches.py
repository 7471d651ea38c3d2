import itertools

import pytest
import torch

from alasca_pl.data.batches import EvalBatches, TrainBatches
from alasca_pl.data.transforms import CropFlip

N = 23
IMAGES = torch.randint(0, 256, (N, 3, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
LABEL = torch.arange(N) * 10
MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])


def train(size: int = 5, seed: int = 0, epoch: int = 0, **options) -> TrainBatches:
    batches = TrainBatches(IMAGES, LABEL, MEAN, STD, size, seed, **options)
    batches.set_epoch(epoch)
    return batches


def order(batches: TrainBatches) -> list[int]:
    return [i for batch in batches for i in batch.index.tolist()]


def same(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other))


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
def test_parts_of_ranks_make_up_the_batch_of_one_process(world, size):
    alone = list(train(size, augment=CropFlip(1)))
    ranks = [list(train(size, augment=CropFlip(1), rank=rank, world=world)) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {len(alone)}
    for whole, *parts in zip(alone, *ranks):
        lengths = [len(part.index) for part in parts]
        assert max(lengths) - min(lengths) <= 1
        assert same(whole, [torch.cat(field) for field in zip(*parts)])


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


@pytest.mark.parametrize(("world", "size"), [(1, 5), (3, 5), (3, 100), (2, 4)])
def test_evaluation_covers_each_sample_once_over_all_ranks(world, size):
    seen = []
    for rank in range(world):
        batches = EvalBatches(IMAGES, LABEL, MEAN, STD, size, rank, world)
        content = list(batches)
        assert len(content) == len(batches)
        assert max(len(batch.index) for batch in content) <= size
        for batch in content:
            assert torch.equal(batch.label, batch.index * 10)
        seen += [i for batch in content for i in batch.index.tolist()]
    assert sorted(seen) == list(range(N))


def test_evaluation_keeps_the_order_and_augments_nothing():
    batches = list(EvalBatches(IMAGES, LABEL, MEAN, STD, 7))
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(N))
    expected = (IMAGES.double() / 255 - MEAN.double().view(1, 3, 1, 1)) / STD.double().view(1, 3, 1, 1)
    assert torch.allclose(torch.cat([batch.image for batch in batches]).double(), expected, rtol=0, atol=2e-6)
