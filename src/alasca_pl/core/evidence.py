"""What a training run shows about each given label: sums over the visits of each sample."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from alasca_pl.core.distributed import gather_rows

# Up to this number of classes the averaged prediction keeps all of them.
_ALL_CLASSES = 32
_KEPT_CLASSES = 8
_MARGIN, _WRONG, _CONFIDENCE, _SQUARED, _LOSS, _LAST_LOSS = range(6)
_COLUMNS = 6


class Evidence:
    """Sums over all visits of each training sample, per network, from the predictions that are made anyway.

    Nothing here needs clean labels. All ranks hold the same tables.

    With more than 32 classes the averaged prediction of a sample keeps eight classes. A class that was not kept replaces the
    kept one with the smallest sum when a prediction gives it the largest probability of all that are not kept and more than
    that sum; its earlier probabilities are lost then.

    Args:
        num_samples: N.
        num_classes: K, at least 2.
        num_networks: M.
        together: Number of updates that are added together, which costs less than one by one and gives the same bits. Call
            ``flush`` before a sample comes again.

    References:
        Pleiss et al.: Identifying Mislabeled Data using the Area Under the Margin Ranking. NeurIPS 2020.
        https://arxiv.org/abs/2001.10528
        Swayamdipta et al.: Dataset Cartography: Mapping and Diagnosing Datasets with Training Dynamics. EMNLP 2020.
        https://arxiv.org/abs/2009.10795

    Example:
        >>> import torch
        >>> evidence = Evidence(num_samples=2, num_classes=3, num_networks=1)
        >>> for logits in ([2.0, 1.0, 0.0], [0.0, 3.0, 0.0]):
        ...     evidence.update(torch.tensor([[logits]]), label=torch.tensor([0]), index=torch.tensor([1]))
        >>> means = evidence.means()
        >>> means["margin"].tolist(), means["wrong_events"].tolist(), means["suggested"].tolist()
        ([[nan, -1.0]], [[0, 1]], [[-1, 1]])
    """

    def __init__(self, num_samples: int, num_classes: int, num_networks: int, together: int = 1) -> None:
        self.num_classes = num_classes
        self._together = together
        self._waiting: list[tuple[Tensor, Tensor, Tensor]] = []
        self._visits = torch.zeros(num_samples)
        self._sums = torch.zeros(num_samples, num_networks, _COLUMNS)
        kept = num_classes if num_classes <= _ALL_CLASSES else _KEPT_CLASSES
        # Sum of the probabilities of some classes, and which classes these are.
        self._mass = torch.zeros(num_samples, num_networks, kept)
        self._classes: Tensor | None = None
        if kept < num_classes:
            self._classes = torch.arange(kept).repeat(num_samples, num_networks, 1)

    @staticmethod
    def megabytes(num_samples: int, num_classes: int, num_networks: int) -> float:
        """Size of the tables."""
        kept = 4 * num_classes if num_classes <= _ALL_CLASSES else (4 + 8) * _KEPT_CLASSES
        return num_samples * (4 + num_networks * (4 * _COLUMNS + kept)) / 1e6

    @torch.no_grad()
    def update(self, logits: Tensor, label: Tensor, index: Tensor) -> None:
        """Add the predictions for a batch; every rank must call it.

        Args:
            logits: (M, B, K), for the unmixed samples.
            label: Observed, int64 (B,).
            index: int64 (B,).
        """
        self._waiting.append((logits.detach(), label, index))
        if len(self._waiting) >= self._together:
            self.flush()

    @torch.no_grad()
    def flush(self) -> None:
        """Add what waits; every rank must call it."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        parts = list(zip(*waiting))
        self._add(torch.cat(parts[0], dim=1).float(), torch.cat(parts[1]), torch.cat(parts[2]))

    def _add(self, logits: Tensor, label: Tensor, index: Tensor) -> None:
        top, place = logits.topk(2, dim=2)
        given = label.expand(len(logits), -1).unsqueeze(2)
        first = place[..., 0] == given[..., 0]
        other = torch.where(first, top[..., 1], top[..., 0])
        log_prob = logits.log_softmax(dim=2)
        log_given = log_prob.gather(2, given)[..., 0]
        prob = log_given.exp()
        margin = logits.gather(2, given)[..., 0] - other
        columns = torch.stack([margin, (~first).to(prob.dtype), prob, prob.square(), -log_given, -log_given], dim=2)
        index, columns, probs = gather_rows(index, columns.transpose(0, 1), log_prob.exp().transpose(0, 1))
        self._to(index.device)
        ones = torch.ones(len(index), device=index.device)
        self._visits.index_add_(0, index, ones)
        self._sums.index_add_(0, index, columns)
        self._sums[index, :, _LAST_LOSS] = columns[..., _LAST_LOSS]
        if self._classes is None:
            self._mass.index_add_(0, index, probs)
        else:
            self._keep_largest(probs, index, self._classes)

    def _keep_largest(self, probs: Tensor, index: Tensor, table: Tensor) -> None:
        classes, mass = table[index], self._mass[index]
        mass = mass + probs.gather(2, classes)
        best, new = probs.scatter(2, classes, -1.0).max(dim=2, keepdim=True)
        smallest, slot = mass.min(dim=2, keepdim=True)
        replace = best > smallest
        table[index] = classes.scatter(2, slot, torch.where(replace, new, classes.gather(2, slot)))
        self._mass[index] = mass.scatter(2, slot, torch.where(replace, best, smallest))

    def means(self) -> dict[str, npt.NDArray[Any]]:
        """Reduce the sums.

        Returns:
            ``visits``, int64 (N,); and per network, (M, N):

            * ``margin``: mean of the logit of the given label minus the largest other logit;
            * ``wrong_events``: number of visits at which another label was predicted;
            * ``confidence`` and ``confidence_std``: mean and standard deviation of the given label's probability;
            * ``loss`` and ``last_loss``: cross-entropy of the given label, mean and at the last visit;
            * ``suggested`` and ``suggested_prob``: class with the largest averaged probability, and this probability;

            Samples that were never visited have NaN, and -1 as ``suggested``.
        """
        self.flush()
        visits = self._visits.double()
        seen = (visits > 0).unsqueeze(0)
        nan = torch.full_like(seen, 0, dtype=torch.float64).fill_(float("nan"))
        sums = self._sums.double().permute(2, 1, 0)
        mean = torch.where(seen, sums / visits.clamp(min=1), nan)
        # The variance of probabilities computed from two means may fall below 0 by rounding.
        deviation = (mean[_SQUARED] - mean[_CONFIDENCE].square()).clamp(min=0).sqrt()
        largest, place = self._mass.max(dim=2)
        suggested = place if self._classes is None else self._classes.gather(2, place.unsqueeze(2)).squeeze(2)
        values = {
            "margin": mean[_MARGIN],
            "confidence": mean[_CONFIDENCE],
            "confidence_std": deviation,
            "loss": mean[_LOSS],
            "last_loss": torch.where(seen, sums[_LAST_LOSS], nan),
            "suggested_prob": torch.where(seen, largest.T.double() / visits.clamp(min=1), nan),
        }
        arrays: dict[str, npt.NDArray[Any]] = {name: value.float().cpu().numpy() for name, value in values.items()}
        arrays["wrong_events"] = sums[_WRONG].long().cpu().numpy()
        arrays["suggested"] = torch.where(seen, suggested.T, -1).cpu().numpy().astype(np.int64)
        arrays["visits"] = visits.long().cpu().numpy()
        return arrays

    def state_dict(self) -> dict[str, Any]:
        """Return the tables; every rank must call it."""
        self.flush()
        return {"visits": self._visits, "sums": self._sums, "mass": self._mass, "classes": self._classes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take tables from ``state_dict``.

        Raises:
            ValueError: If their shapes differ from this run's.
        """
        self._waiting = []
        for name, own in self.state_dict().items():
            stored = state.get(name)
            if getattr(own, "shape", None) != getattr(stored, "shape", None):
                raise ValueError(
                    f"the stored evidence on labels ({name}) is for another data set or number of networks"
                )
        self._visits, self._sums, self._mass = (state[name].clone() for name in ("visits", "sums", "mass"))
        self._classes = None if state["classes"] is None else state["classes"].clone()

    def _to(self, device: torch.device) -> None:
        if self._visits.device != device:
            self._visits, self._sums, self._mass = (t.to(device) for t in (self._visits, self._sums, self._mass))
            self._classes = None if self._classes is None else self._classes.to(device)
