"""Norms of a checkpoint's representations and of their Jacobians."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alasca_pl.core.errors import UserError
from alasca_pl.core.measurement import KINDS, Measurement
from alasca_pl.core.progress import tracked
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.seeds import generator
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.report.saved import paths_of
from alasca_pl.runs.jacobian import estimated_jacobian_norms, jacobian_norms
from alasca_pl.runs.load import LoadedRun, open_checkpoint
from alasca_pl.runs.stored import data_of, device_of


@dataclass(frozen=True)
class Request:
    """What to measure and how.

    Attributes:
        what: ``jacobian`` or ``norms``.
        checkpoint: ``last`` or ``best``.
        split: ``train``, ``val``, ``test`` or a further test split.
        of: ``features``, the vectors before the main head, or its ``logits``.
        samples: Size of the random subset, the same in all runs with as many samples; None for all. By default 1,000 for
            Jacobians, all for norms.
        probes: Of Hutchinson's estimator; None computes Jacobians exactly.
        batch_size: Images at once.

    Raises:
        UserError: If a value is outside its range.
    """

    what: str = "jacobian"
    checkpoint: str = "last"
    split: str = "train"
    of: str = "features"
    samples: int | None = None
    probes: int | None = None
    batch_size: int = 100

    def __post_init__(self) -> None:
        for name, value, known in (("what", self.what, KINDS), ("of", self.of, ("features", "logits"))):
            if value not in known:
                raise UserError(f"unknown {name}={value}; choose one of {', '.join(known)}")
        for name, number in (("samples", self.samples), ("probes", self.probes), ("batch_size", self.batch_size)):
            if number is not None and number < 1:
                raise UserError(f"{name} must be at least 1, got {number}")
        if self.probes is not None and self.what != "jacobian":
            raise UserError(f"probes={self.probes} is for what=jacobian only")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the values, as it is kept with them."""
        settings = {"checkpoint": self.checkpoint, "split": self.split, "of": self.of, "samples": self.samples}
        if self.what == "jacobian":
            settings |= {"estimator": "exact" if self.probes is None else "hutchinson", "probes": self.probes}
        return settings


def checkpoints_in(places: Sequence[str], checkpoint: str) -> tuple[list[Path], list[str]]:
    """Checkpoints of all runs in some places.

    Args:
        places: Folders of runs, folders that hold some, names of sweeps, or patterns with ``*``.
        checkpoint: Name of the checkpoint.

    Returns:
        The files, and the names of runs that have none.

    Raises:
        UserError: If there is no run at a place, or no checkpoint at all.
    """
    found: dict[Path, None] = {}
    lacking = []
    for place in places:
        paths = paths_of(place)
        records = [record for path in paths for record in sorted(path.rglob(RunFolder("").record.name))]
        if not records:
            raise UserError(f"{place} holds no run: there is no {RunFolder('').record.name} in it")
        for record in records:
            file = RunFolder(record.parent).checkpoint(checkpoint)
            if file.is_file():
                found[file] = None
            else:
                lacking.append(str(record.parent))
    if not found:
        raise UserError(
            f"no run in {', '.join(places)} has the checkpoint {checkpoint}.ckpt; was it pruned, or were only records imported?"
        )
    return list(found), lacking


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
            path = folder.measured / f"{name or request.what}.json"
            if path.is_file():
                _refuse_other(path, request, run.epoch)
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
        raise UserError(f"no split {request.split!r}; choose one of {', '.join(data.sizes)}")
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


def _refuse_other(path: Path, request: Request, epoch: int) -> None:
    there = Measurement.read(path)
    its, wanted = ({"what": each.what, **each.settings} for each in (there, request))
    wanted["epoch"] = epoch
    if its != wanted:
        differing = [name for name in {**its, **wanted} if its.get(name) != wanted.get(name)]
        raise UserError(
            f"{path} is there with other settings ({', '.join(differing)}); give this measurement a name of its own with name=..."
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
