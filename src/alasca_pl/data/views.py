"""Views of a sample: by name, or any object that a config names by ``_target_``.

A view is made in two stages. The first works on single images, in the loader's workers: resizing images from files,
RandAugment. The second works on whole batches as tensors, on the training device: shift, flip, cutout. Draws depend
only on seed, epoch, sample and view. Both loaders run the same stages with the same draws, so that they give the same
images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from alasca_pl.data.augment import BatchAugment, CropFlip, Cutout, Fit

ViewName = Literal["none", "weak", "strong"]
# Images from files above this size are cropped from an enlarged copy; others are resized right after decoding.
SMALL = 64


@dataclass(frozen=True)
class View:
    """How one view of a sample is made.

    Args:
        sample: From one uint8 image (C, H, W) to one of the final size; it draws from torch's global random state, which
            the loader seeds for each image. None does not change images.
        batch: The stages that run on batches afterwards.
        resizes: Whether ``sample`` accepts images of any size above 64 pixels and resizes them to the final size
            itself, such as torchvision's ``RandomResizedCrop``. Otherwise images of other sizes are first scaled and
            cropped around the centre.

    Example:
        >>> import torch
        >>> from torchvision.transforms import v2
        >>> view = View(sample=v2.GaussianBlur(3), batch=(CropFlip(padding=2),))
        >>> image = torch.zeros(3, 8, 8, dtype=torch.uint8)
        >>> view.sample(image).shape
        torch.Size([3, 8, 8])
    """

    sample: Callable[[Tensor], Tensor] | None = None
    batch: Sequence[BatchAugment] = ()
    resizes: bool = False


# Also any callable on single images, and a ``BatchAugment``.
Augmentation = ViewName | View | BatchAugment | Callable[[Tensor], Tensor]
ViewChoice = str | View | BatchAugment | Callable[[Tensor], Tensor]


def make_view(
    choice: ViewChoice | None,
    size: tuple[int, int],
    resize: bool = False,
    padding: int | None = None,
    flip: bool = True,
) -> View:
    """Make a view by the name of its augmentation, or of an object that makes it.

    An object is one of

    - a callable from one uint8 image (C, H, W) to another of the same size, e.g. a transform of ``torchvision``. It runs in
      workers and may draw from torch's global random state, which is seeded for each image;
    - a ``BatchAugment``, recognised by its method ``draws``, which changes whole batches;
    - a ``View``, for both stages or for a callable that resizes images itself.

    Args:
        choice: ``none`` (or None): centre crop; ``weak``: random crop and flip; ``strong``: ``weak``, RandAugment with
            its default strength and cutout of half the image; or an object.
        size: Height and width of the resulting images.
        resize: Whether images have other sizes and must be resized to ``size``; only for sizes above 64 pixels.
        padding: Largest shift in pixels, by default an eighth of the height (4 for 32). Images that must be resized are
            instead cropped at random from a copy 8/7 as large (256 for 224).
        flip: Whether ``weak`` and ``strong`` flip horizontally.

    Raises:
        ValueError: If the name is unknown, the object is none of these, or a value is outside its range.

    References:
        Cubuk et al., RandAugment, CVPR Workshops 2020, https://arxiv.org/abs/1909.13719 (``strong``).

    Example:
        >>> from torchvision.transforms import v2
        >>> [type(stage).__name__ for stage in make_view("weak", (32, 32)).batch]
        ['CropFlip']
        >>> make_view(v2.ColorJitter(0.4), (32, 32)).batch
        ()
    """
    choice = "none" if choice is None else choice
    if not isinstance(choice, str):
        return _own_view(choice, size, resize)
    if choice not in get_args(ViewName):
        raise ValueError(
            f"unknown augmentation {choice!r}; choose one of {', '.join(get_args(ViewName))}, or give a _target_"
        )
    per_sample: list[nn.Module] = []
    per_batch: list[BatchAugment] = []
    if resize:
        per_sample.append(Fit(size, random=choice != "none"))
    if choice != "none":
        if resize:
            from torchvision.transforms import v2

            per_sample += [v2.RandomHorizontalFlip()] if flip else []
        else:
            per_batch.append(CropFlip(size[0] // 8 if padding is None else padding, flip))
    if choice == "strong":
        from torchvision.transforms import v2

        per_sample.append(v2.RandAugment())
        per_batch.append(Cutout(max(1, min(size) // 2)))
    return View(nn.Sequential(*per_sample) if per_sample else None, tuple(per_batch))


def _own_view(choice: object, size: tuple[int, int], resize: bool) -> View:
    if isinstance(choice, View):
        view = View(choice.sample, tuple(choice.batch), choice.resizes)
    elif isinstance(choice, BatchAugment):
        view = View(batch=(choice,))
    elif callable(choice):
        view = View(choice)
    else:
        raise ValueError(
            f"an augmentation must be a name or a callable on images, got {choice!r}; see make_view in alasca_pl.data.views"
        )
    if not resize or view.resizes:
        return view
    return View(_Chain(Fit(size), view.sample) if view.sample is not None else Fit(size), view.batch)


class _Chain:
    """One callable after the other; can be sent to workers."""

    def __init__(self, *stages: Callable[[Tensor], Tensor]) -> None:
        self.stages = stages

    def __call__(self, image: Tensor) -> Tensor:
        for stage in self.stages:
            image = stage(image)
        return image


def describe_view(choice: ViewChoice | None) -> str:
    """Name of a view, for messages."""
    if choice is None or isinstance(choice, str):
        return choice or "none"
    return getattr(choice, "__name__", type(choice).__name__)


def draw_all(view: View, num_samples: int, seed: int, epoch: int, *names: str | int) -> list[Tensor]:
    """Draw the random numbers of all batch stages of a view for one epoch."""
    return [augment.draws(num_samples, seed, epoch, *names) for augment in view.batch]


def apply_batch(view: View, images: Tensor, draws: Sequence[Tensor]) -> Tensor:
    """Run the batch stages of a view; ``draws`` holds the rows of these images."""
    for augment, rows in zip(view.batch, draws):
        images = augment(images, rows)
    return images
