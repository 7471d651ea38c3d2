"""What the steps of a run spend their time and memory on."""

import logging
from pathlib import Path
from typing import Any

import lightning as L
from torch.profiler import ProfilerActivity, profile, schedule

log = logging.getLogger(__name__)

# One step to let the profiler itself warm up.
_WARM_UP = 1
_ROWS = 40


class StepProfile(L.Callback):
    """Profiles some steps of a run: writes the operations that took longest, and a trace, into the folder ``profile`` of the run.

    The trace opens in https://ui.perfetto.dev or ``chrome://tracing``. A run with fewer steps is not profiled, and says so.

    Args:
        steps: Number of steps that are profiled, at least 1.
        after: Number of steps before them, at least 0, so that caches are filled and layouts chosen.

    Raises:
        ValueError: If a value is outside its range.

    Example:
        >>> StepProfile(steps=5, after=2).steps
        5
    """

    def __init__(self, steps: int = 5, after: int = 5) -> None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        if after < 0:
            raise ValueError(f"after must be at least 0, got {after}")
        self.steps, self.after = steps, after
        self._profile: Any = None
        self._is_written = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        on_gpu = pl_module.device.type == "cuda"
        self._profile = profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])],
            schedule=schedule(wait=self.after, warmup=_WARM_UP, active=self.steps, repeat=1),
            on_trace_ready=lambda made: self._write(made, Path(trainer.default_root_dir) / "profile", on_gpu),
            profile_memory=True,
        )
        self._profile.start()

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if self._profile is None:
            return
        self._profile.step()
        if self._is_written:
            self._end()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._profile is not None:
            least = self.after + _WARM_UP + self.steps
            log.warning("no profile: it takes %d steps, this run had %d", least, trainer.global_step)
            self._end()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if self._profile is not None:
            self._end()

    def _end(self) -> None:
        # Stopping may write what there is; a part of the steps is no profile.
        self._is_written = True
        self._profile.stop()
        self._profile = None

    def _write(self, made: Any, folder: Path, on_gpu: bool) -> None:
        if self._is_written:
            return
        self._is_written = True
        folder.mkdir(parents=True, exist_ok=True)
        device = "device" if on_gpu else "cpu"
        table = made.key_averages().table(
            sort_by=f"self_{device}_time_total", row_limit=_ROWS, max_name_column_width=60
        )
        head = f"{self.steps} steps after the first {self.after + _WARM_UP}; operations by their own time on the {device}\n"
        (folder / "operations.txt").write_text(head + table)
        made.export_chrome_trace(str(folder / "trace.json.gz"))
        log.info("profile: %s and trace.json.gz (opens in https://ui.perfetto.dev)", folder / "operations.txt")
