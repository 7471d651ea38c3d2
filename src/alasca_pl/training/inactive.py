"""Parts that left a run as it is without them."""

from collections.abc import Sequence

import lightning as L

from alasca_pl.core.metric_names import TRAIN, MetricName
from alasca_pl.core.parts import Part, Regularizer
from alasca_pl.core.rows import Row
from alasca_pl.core.types import Progress
from alasca_pl.training.callbacks.monitor import NoiseMonitor
from alasca_pl.training.module import NoisyLabelModule


def inactive_parts(trainer: L.Trainer, module: NoisyLabelModule, rows: Sequence[Row]) -> dict[str, str]:
    """Find the slots whose part changed nothing, such as a selector that kept every sample because its ramp never began.

    Args:
        trainer: Whose run has ended.
        module: Its module, as training left it.
        rows: One row of metrics per epoch, at least one.

    Returns:
        The reason by the slot's name in the config.
    """
    step = int(rows[-1]["step"])
    last = Progress(
        epoch=int(rows[-1]["epoch"]),
        step=max(0, step - 1),
        max_epochs=trainer.max_epochs or 0,
        steps_per_epoch=max(1, step // len(rows)),
    )
    method, warm_up = module.method, _warm_up(module, last)
    found: dict[str, str | None] = {}
    for name, part in method.of_run():
        if part is not method.selector:
            found[name] = part.inactive_because(last)
        elif not _may_have_acted(trainer):
            found[name] = part.inactive_because(last) or warm_up or "it gave every sample the weight 1 in every step"
    numbers = range(len(method.networks))
    for name, _ in method.of_network(0):
        reasons = [_of_network(dict(method.of_network(number))[name], name, number, rows, last) for number in numbers]
        slot = name if name == "criterion" else f"regularizers.{name}"
        # What acts on one network acts.
        found[slot] = reasons[0] if all(reasons) else None
    if not found.get("selector"):
        found["step"] = warm_up
    if module.phases and module.phases[0].start > last.epoch:
        found["phases"] = (
            f"the first one begins with epoch {module.phases[0].start + 1}, the run ended with epoch {last.epoch + 1}"
        )
    return {slot: reason for slot, reason in found.items() if reason}


def _may_have_acted(trainer: L.Trainer) -> bool:
    """Whether the selector gave a weight other than 1, or nobody has watched all steps."""
    watching = [callback for callback in trainer.callbacks if isinstance(callback, NoiseMonitor)]  # type: ignore[attr-defined]
    return not watching or watching[0].selector_acted is not False


def _of_network(part: Part, name: str, number: int, rows: Sequence[Row], last: Progress) -> str | None:
    if isinstance(part, Regularizer):
        if part.strength == 0.0:
            return "strength=0"
        names = {str(MetricName(TRAIN, f"loss_{name}", each)) for each in (None, number)}
        penalties = [row[each] for row in rows for each in names if each in row]
        if penalties and not any(penalties):
            return "its penalty was 0 in every step"
    return part.inactive_because(last)


def _warm_up(module: NoisyLabelModule, last: Progress) -> str | None:
    epochs = getattr(module.step, "warmup_epochs", 0)
    if last.epoch >= epochs:
        return None
    return (
        f"the warm-up of {epochs:g} epochs (step.warmup_epochs) covers the run, which ended with epoch {last.epoch + 1}"
    )
