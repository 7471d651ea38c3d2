"""The contracts of a noisy-label method: each slot answers one question about a training step.

All parts are modules one level deep: contract, then method. Criteria and regularizers exist once per network, unless one
of the latter is ``shared``: these are ``NetworkPart``. Selector, mixer and gradient transform exist once per run: these
are ``RunPart``.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from torch import Tensor, nn

from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Batch, Progress, StepView, Targets


class Part(nn.Module):
    """The common base of criteria, selectors, regularizers, mixers and gradient transforms.

    State per sample lives in a ``SampleBuffer``. During training only ``observe``, ``settle`` and ``receive_scan`` may change it.
    """

    needs: frozenset[str] = frozenset()
    """Optional fields of ``NetworkOutput`` that it needs: ``aux_logits``, ``aux_features`` (as wide as ``features``),
    ``norm_outputs``."""

    def confidence(self, label: Tensor) -> Tensor | None:
        """Score each given label as the part sees it now, for monitoring.

        Args:
            label: Observed labels of the whole training split, int64 (N,).

        Returns:
            Float (N,), or (M, N) from parts that exist once per run, larger where the label is more likely correct; or
            None if the part has no score (yet).
        """
        return None

    def inactive_because(self, last: Progress) -> str | None:
        """Say why a run was the same as without the part, e.g. because its ramp had not begun when the run ended.

        Asked at a run's end. A selector is only asked if it gave every sample the weight 1 in every step.

        Args:
            last: Position of the run's last step.

        Returns:
            The reason, or None if the part acted, or cannot tell. Without figures of the single run, because reports list runs by
            reason.
        """
        return None

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters of its own, as groups for the run's optimiser with a rate and decay of their own.

        They follow the run's schedule in proportion, gradients are averaged over ranks, and neither gradient transforms nor
        clipping touch them. Each must take part in the loss of every step.
        """
        return []

    def settle(self) -> None:
        """Move rows of samples by the gradients that ``forward`` kept; called right after the optimiser's step.

        Rows of a table as parameters of the optimiser would need dense gradients, averaged over ranks in each step. Every rank
        calls this equally often.
        """


def not_begun(start_epoch: int, last: Progress) -> str | None:
    """Say that a part begins after a run's end, see ``Part.inactive_because``; None if it has begun."""
    if last.epoch >= start_epoch:
        return None
    return f"it begins with epoch {start_epoch + 1} (start_epoch), the run ended with epoch {last.epoch + 1}"


class NetworkPart(Part):
    """A part of one network, or a ``shared`` regularizer that takes each network in turn."""

    def observe(self, logits: Tensor, index: Tensor) -> None:
        """Update the state per sample; called once per step and network, before any loss.

        A ``shared`` regularizer is called for one network after the other, each time right before that network's penalty.

        Args:
            logits: (B, K) predictions for the unmixed samples, detached.
            index: (B,) int64.
        """


class RunPart(Part):
    """A part that exists once per run and sees all networks together."""

    def observe(self, logits: Tensor, label: Tensor, index: Tensor) -> None:
        """Update the state per sample; called once per step, before any loss, after all parts of the networks.

        The observed label is given because averages over epochs of losses or margins need it. A mixer is called before.

        Args:
            logits: (M, B, K) predictions of all networks for the unmixed samples, detached.
            label: (B,) int64, observed.
            index: (B,) int64.
        """


class ScanningPart(Part):
    """A part that may request a scan of the training set before an epoch.

    A part of network m receives rows of this network only, as if there were no other.

    What it computes from a scan is kept in its state, which checkpoints hold: a run that is resumed within an epoch
    does not scan again.
    """

    first_scan_option: str = ""
    """Name of the option that sets the epoch of the first scan, for messages."""

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        """Return what to collect before the epoch that begins at ``progress``, or None for nothing."""
        return None

    def first_scan(self, progress: Progress) -> int | None:
        """Return the first epoch, possibly after the run's end, before which it would request a scan, or None."""
        epochs = range(progress.max_epochs + 1000)
        return next((epoch for epoch in epochs if self.scan_request(progress._replace(epoch=epoch)) is not None), None)

    def inactive_because(self, last: Progress) -> str | None:
        first = self.first_scan(last)
        if first is None or first <= last.epoch:
            return None
        option = f" ({self.first_scan_option})" if self.first_scan_option else ""
        return (
            f"its first scan of the training set is due before epoch {first + 1}{option}, the run ended with epoch "
            f"{last.epoch + 1}"
        )

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        """Process the result of a scan that this part requested; called on every rank with the same result."""


