"""Data structures that data, networks, parts and steps exchange.

Shapes: B batch, K classes, N training samples, M networks, V mixed samples per row, D features.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """One batch of training or evaluation samples.

    Clean labels are not part of a batch: code that measures with them looks them up by ``index``, so that no training
    code can see them.
    """

    image: Tensor
    """(B, C, H, W) float, normalised."""
    label: Tensor
    """(B,) int64, observed, possibly wrong."""
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    """(B,) int64 in [0, N), position in the training split; it never changes during a run."""
    views: tuple[Tensor, ...] = ()
    """Further views of the same samples, each like ``image``, in the order in which a step requests them."""
    partner: Tensor | None = None
    """(B,) int64: for each sample the index of another training sample, if a mixer requests one."""
    partner_image: Tensor | None = None
    """Images of the partners, like ``image``."""


class NormOutput(NamedTuple):
    """An activation after a normalisation layer, for penalties on its gradient."""

    value: Tensor
    """(B, C, H, W), attached to the graph."""
    scale: Tensor
    """(C,), the layer's factor per channel. The gradient with respect to the value before this multiplication is
    ``scale`` times the gradient with respect to ``value``."""


class NetworkOutput(NamedTuple):
    """Everything one forward pass of a network gives."""

    logits: Tensor
    """(B, K) main head."""
    aux_logits: tuple[Tensor, ...]
    """Each (B, K), shallow to deep; empty without auxiliary heads."""
    features: Tensor
    """(B, D) input of the main head."""
    norm_outputs: tuple[NormOutput, ...] = ()
    """Activations inside the backbone's blocks; empty unless a part needs them."""
    aux_features: tuple[Tensor, ...] = ()
    """Each (B, D), input of the last layer of each auxiliary head; empty without auxiliary heads."""


class Targets(NamedTuple):
    """Every row of a batch as a convex mix of V training samples: V = 1 without mixing, 2 with mixup."""

    label: Tensor
    """(V, B) int64."""
    index: Tensor  # type: ignore[assignment]  # hides tuple.index, which nobody needs here
    """(V, B) int64."""
    weight: Tensor
    """(V, B) float; columns sum to 1."""

    @classmethod
    def unmixed(cls, label: Tensor, index: Tensor) -> "Targets":
        """One training sample per row.

        Args:
            label: (B,) int64.
            index: (B,) int64.
        """
        weight = torch.ones(1, len(label), device=label.device)
        return cls(label.unsqueeze(0), index.unsqueeze(0), weight)


class Progress(NamedTuple):
    """Position in the run. All counts start at 0; ``step`` counts optimiser steps over the whole run."""

    epoch: int
    step: int
    max_epochs: int
    steps_per_epoch: int


class StepView(NamedTuple):
    """Everything that a regularizer may use, for one network."""

    output: NetworkOutput
    targets: Targets
    base_loss: Tensor
    """(B,), attached to the graph."""
    weight: Tensor
    """(B,) selection weights, detached."""
    progress: Progress
    peers: tuple[NetworkOutput, ...] = ()
    """Outputs of the M - 1 other networks for the same rows, those of network m + 1 first, then m + 2 and so on modulo M.
    They are attached to the graph: a penalty also has a gradient for the peers, unless it detaches them."""

    @classmethod
    def unmixed(
        cls, output: NetworkOutput, label: Tensor, index: Tensor, base_loss: Tensor, progress: Progress
    ) -> "StepView":
        """One training sample per row, all of which count.

        Args:
            output: Of the network.
            label: (B,) int64.
            index: (B,) int64.
            base_loss: (B,), attached to the graph.
            progress: Position in the run.
        """
        return cls(output, Targets.unmixed(label, index), base_loss, torch.ones_like(base_loss).detach(), progress)


class StepResult(NamedTuple):
    """What a step returns to the module."""

    loss: Tensor
    """Scalar to differentiate: sum over the networks."""
    terms: dict[str, Tensor]
    """Detached scalars to log. Their mean over the ranks is the value of the global batch."""
    logits: tuple[Tensor, ...]
    """Per network (B, K), detached predictions for the unmixed samples, for monitors."""
    weight: Tensor
    """(M, B) selection weights, detached, for monitors."""
    losses: Tensor | None = None
    """(M, B) base losses, detached, for monitors; None if the step has none."""


class DataFacts(NamedTuple):
    """What the rest of the program must know about a data set; enough to rebuild a module without the data."""

    name: str
    num_classes: int
    num_samples: int
    """N, size of the training split."""
    image_shape: tuple[int, int, int]
    """(C, H, W)."""
    noise_digest: str
    """SHA-256 of the observed labels of the training split."""
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    """Per channel, of pixels scaled to [0, 1]."""
    std: tuple[float, ...]
    """Likewise."""
    eval_splits: tuple[str, ...] = ("val", "test")
    """Names of the splits that accuracy is measured on."""
    realised_rate: float | None = None
    """True noise rate of the training split, or None if unknown. Only for measuring, and for methods that have
    ``noise_rate: oracle`` in their config."""
    class_counts: tuple[int, ...] = ()
    """Samples of each class in the training split, by observed label."""
    grey_range: tuple[int, ...] = ()
    """Smallest and largest grey value of 16-bit images, which became 0 and 255; empty for 0 and 65535."""
    realised_matrix: tuple[float, ...] = ()
    """True P(observed j given clean i) of the training split, row after row, where a class that does not occur keeps its labels;
    empty unless the config says ``criterion.matrix: oracle``."""
