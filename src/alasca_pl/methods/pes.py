"""PES: after a phase of renewed last layers, train on the samples whose label the network predicts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from alasca_pl.core.checks import check_whole_number
from alasca_pl.core.parts import SampleSelector
from alasca_pl.core.sample_buffer import SampleBuffer
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Progress, Targets


def balancing_weights(counts: Tensor, largest: float | None = None) -> Tensor:
    """Weigh classes by the mean of the numbers of samples that are not 0 over their own number.

    Args:
        counts: Samples of each class, (K,).
        largest: Upper bound of a weight, or None.

    Returns:
        (K,); 0 for classes without samples.

    Example:
        >>> import torch
        >>> balancing_weights(torch.tensor([10.0, 40.0, 0.0, 100.0]), largest=3.0)
        tensor([3.0000, 1.2500, 0.0000, 0.5000])
    """
    present = counts > 0
    mean = counts.sum() / present.sum().clamp_min(1)
    weights = torch.where(present, mean / counts.clamp_min(1.0), torch.zeros_like(counts))
    return weights if largest is None else weights.clamp_max(largest)


class PredictedLabelSelector(SampleSelector):
    """Keeps the samples whose given label the network predicts, weighted so that classes count alike.

    The training set is scanned before each epoch from ``start_epoch`` on; until then all samples count alike. Each network
    has its own selection.

    Args:
        num_samples: N.
        num_classes: K.
        num_networks: M.
        start_epoch: First epoch, from 0, that selects.
        largest_weight: Upper bound of the weight of a class, or None. Weights are ``balancing_weights``.

    Raises:
        ValueError: If a value is outside its range.

    Source: Bai et al., NeurIPS 2021, section 3.2; tmllab/2021_NeurIPS_PES. Unlike there, predictions are of images without
    augmentation, and samples that are not kept have the weight 0, so that an epoch keeps its number of steps.

    References:
        Bai et al.: Understanding and Improving Early Stopping for Learning with Noisy Labels. NeurIPS 2021.
        https://arxiv.org/abs/2106.15853
        Code: tmllab/2021_NeurIPS_PES@ec5290d

    Example:
        >>> import torch
        >>> from alasca_pl.core.scan import ScanResult
        >>> from alasca_pl.core.types import Progress, Targets
        >>> selector = PredictedLabelSelector(num_samples=4, num_classes=2, num_networks=1, start_epoch=0)
        >>> now, label = Progress(epoch=0, step=0, max_epochs=10, steps_per_epoch=5), torch.tensor([0, 0, 0, 1])
        >>> probs = torch.tensor([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]]])
        >>> selector.receive_scan(ScanResult(label, probs=probs), now)
        >>> selector(torch.zeros(1, 4), [], Targets.unmixed(label, torch.arange(4)), now)
        tensor([[0.7500, 0.0000, 0.7500, 1.5000]])
    """

    first_scan_option = "start_epoch"

    def __init__(
        self,
        num_samples: int,
        num_classes: int,
        num_networks: int,
        start_epoch: int = 37,
        largest_weight: float | None = None,
    ) -> None:
        super().__init__()
        check_whole_number("start_epoch", start_epoch, 0)
        if largest_weight is not None and not largest_weight > 0:
            raise ValueError(f"largest_weight must be above 0, got {largest_weight}; null is no bound")
        self.start_epoch = start_epoch
        self.largest_weight = largest_weight
        # One column per network.
        self.kept = SampleBuffer(num_samples, num_networks, 0.0, initial=1.0)
        # One row per network; not a registered buffer for the reason of SampleBuffer.
        self.weights = SampleBuffer(num_networks, num_classes, 0.0, initial=1.0)

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        return ScanRequest(probs=True) if progress.epoch >= self.start_epoch else None

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        assert result.probs is not None
        kept = result.probs.argmax(dim=2) == result.label
        num_classes = result.probs.shape[2]
        counts = torch.stack([torch.bincount(result.label[row], minlength=num_classes) for row in kept])
        self.kept.fill(kept.T.float())
        self.weights.fill(torch.stack([balancing_weights(row.float(), self.largest_weight) for row in counts]))

    def class_weights(self) -> Tensor:
        """Weights of the classes for each network, float32 (M, K); 1 before the first selection."""
        return self.weights.rows

    def clean_probability(self, index: Tensor) -> Tensor:
        """Return 1 for kept samples and 0 for others, float (M, B), for ``MixMatchStep``: their labels are not refined.

        Args:
            index: int64 (B,).
        """
        return self.kept.rows[index].T

    def confidence(self, label: Tensor) -> Tensor | None:
        rows = self.kept.rows.T
        return None if bool((rows == 1.0).all()) else rows

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        # (V, B, M), each label with the weight of its class.
        weight = self.kept.read(targets) * self.weights.rows.T[targets.label]
        return (targets.weight.unsqueeze(-1) * weight).sum(dim=0).T.to(losses)
