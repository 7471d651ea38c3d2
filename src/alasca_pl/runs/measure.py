"""Norms of a checkpoint's representations and of their Jacobians."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alasca_pl.core.errors import UserError
from alasca_pl.core.measurement import Measurement
from alasca_pl.core.progress import tracked
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.seeds import generator
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.runs.early import no_split
from alasca_pl.runs.jacobian import estimated_jacobian_norms, jacobian_norms
from alasca_pl.runs.load import LoadedRun, open_checkpoint
from alasca_pl.runs.measure_request import Request, refuse_other
from alasca_pl.runs.stored import data_of, device_of


def measure_checkpoints(
    files: Sequence[Path],
    requests: Sequence[Request],
    source: dict[str, Any] | None = None,
    device: str = "auto",
    trust: bool = False,
    name: str | None = None,
) -> Iterator[tuple[Path, str]]:
    """Measure checkpoints, each once.

    Args:
        files: Checkpoints.
        requests: What to measure on each.
        source: See ``data_of``.
        device: See ``device_of``.
        trust: See ``load_run``.
        name: Of the file without its suffix; that of what is measured by default.

    Yields:
        The files and what became of each: ``measured``, or ``there already``.

    Raises:
        UserError: If a file is there with another measurement, which is never overwritten, or data and run do not fit.
    """
    target = device_of(device)
    for file in files:
        folder = RunFolder.of_checkpoint(file)
        run = open_checkpoint(file, trust)
        open_requests = []
        for request in requests:
            path = request.file(folder, name)
            if path.is_file():
                refuse_other(path, request, run.epoch)
                yield path, "there already"
            else:
                open_requests.append((path, request))
        if not open_requests:
            continue
        data = data_of(run, source)
        run.module.to(target)
        for path, request in open_requests:
            measure(run, data, request).write(path)
            yield path, "measured"


def measure(run: LoadedRun, data: NoisyDataModule, request: Request) -> Measurement:
    """Measure one checkpoint.

    Args:
        run: The opened checkpoint.
        data: Its data.
        request: What to measure.

    Raises:
        UserError: If there is no such split.
    """
    if request.split not in data.sizes:
        raise UserError(no_split(request.split, data.name, data.sizes))
    chosen = _subset(data.sizes[request.split], request)
    networks: list[nn.Module] = list(run.module.method.networks)
    device = next(networks[0].parameters()).device
    probes = generator(0, "probes")
    index, label = [], []
    values: list[list[float]] = [[] for _ in networks]
    for images, indices, labels in _batches(data, request.split, chosen, request.batch_size):
        index += indices.tolist()
        label += labels.tolist()
        for row, network in zip(values, networks):
            row += [float(f"{value:.7g}") for value in _norms(network, images.to(device), request, probes).tolist()]
    settings = {**request.settings, "epoch": run.epoch}
    return Measurement(
        what=request.what,
        settings=settings,
        index=index,
        label=label,
        clean=_clean_labels(data, request.split, index, label),
        values=values,
        class_names=list(run.facts.class_names),
    )


def _subset(size: int, request: Request) -> Tensor | None:
    """Positions of the samples to measure, bool (N,); None for all."""
    wanted = request.samples if request.samples is not None or request.what == "norms" else 1000
    if wanted is None or wanted >= size:
        return None
    chosen = torch.zeros(size, dtype=torch.bool)
    chosen[torch.randperm(size, generator=generator(0, "measured samples"))[:wanted]] = True
    return chosen


def _batches(
    data: NoisyDataModule, split: str, chosen: Tensor | None, size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Images, positions and given labels of the chosen samples."""
    for batch in tracked(data.eval_batches(split), f"measuring on {split}"):
        index = batch.index.cpu()
        keep = torch.arange(len(index)) if chosen is None else chosen[index].nonzero().flatten()
        for part in keep.split(size):
            if len(part):
                yield batch.image[part], index[part], batch.label.cpu()[part]


def _norms(network: nn.Module, image: Tensor, request: Request, probes: torch.Generator) -> Tensor:
    function: Callable[[Tensor], Tensor] = lambda image: getattr(network(image), request.of)  # noqa: E731
    if request.what == "norms":
        with torch.no_grad():
            return function(image).double().norm(dim=1).cpu()
    if request.probes is None:
        return jacobian_norms(function, image).cpu()
    return estimated_jacobian_norms(function, image, request.probes, probes).cpu()


def _clean_labels(data: NoisyDataModule, split: str, index: list[int], label: list[int]) -> list[int] | None:
    if split not in ("train", "val"):
        return label
    labels = data.noisy_labels if split == "train" else data.val_labels
    return None if labels is None or labels.clean_label is None else labels.clean_label[index].tolist()
