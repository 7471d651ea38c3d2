"""What the evidence on labels costs in a training step. A tool, not a test.

    python tests/tools/evidence_cost.py [OVERRIDE...]        # e.g. experiment=audit_small scale=small alasca=none data.root=DIR

One run in which the callback works in every other block of steps, A B A B ..., so that both kinds meet the same machine. The
CPU time from one step to the next is compared, as medians over the blocks; the mean within the callback is printed, too.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L

sys.path.insert(0, str(Path(__file__).parents[1]))

from hydra import initialize_config_dir
from omegaconf import OmegaConf

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.composition import compose_config
from alasca_pl.runs import training_run as runs
from alasca_pl.training.callbacks.label_evidence import LabelEvidence

BLOCK = 10


class Turns(L.Callback):
    """Lets a callback work in every other block of steps, and takes the time."""

    def __init__(self, evidence: LabelEvidence) -> None:
        self.real: Callable[..., None] = evidence.on_train_batch_end
        self.blocks: dict[bool, list[float]] = {True: [], False: []}
        self.within: list[float] = []
        self.begin = 0.0
        evidence.on_train_batch_end = self.maybe  # type: ignore[method-assign]

    def is_on(self, batch_idx: int) -> bool:
        return batch_idx // BLOCK % 2 == 0

    def maybe(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.is_on(batch_idx):
            begin = time.process_time()
            self.real(trainer, module, outputs, batch, batch_idx)
            self.within.append(time.process_time() - begin)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx % BLOCK == 0:
            now = time.process_time()
            if batch_idx:
                self.blocks[self.is_on(batch_idx - 1)].append((now - self.begin) / BLOCK)
            self.begin = now


def main(overrides: list[str]) -> None:
    """Train and print."""
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = OmegaConf.to_container(compose_config("train", [*overrides, "callbacks=quiet"]).config, resolve=True)
    with tempfile.TemporaryDirectory() as folder:
        run = runs.prepare(config, Path(folder) / "run", {})  # type: ignore[arg-type]
        (evidence,) = [each for each in run.trainer.callbacks if isinstance(each, LabelEvidence)]
        turns = Turns(evidence)
        run.trainer.callbacks.insert(0, turns)
        runs.train(run)
    on, off = (statistics.median(turns.blocks[kind]) for kind in (True, False))
    # The mean, because most calls leave the work to a later one.
    within = statistics.mean(turns.within)
    print(f"blocks: {len(turns.blocks[True])} with, {len(turns.blocks[False])} without, {BLOCK} steps each")
    print(f"CPU time of a step: {1e3 * on:.3f} ms with, {1e3 * off:.3f} ms without: {100 * (on / off - 1):+.2f} %")
    print(f"CPU time within the callback: {1e3 * within:.3f} ms, {100 * within / off:.2f} % of a step")


if __name__ == "__main__":
    main(sys.argv[1:])