class Criterion(NetworkPart):
    """What does one sample cost?

    By default a criterion sees one prediction of one network. Terms that compare networks may also be a regularizer, which has
    ``StepView.peers``; a ranking of samples by such terms belongs to a selector, which gets losses and logits of all networks.
    """

    others: Literal["none", "networks", "views"] = "none"
    """Further predictions for the same samples that it needs: those of the other networks, network m + 1 first, or those of its
    own network for ``Batch.views``. ``forward`` then has a further argument ``others``, a sequence of logits like ``logits``;
    all of them are attached to the graph."""

    def forward(self, logits: Tensor, targets: Targets, progress: Progress) -> Tensor:
        """Return the loss of each row, not reduced.

        Args:
            logits: (B, K).
            targets: What each row is a mix of.
            progress: Position in the run, for losses with a schedule.

        Returns:
            Float (B,).
        """
        raise NotImplementedError


class SampleSelector(ScanningPart, RunPart):
    """Which samples count, and how much?"""

    normalise: Literal["selected", "batch"] = "selected"
    """Denominator of the base loss: the summed weights, or the number of samples in the batch."""

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        """Weigh the samples of a batch.

        Args:
            losses: (M, B) base losses, detached.
            logits: M tensors (B, K), detached.
            targets: What each row is a mix of.
            progress: Position in the run.

        Returns:
            Weights of at least 0, float (M, B). With several processes B counts only this rank's samples: gather before
            ranking.
        """
        raise NotImplementedError


class RefreshedSelector(SampleSelector):
    """A selector that follows its latest scan and has no score before the first one.

    Attributes:
        is_refreshed: Whether it has received a scan; ``receive_scan`` sets it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_refreshed = False

    def get_extra_state(self) -> dict[str, Any]:
        return {"is_refreshed": self.is_refreshed}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.is_refreshed = state["is_refreshed"]


class Regularizer(NetworkPart):
    """What else is penalised?

    The step adds ``strength`` times the mean over all samples of the batch of what ``forward`` returns.
    """

    strength: float
    shared: bool = False
    """Whether all networks of a run have the same object instead of one each. It then observes network m right before the
    penalty of network m is taken, so that this penalty does not depend on what later networks predict in the same step."""

    def __init__(self, strength: float) -> None:
        super().__init__()
        if not strength >= 0:
            raise ValueError(f"strength must be at least 0, got {strength}; 0 switches the penalty off")
        self.strength = strength

    def forward(self, view: StepView) -> Tensor:
        """Return the penalty of each sample before ``strength``, float (B,)."""
        raise NotImplementedError


class InputMixer(RunPart):
    """Are the inputs mixed first?

    Draws must be a function of ``progress`` and of seeds given at construction, so that a resumed run repeats them.
    """

    partners: Literal["none", "same_label"] = "none"
    """Whether batches must contain, for each sample, another random one from the whole training set, and which."""

    def forward(self, batch: Batch, progress: Progress) -> tuple[Tensor, Targets]:
        """Return mixed images (B, C, H, W) and what each is a mix of."""
        raise NotImplementedError


class GradientTransform(ScanningPart, RunPart):
    """Is the gradient edited before the optimiser's step?"""

    def forward(self, parameters: Iterable[nn.Parameter], progress: Progress) -> None:
        """Edit ``grad`` in place, after gradients were averaged over ranks and unscaled and before they are clipped.

        Args:
            parameters: Parameters of one network without its auxiliary heads, or those of its auxiliary heads; apart, so
                that heads change nothing for the main network.
            progress: Position in the run.
        """
        raise NotImplementedError
