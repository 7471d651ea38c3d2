"""The contracts of a noisy-label method: each slot answers one question about a training step.

All parts are modules one level deep: contract, then method. Criteria and regularizers exist once per network, unless one
of the latter is ``shared``; selector, mixer and gradient transform exist once per run.
"""

from collections.abc import Iterable, Sequence
from typing import Literal

from torch import Tensor, nn

from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Batch, Progress, StepView, Targets


class Part(nn.Module):
    """What criteria, selectors, regularizers and mixers have in common."""

    needs: frozenset[str] = frozenset()
    """Fields of ``NetworkOutput`` that exist only if asked for: ``aux_logits`` (with ``aux_features``), ``norm_outputs``."""

    def observe(self, logits: Tensor, index: Tensor) -> None:
        """Update the state that the part keeps per sample; called once per step and network, before any loss.

        This is the only method that may change per-sample state during training.

        Args:
            logits: (B, K) predictions for the unmixed samples, detached.
            index: (B,) int64.
        """

    def confidence(self, label: Tensor) -> Tensor | None:
        """Trust in each given label as the part sees it now, for monitoring.

        Args:
            label: Observed labels of the whole training split, int64 (N,).

        Returns:
            Float (N,), or (M, N) from parts that exist once per run, larger where the label looks right; or None if the
            part has no opinion (yet).
        """
        return None


class ScanningPart(Part):
    """A part, one per run, that may look at the whole training set before an epoch.

    What it makes of a look is kept in its state, which checkpoints hold: a run that is resumed within an epoch does not
    look again.
    """

    first_scan_option: str = ""
    """Name of the option that says before which epoch it looks first, for messages."""

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        """Say what to collect before the epoch that begins at ``progress``, or None for nothing."""
        return None

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        """Take in what was collected; called on every rank with the same result, if ``scan_request`` asked for one."""


class Criterion(Part):
    """What does one sample cost?"""

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        """Return the loss of each row, not reduced.

        Args:
            logits: (B, K).
            targets: What each row is a mix of.
            progress: Where the run stands, for losses with a schedule.

        Returns:
            Float (B,).
        """
        raise NotImplementedError


class SampleSelector(ScanningPart):
    """Which samples count, and how much?"""

    normalise: Literal["selected", "batch"] = "selected"
    """Denominator of the base loss: the summed weights, or the number of samples in the batch."""

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        """Weigh the samples of a batch.

        Args:
            losses: (M, B) base losses, detached.
            logits: M tensors (B, K), detached.
            targets: What each row is a mix of.
            progress: Where the run stands.

        Returns:
            Weights of at least 0, float (M, B). Under several processes B is the local part of the batch: gather
            before ranking.
        """
        raise NotImplementedError


class Regularizer(Part):
    """What else is penalised?

    The step adds ``strength`` times the mean over all samples of the batch of what ``forward`` returns.
    """

    strength: float
    shared: bool = False
    """Whether all networks of a run have the same object instead of one each; it then observes each of them in turn."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        if not strength >= 0:
            raise ValueError(f"strength must be at least 0, got {strength}; 0 switches the penalty off")
        self.strength = strength

    def forward(self, view: StepView) -> Tensor:
        """Return the penalty of each sample before ``strength``, float (B,)."""
        raise NotImplementedError


class InputMixer(Part):
    """Are the inputs mixed first?

    Draws must be a function of ``progress`` and of seeds given at construction, so that a resumed run repeats them.
    """

    partners: Literal["none", "same_label"] = "none"
    """Whether batches shall bring for each sample another random one from the whole training set, and which."""

    def forward(self, batch: Batch, progress: Progress) -> tuple[Tensor, Targets]:
        """Return mixed images (B, C, H, W) and what each is a mix of."""
        raise NotImplementedError


class GradientTransform(ScanningPart):
    """Is the gradient edited before the optimiser's step?"""

    def forward(self, parameters: Iterable[nn.Parameter], progress: Progress) -> None:
        """Edit ``grad`` in place, after gradients were averaged over ranks and unscaled and before they are clipped.

        Args:
            parameters: Parameters of one network without its auxiliary heads, or those of its auxiliary heads; apart, so
                that heads change nothing for the main network.
            progress: Where the run stands.
        """
        raise NotImplementedError
