"""What one scan of the whole training set, before an epoch, may collect."""

from typing import NamedTuple

from torch import Tensor, nn


class ScanRequest(NamedTuple):
    """What a part needs for every training sample, from networks in evaluation mode on images without augmentation."""

    losses: bool = False
    """Cross-entropy of the main head against the given label."""
    probs: bool = False
    """Class probabilities of the main head."""
    features: bool = False
    """Input of the main head."""
    encoder: nn.Module | None = None
    """Another network, which the run does not train: from pixels in [0, 1], (B, C, H, W), to its features (B, E)."""

    def union(self, other: "ScanRequest") -> "ScanRequest":
        """Everything that either request contains; of two encoders the first."""
        return ScanRequest(
            self.losses or other.losses,
            self.probs or other.probs,
            self.features or other.features,
            other.encoder if self.encoder is None else self.encoder,
        )


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
    encoded: Tensor | None = None
    """(N, E) float32, features of the encoder."""

    def of_network(self, number: int) -> "ScanResult":
        """The rows of one network, as if there were no other."""
        tables = (self.losses, self.probs, self.features, self.head_weight)
        rows = (None if table is None else table[number : number + 1] for table in tables)
        return ScanResult(self.label, *rows, encoded=self.encoded)  # type: ignore[misc]
