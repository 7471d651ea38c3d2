"""What one scan of the whole training set, before an epoch, may collect."""

from typing import NamedTuple

from torch import Tensor


class ScanRequest(NamedTuple):
    """What a part needs for every training sample, from networks in evaluation mode on images without augmentation."""

    losses: bool = False
    """Cross-entropy of the main head against the given label."""
    probs: bool = False
    """Class probabilities of the main head."""
    features: bool = False
    """Input of the main head."""

    def union(self, other: "ScanRequest") -> "ScanRequest":
        """Everything that either request contains."""
        return ScanRequest(*(one or two for one, two in zip(self, other)))


class ScanResult(NamedTuple):
    """Result of one scan, rows in index order, on the CPU, equal on all ranks; only what was requested."""

    label: Tensor
    """(N,) int64, observed labels."""
    losses: Tensor | None = None
    """(M, N) float32."""
    probs: Tensor | None = None
    """(M, N, K) float32."""
    features: Tensor | None = None
    """(M, N, D) float32."""
    head_weight: Tensor | None = None
    """(M, K, D) float32, weights of the main heads' linear layers; given with ``probs``."""

    def of_network(self, number: int) -> "ScanResult":
        """The rows of one network, as if there were no other."""
        label, *tables = self
        return ScanResult(label, *(None if table is None else table[number : number + 1] for table in tables))
