"""One scan of the whole training set with the current networks."""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from alasca_pl.core.distributed import sum_ranks, world_size
from alasca_pl.core.modes import evaluating
from alasca_pl.core.progress import tracked
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Batch

# Number of entries that ranks exchange at once: more would need too much memory on the device.
_CHUNK = 2**22


@torch.no_grad()
def run_scan(
    networks: Sequence[nn.Module],
    batches: Iterable[Batch],
    label: Tensor,
    request: ScanRequest,
    num_samples: int,
    forward_context: Callable[[], AbstractContextManager] = contextlib.nullcontext,
    pixels: Callable[[Tensor], Tensor] = lambda image: image,
) -> ScanResult:
    """Scan the training set and collect what a request names.

    The networks are in evaluation mode during the scan. Afterwards each module has its previous mode, and neither its
    state nor torch's random state has changed. Every rank must call this.

    Args:
        networks: M networks.
        batches: This rank's samples without augmentation, placed by ``Batch.index``. Each training sample must occur on
            at least one rank; those that occur on several ranks are averaged over these ranks.
        label: Observed labels of the training split, int64 (N,).
        request: What to collect.
        num_samples: N.
        forward_context: Wraps each forward pass, for mixed precision; results are float32 in any case.
        pixels: From the images of batches to pixels in [0, 1], for an encoder.

    Returns:
        Rows in index order on the CPU, equal on all ranks.

    Raises:
        RuntimeError: If samples are missing.
    """
    weights: list[Tensor] = [network.head.weight for network in networks]  # type: ignore[union-attr, misc]
    num_classes, size = weights[0].shape
    device, dtype = weights[0].device, weights[0].dtype
    count = len(networks)
    losses = torch.zeros(count, num_samples, 1) if request.losses else None
    probs = torch.zeros(count, num_samples, num_classes) if request.probs else None
    features = torch.zeros(count, num_samples, size) if request.features else None
    encoded: Tensor | None = None
    encoder = [] if request.encoder is None else [request.encoder.to(device)]
    trained = networks if any(request[:3]) else []
    seen = torch.zeros(num_samples, 1)
    observed = label.to(device)
    with evaluating(*networks, *encoder), torch.random.fork_rng(devices=[]):
        for batch in tracked(batches, "scanning the training set"):
            index = batch.index.cpu()
            seen[index] = 1.0
            image = batch.image.to(device, dtype)
            for other in encoder:
                rows = other(pixels(image).float()).float().cpu()
                encoded = torch.zeros(num_samples, rows.shape[1]) if encoded is None else encoded
                encoded[index] = rows
            for number, network in enumerate(trained):
                with forward_context():
                    output = network(image)
                logits = output.logits if output.logits.dtype == torch.float64 else output.logits.float()
                if losses is not None:
                    cost = F.cross_entropy(logits, observed[batch.index.to(device)], reduction="none")
                    losses[number, index, 0] = cost.float().cpu()
                if probs is not None:
                    probs[number, index] = logits.softmax(dim=1).float().cpu()
                if features is not None:
                    features[number, index] = output.features.float().cpu()

    visits = seen.clone()
    _sum_in_place(visits, device)
    missing = int((visits == 0).sum())
    if missing:
        raise RuntimeError(
            f"a scan of the training set did not reach {missing} of its {num_samples} samples; batches of the split "
            "'train' must contain each of them, with its position in the training split as index"
        )
    for other in encoder:
        other.cpu()
    if encoder and encoded is None:
        # A rank without batches has seen no features, but takes part in the sum.
        raise RuntimeError("a scan with an encoder needs at least one batch on each process")
    for table in (losses, probs, features, None if encoded is None else encoded.unsqueeze(0)):
        for rows in table if table is not None else ():
            _sum_in_place(rows, device)
            if world_size() > 1:
                rows /= visits
    return ScanResult(
        label=label.cpu(),
        losses=None if losses is None else losses.squeeze(2),
        probs=probs,
        features=features,
        encoded=encoded,
        head_weight=torch.stack([weight.float().cpu() for weight in weights]) if request.probs else None,
    )


def _sum_in_place(rows: Tensor, device: torch.device) -> None:
    """Sum a CPU table (N, R) over ranks, in chunks and on the device that the ranks communicate with."""
    if world_size() == 1:
        return
    for part in rows.split(max(1, _CHUNK // rows.shape[1])):
        part.copy_(sum_ranks(part.to(device)))
