"""What ours is compared with: the bare network on images that are ready, and a plain PyTorch loop."""

import contextlib
from collections.abc import Iterator
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from alasca_pl.bench.clock import Duration, now, since
from alasca_pl.bench.fits import WARM_UP, Fit
from alasca_pl.build.make import make
from alasca_pl.build.module import build_module
from alasca_pl.core.errors import UserError
from alasca_pl.core.modes import evaluating
from alasca_pl.data.samples import ImageArrays
from alasca_pl.models.network import Network


class Floor:
    """A case: forward, backward and optimiser step of the bare network, on normalised images in memory.

    For an epoch also the forward passes over the images of evaluation, without any measure.

    Args:
        fit: The case of cross-entropy with the same network, data and steps.
        layout: ``channels_last`` or ``contiguous``.
    """

    def __init__(self, fit: Fit, layout: str) -> None:
        self.name = f"bare network, {layout}"
        self.memory: int | None = None
        self.flops: int | None = None
        self.images = 0
        self._fit, self._layout = fit, layout

    def measure(self) -> Duration:
        """Train and return the time of a step, or of an epoch."""
        fit = self._fit
        network, optimizer, device = _network(fit, self._layout)
        precision = _precision(fit)
        batches = list(_resident(fit, device))
        evaluated = [] if fit.steps is not None else list(_evaluated(fit, device))
        begin = now()
        for number, (image, label) in enumerate(batches):
            if number == WARM_UP and fit.steps is not None:
                begin = now()
            optimizer.zero_grad()
            with precision():
                loss = F.cross_entropy(network(image).logits, label)
            loss.backward()
            optimizer.step()
        with torch.no_grad(), evaluating(network):
            for image in evaluated:
                with precision():
                    network(image)
        duration = since(begin)
        self.images = fit.data.batch_size if fit.steps is not None else sum(len(label) for _, label in batches)
        return duration if fit.steps is None else duration.per(fit.steps)


class PlainLoop:
    """A case: an epoch as a user would write it, with torchvision's transforms and a ``DataLoader``.

    Random crop and flip as our default augmentation has them, the same network and optimiser, evaluation of the test split
    afterwards.

    Args:
        fit: The case of cross-entropy with the same network and data.
        layout: ``channels_last`` or ``contiguous``, which is torch's default.
        workers: Processes that make batches.
    """

    def __init__(self, fit: Fit, layout: str, workers: int) -> None:
        self.name = f"plain loop, {workers} workers, {layout}"
        self.memory: int | None = None
        self.flops: int | None = None
        self.images = 0
        self._fit, self._layout, self._workers = fit, layout, workers
        height = fit.data.facts.image_shape[1]
        configured = fit.config["data"].get("padding")
        padding = max(1, height // 8) if configured is None else configured
        flip = [transforms.RandomHorizontalFlip()] if fit.config["data"].get("flip", True) else []
        normalise = [transforms.ToTensor(), transforms.Normalize(fit.data.facts.mean, fit.data.facts.std)]
        self._train = _Images(fit, "train", [transforms.RandomCrop(height, padding=padding), *flip, *normalise])
        self._test = [_Images(fit, split, normalise) for split in fit.data.facts.eval_splits]

    def measure(self) -> Duration:
        """Train one epoch, evaluate, and return the time."""
        network, optimizer, device = _network(self._fit, self._layout)
        precision = _precision(self._fit)
        data = self._fit.data
        begin = now()
        for image, label in DataLoader(self._train, data.batch_size, shuffle=True, num_workers=self._workers):
            optimizer.zero_grad()
            with precision():
                loss = F.cross_entropy(network(image.to(device)).logits, label.to(device))
            loss.backward()
            optimizer.step()
        for split in self._test:
            correct = torch.zeros((), dtype=torch.int64, device=device)
            with torch.no_grad(), evaluating(network):
                for image, label in DataLoader(split, data.eval_batch_size, num_workers=self._workers):
                    with precision():
                        correct += (network(image.to(device)).logits.argmax(1) == label.to(device)).sum()
            correct.item()
        duration = since(begin)
        self.images = len(self._train)
        return duration


class _Images(Dataset[Any]):
    """Images of a split, each through transforms of torchvision."""

    def __init__(self, fit: Fit, split: str, steps: list[Any]) -> None:
        data = fit.data.prepared.splits[split]
        if not isinstance(data, ImageArrays):
            raise UserError("what=peers needs images that fit into memory; see data.loader")
        self._images: npt.NDArray[np.uint8] = data.images
        self._labels = fit.data.prepared.labels[split]
        self._transform = transforms.Compose([transforms.ToPILImage(), *steps])

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self._transform(self._images[index]), int(self._labels[index])


def _device(fit: Fit) -> torch.device:
    uses_gpu = fit.config["trainer"]["accelerator"] in ("gpu", "cuda", "auto") and torch.cuda.is_available()
    return torch.device("cuda" if uses_gpu else "cpu")


def _network(fit: Fit, layout: str) -> tuple[Network, torch.optim.Optimizer, torch.device]:
    L.seed_everything(fit.config["seed"] % 2**32, verbose=False)
    network: Network = build_module(fit.config, fit.data.facts).method.networks[0]  # type: ignore[assignment]
    network.use_memory_format(layout)
    device = _device(fit)
    network.to(device).train()
    return network, make(fit.config["optim"]["optimizer"])(network.parameters()), device


def _precision(fit: Fit) -> Any:
    precision = fit.config["trainer"]["precision"]
    if precision == "bf16-mixed":
        return lambda: torch.autocast(_device(fit).type, torch.bfloat16)
    if precision in ("32-true", "32", 32):
        return contextlib.nullcontext
    raise UserError(
        f"trainer.precision={precision}: the bare network and the plain loop are measured with 32-true and bf16-mixed"
    )


def _resident(fit: Fit, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of an epoch, or as many as steps are measured, without augmentation and ready for the network."""
    count = None if fit.steps is None else WARM_UP + fit.steps
    loader = fit.data.train_dataloader()
    for number, batch in enumerate(loader):
        if number == count:
            return
        yield batch.image.to(device), batch.label.to(device)


def _evaluated(fit: Fit, device: torch.device) -> Iterator[Tensor]:
    """Images of evaluation in batches, ready for the network."""
    for split in fit.data.facts.eval_splits:
        for batch in fit.data.eval_batches(split):
            yield batch.image.to(device)


class Loading:
    """A case: the batches of an epoch, made and thrown away.

    Args:
        fit: A case with the data.
    """

    def __init__(self, fit: Fit) -> None:
        self.name = "loading"
        self.memory: int | None = None
        self.flops: int | None = None
        self.images = 0
        self._fit = fit

    def measure(self) -> Duration:
        """Make all batches of one epoch."""
        loader = self._fit.data.train_dataloader()
        begin, images = now(), 0
        for batch in loader:
            images += len(batch.label)
        self.images = images
        return since(begin)


class LoadingPlain(PlainLoop):
    """A case: the same by a ``DataLoader`` with torchvision's transforms."""

    def __init__(self, fit: Fit, workers: int) -> None:
        super().__init__(fit, "contiguous", workers)
        self.name = f"DataLoader, {workers} workers"

    def measure(self) -> Duration:
        """Make all batches of one epoch."""
        begin = now()
        for _ in DataLoader(self._train, self._fit.data.batch_size, shuffle=True, num_workers=self._workers):
            pass
        self.images = len(self._train)
        return since(begin)
