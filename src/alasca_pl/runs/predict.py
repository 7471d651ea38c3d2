"""Classify new images with a run."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alasca_pl.core.errors import UserError
from alasca_pl.core.normalise import Normalise
from alasca_pl.core.progress import tracked
from alasca_pl.data.decode import find_corrupt
from alasca_pl.data.eval_batches import EvalFiles
from alasca_pl.data.images import ImageError, PathImages
from alasca_pl.data.names import name_some
from alasca_pl.data.views import SMALL, make_view
from alasca_pl.runs.classifier import chosen_rule, probabilities
from alasca_pl.runs.pixels import as_pixels
from alasca_pl.runs.stored import device_of
from alasca_pl.training.predict import predict

if TYPE_CHECKING:
    from alasca_pl.runs.load import LoadedRun

Images = Tensor | npt.NDArray[np.uint8] | Sequence[str | Path]


@dataclass(frozen=True)
class Predictions:
    """Predicted classes.

    Attributes:
        label: Predicted class, int64 (n,).
        probs: Probability of each class, (n, K).
        class_names: One per class.
    """

    label: npt.NDArray[np.int64]
    probs: npt.NDArray[np.float32]
    class_names: tuple[str, ...]

    @property
    def probability(self) -> npt.NDArray[np.float32]:
        """Probability of the predicted class, (n,)."""
        return self.probs[np.arange(len(self.label)), self.label]

    @property
    def names(self) -> list[str]:
        """Names of the predicted classes."""
        return [self.class_names[label] for label in self.label]


@torch.no_grad()
def predict_images(
    run: "LoadedRun",
    images: Images,
    batch_size: int = 256,
    device: str = "auto",
    num_workers: int = 0,
    rule: str | None = None,
) -> Predictions:
    """Classify images, prepared as for the run's evaluation, by the mean over its networks and the heads of a rule.

    Args:
        run: The run.
        images: Pixels, uint8, as a tensor (n, C, H, W) or an array (n, H, W[, C]) of the size that the run was trained on;
            or paths of image files of any size.
        batch_size: Size of the batches.
        device: See ``device_of``.
        num_workers: Processes that decode files; 0 decodes in this one.
        rule: Which heads are averaged, see ``training.predict.predict``; None for the run's own rule, ``predict.rule``.

    Raises:
        UserError: If the rule does not fit, there are no images, one cannot be read, or their shape is another than the run's.
    """
    if isinstance(images, str | Path):
        raise UserError(f"images are a list of paths, or pixels, got the one path {str(images)!r}")
    for name, value, least in (("batch_size", batch_size, 1), ("num_workers", num_workers, 0)):
        if value < least:
            raise UserError(f"{name} must be at least {least}, got {value}")
    if not len(images):
        raise UserError("there are no images to classify")
    place = device_of(device)
    module = run.module.to(place)
    chosen, average = chosen_rule(module, rule), module.predict_average
    if isinstance(images, Tensor | np.ndarray):
        batches = _of_pixels(run, images, batch_size)
    else:
        batches = _of_files(run, images, batch_size, num_workers)
    try:
        scores = [
            predict([network(batch.to(place)) for network in module.method.networks], chosen, average).float().cpu()
            for batch in tracked(batches, "classifying images", math.ceil(len(images) / batch_size))
        ]
    except UserError:
        raise
    except (ValueError, OSError) as error:
        # A damaged image, or one too thin to be scaled.
        raise UserError(ImageError.text_of(error)) from error
    joined = torch.cat(scores)
    return Predictions(joined.argmax(dim=1).numpy(), probabilities(joined, average).numpy(), run.facts.class_names)


def _of_pixels(run: "LoadedRun", images: Tensor | npt.NDArray[np.uint8], batch_size: int) -> Iterator[Tensor]:
    pixels = as_pixels(images, run.facts.image_shape[0])
    if tuple(pixels.shape[1:]) != run.facts.image_shape:
        raise UserError(
            f"images have shape {tuple(pixels.shape)}; the run takes (n, {', '.join(map(str, run.facts.image_shape))}), or "
            "paths of files of any size"
        )
    for part in pixels.split(batch_size):
        yield run.normalise(part)


def _of_files(run: "LoadedRun", paths: Sequence[str | Path], batch_size: int, num_workers: int) -> Iterator[Tensor]:
    channels, height, width = run.facts.image_shape
    # Absolute, so that their folder is the root.
    names = [str(Path(path).expanduser().absolute()) for path in paths]
    large = max(height, width) > SMALL
    files = PathImages("/", names)
    if run.facts.grey_range:
        low, high = run.facts.grey_range
        files = files.scaled_from((low, high))
    batches = EvalFiles(
        files,
        channels,
        torch.zeros(len(names), dtype=torch.int64),
        Normalise(run.facts.mean, run.facts.std),
        make_view("none", (height, width), resize=large),
        None if large else (height, width),
        batch_size,
        num_workers=num_workers,
    )
    for batch in batches:
        yield batch.image


def readable(paths: Sequence[Path], on_corrupt: str = "error") -> tuple[list[Path], list[str]]:
    """Decode all images once, so that damaged ones are counted and named before any is classified.

    Args:
        paths: Image files.
        on_corrupt: ``error``, or ``skip`` to leave damaged ones out.

    Returns:
        The images that can be read, in their order, and what is wrong with each of the others.

    Raises:
        UserError: If some cannot be read and none may be left out, or none is left.
    """
    images = PathImages("/", [str(path.expanduser().absolute()) for path in paths])
    try:
        corrupt = dict(find_corrupt(images))
    except OSError as error:
        raise UserError(str(error)) from error
    wrong = [f"{paths[i]} ({reason})" for i, reason in corrupt.items()]
    kept = [path for i, path in enumerate(paths) if i not in corrupt]
    if wrong and (on_corrupt == "error" or not kept):
        way_out = "; data.on_corrupt=skip leaves them out" if kept else ""
        raise UserError(f"{len(wrong)} of {len(paths)} images cannot be read: {name_some(wrong)}{way_out}")
    return kept, wrong
