import pytest
import torch
from torch import Tensor, nn
from toy_data import IMAGES, LABEL, NAMES, build, same, write_images

from alasca_pl.core.normalise import Normalise
from alasca_pl.data.augment import CropFlip, Fit
from alasca_pl.data.batches import ArrayBatches, FileBatches
from alasca_pl.data.images import PathImages
from alasca_pl.data.plan import EpochPlan
from alasca_pl.data.views import View, describe_view, make_view


@pytest.mark.parametrize(("size", "fit"), [(28, False), (32, False), (64, False), (224, False), (224, True)])
def test_views_by_name(size, fit):
    image = torch.randint(0, 256, (3, size + 16 * fit, size + 16 * fit), dtype=torch.uint8)

    def run(name, seed):
        view = make_view(name, (size, size), fit)
        torch.manual_seed(seed)
        out = image if view.sample is None else view.sample(image)
        out = out.unsqueeze(0)
        for augment in view.batch:
            out = augment(out, augment.draws(1, seed, 0))
        return out[0]

    for name in ("none", "weak", "strong"):
        assert run(name, 0).shape == (3, size, size)
        assert torch.equal(run(name, 1), run(name, 1))
    different = {
        name: any(not torch.equal(run(name, 0), run(name, s)) for s in range(1, 6))
        for name in ("none", "weak", "strong")
    }
    assert different == {"none": False, "weak": True, "strong": True}


def test_an_unknown_view_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"'heavy'.*none, weak, strong"):
        make_view("heavy", (32, 32))


# Views of one's own.


class Invert(nn.Module):
    """On single images; with some randomness, which the loader must seed."""

    def forward(self, image: Tensor) -> Tensor:
        assert image.dtype == torch.uint8
        return 255 - image - torch.randint(0, 2, (1, 1, 1), dtype=torch.uint8)


class Darken:
    """On batches, by a number per sample."""

    def draws(self, num_samples: int, seed: int, epoch: int, *view: str | int) -> Tensor:
        return torch.arange(num_samples) + 1 + epoch

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return images // draws.view(-1, 1, 1, 1)


def half(image: Tensor) -> Tensor:
    return image[:, ::2, ::2]


def batches_of(view, folder=None, workers=0):
    plan, normalise = EpochPlan(LABEL, 5, 0), Normalise([0.0] * 3, [1 / 255] * 3)
    views = [make_view(view, (4, 4))]
    if folder is None:
        batches = ArrayBatches(IMAGES, LABEL, normalise, plan, views)
    else:
        batches = FileBatches(PathImages(folder, NAMES), 3, LABEL, normalise, plan, views, False, None, workers)
    batches.set_epoch(3)
    return list(batches)


def test_a_callable_makes_single_images_alike_in_memory_and_in_workers(tmp_path):
    mine = batches_of(Invert())
    subtracted = set()
    for batch in mine:
        rest = 255 - IMAGES[batch.index].float() - batch.image
        # What the largest pixels lack to be subtracted from wraps around.
        subtracted |= set(rest[IMAGES[batch.index] < 255].round().unique().tolist())
    assert subtracted == {0.0, 1.0}
    theirs = batches_of(Invert(), write_images(tmp_path), workers=1)
    assert all(same(one, other) for one, other in zip(mine, theirs, strict=True))


@pytest.mark.parametrize("view", [Darken(), View(torch.nn.Identity(), [Darken(), CropFlip(0, flip=False)])])
def test_an_object_with_draws_changes_whole_batches(view):
    for batch in batches_of(view):
        expected = torch.stack([IMAGES[i].int() // (i + 1 + 3) for i in batch.index.tolist()])
        assert torch.equal(batch.image.round().int(), expected)


def test_images_of_other_sizes_are_resized_before_unless_the_view_does_it():
    image = torch.randint(0, 256, (3, 140, 140), dtype=torch.uint8)
    own = make_view(torch.nn.Identity(), (70, 70), resize=True)
    assert torch.equal(own.sample(image), Fit((70, 70))(image))
    assert make_view(Darken(), (70, 70), resize=True).sample(image).shape == (3, 70, 70)
    assert make_view(View(half, resizes=True), (70, 70), resize=True).sample is half


@pytest.mark.parametrize("choice", [3, {"sample": None}])
def test_what_is_no_view_is_refused(choice):
    with pytest.raises(ValueError, match="must be a name or a callable on images, got"):
        make_view(choice, (4, 4))


def test_views_are_named():
    assert [describe_view(one) for one in (None, "weak", Invert(), half)] == ["none", "weak", "Invert", "half"]


def test_a_data_module_takes_views_of_ones_own():
    data = build(augment=Darken(), mean=[0.0] * 3, std=[1 / 255] * 3)
    data.request(("default", "none", half))
    assert data.describe()[-1] == "augmentation: Darken"
    batch = next(iter(data.train_dataloader()))
    plain, halved = batch.views
    assert torch.equal(batch.image.round(), plain.round() // (batch.index + 1).view(-1, 1, 1, 1))
    assert torch.equal(halved, plain[:, :, ::2, ::2])
    with pytest.raises(ValueError, match=r"data\.augment: an augmentation must be"):
        build(augment=3)
