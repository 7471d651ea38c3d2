"""Progress of the run, on a terminal and in a log."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from alasca_pl.core.metric_names import ACC_OBSERVED, BASE_LOSS, LOSS, TEST, TRAIN, VAL, accuracy, of_quantity
from alasca_pl.core.progress import drawn_by

log = logging.getLogger("alasca_pl")
# How long the run takes is told from the steps after so many, measured for so many seconds or to the end of the epoch.
_WARM_UP, _MEASURED = 5, 3.0
# Seconds between lines of the log within an epoch.
_SILENCE = 60.0


class RunProgress(L.Callback):
    """A bar over the whole run with epoch, loss, accuracies and time left; without a terminal, one log line per epoch, and
    in long epochs one per minute.

    At the start one line says what penalties the loss has, within the first epoch another how long the run will take. The loss
    that is minimised is shown with its parts: the base loss, summed over the networks, and all weighted penalties together.

    Args:
        bar: Whether to draw the bar; None draws it if standard error is a terminal.
    """

    def __init__(self, bar: bool | None = None) -> None:
        self._bar = sys.stderr.isatty() if bar is None else bar
        self._progress: Progress | None = None
        # Bars of other work, such as scans, become lines of this one.
        self._lines = contextlib.ExitStack()
        self._start = 0.0
        self._first_epoch, self._first_step = 0, 0
        self._said_duration = False
        # Where the measurement of steps begins: time and global step.
        self._measured_from = (0.0, 0)
        self._said_last = 0.0

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._start = time.monotonic()
        self._first_epoch = trainer.current_epoch
        self._first_step = trainer.global_step
        self._measured_from = (self._start, self._first_step)
        self._said_last = self._start
        strengths = _strengths(pl_module)
        if strengths and trainer.is_global_zero:
            listing = ", ".join(f"{name} (strength {strength:g})" for name, strength in strengths.items())
            log.info("loss: base loss (of the main head) + penalties, each times its strength: %s", listing)
        if not self._bar or not trainer.is_global_zero:
            return
        self._progress = Progress(
            TextColumn("{task.description}{task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        total = (trainer.max_epochs or 0) * int(trainer.num_training_batches)
        self._progress.add_task("epoch ", total=total, completed=trainer.global_step, epoch="", metrics="")
        self._progress.start()
        self._lines.enter_context(drawn_by(self._line))

    @contextlib.contextmanager
    def _line(self, what: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Another line below the run's own."""
        assert self._progress is not None
        progress = self._progress
        task = progress.add_task(what, total=total, epoch="", metrics="")
        try:
            yield lambda done: progress.update(task, completed=done)
        finally:
            progress.remove_task(task)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero and not self._said_duration:
            self._say_duration(trainer, batch_idx + 1 == trainer.num_training_batches)
        if self._progress is None:
            self._say_step(trainer, outputs, batch_idx + 1)
        else:
            task = self._progress.task_ids[0]
            done = trainer.current_epoch * int(trainer.num_training_batches) + batch_idx + 1
            self._progress.update(task, completed=done, epoch=f"{trainer.current_epoch + 1}/{trainer.max_epochs}")
            if not self._progress.tasks[0].fields["metrics"]:
                # Until the first epoch is evaluated, only the loss is shown.
                self._progress.update(task, metrics=_loss_of_step(outputs))

    def _say_step(self, trainer: L.Trainer, outputs: Any, done: int) -> None:
        steps = int(trainer.num_training_batches)
        if not trainer.is_global_zero or done == steps or time.monotonic() - self._said_last < _SILENCE:
            return
        self._said_last = time.monotonic()
        epoch, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        log.info("epoch %d/%d  step %d/%d  %s", epoch, total, done, steps, _loss_of_step(outputs))

    def _say_duration(self, trainer: L.Trainer, ends_epoch: bool) -> None:
        now, step = time.monotonic(), trainer.global_step
        if step - self._first_step == _WARM_UP and not ends_epoch:
            # What is loaded or compiled once is left out.
            self._measured_from = (now, step)
        start, first = self._measured_from
        is_enough = step - self._first_step > _WARM_UP and now - start >= _MEASURED
        if step == first or not (is_enough or ends_epoch):
            return
        self._said_duration = True
        epochs = (trainer.max_epochs or 0) - self._first_epoch
        seconds = (now - start) / (step - first) * int(trainer.num_training_batches) * epochs
        text = f"about {_roughly(seconds)} for {epochs} epoch{'s' * (epochs != 1)}"
        if self._progress is None:
            log.info("%s", text)
        else:
            self._progress.console.print(text)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        text = _describe({name: float(value) for name, value in trainer.callback_metrics.items()})
        if self._progress is not None:
            self._progress.update(self._progress.task_ids[0], metrics=text)
            return
        self._said_last = time.monotonic()
        done, total = trainer.current_epoch + 1, trainer.max_epochs or 0
        passed = time.monotonic() - self._start
        left = passed / (done - self._first_epoch) * (total - done)
        log.info("epoch %d/%d  %s  %s left", done, total, text, _duration(left))

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        # Lightning does not call teardown in this case, and the terminal must be restored.
        self.teardown(trainer, pl_module, "fit")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self._progress is not None:
            self._lines.close()
            self._progress.stop()
            self._progress = None


def _strengths(module: L.LightningModule) -> dict[str, float]:
    """Strengths of the penalties of a network by name."""
    regularizers = getattr(getattr(module, "method", None), "regularizers", [])
    return {name: part.strength for mapping in regularizers for name, part in mapping.items() if part.strength}


def _describe(metrics: dict[str, float]) -> str:
    shown = (
        ("train acc (observed)", ACC_OBSERVED),
        ("val", accuracy(VAL)),
        ("test acc", accuracy(TEST)),
    )
    base = [value for name, value in of_quantity(metrics, BASE_LOSS) if name.group == TRAIN]
    loss = [_loss(metrics[LOSS], base)] if LOSS in metrics else []
    return "  ".join([*loss, *(f"{label} {metrics[name]:.1%}" for label, name in shown if name in metrics)])


def _loss_of_step(outputs: Any) -> str:
    terms = {f"{TRAIN}/{name}": value for name, value in outputs["terms"].items()}
    # Only these are fetched: each may wait for an accelerator.
    return _loss(float(outputs["loss"]), [float(value) for _, value in of_quantity(terms, BASE_LOSS)])


def _loss(loss: float, base: Sequence[float]) -> str:
    """The loss with its parts; without penalties it has none.

    Example:
        >>> _loss(30.7, [1.2, 1.1]), _loss(2.3, [2.3]), _loss(2.3, [])
        ('loss 30.700 (base 2.300 + penalties 28.400)', 'loss 2.300', 'loss 2.300')
    """
    text, penalties = f"loss {loss:.3f}", loss - sum(base)
    if not base or abs(penalties) < 5e-4:
        return text
    return f"{text} (base {sum(base):.3f} + penalties {penalties:.3f})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _roughly(seconds: float) -> str:
    """A duration in words, to about a tenth."""
    if seconds < 90:
        shown, unit = f"{max(1, round(seconds))}", "second"
    elif seconds < 90 * 60:
        shown, unit = f"{round(seconds / 60)}", "minute"
    else:
        shown, unit = f"{seconds / 3600:.1f}", "hour"
    return f"{shown} {unit}{'s' * (shown != '1')}"
