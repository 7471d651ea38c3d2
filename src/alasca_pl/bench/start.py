"""How long a command takes to answer, and to take its first steps."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence

from alasca_pl.bench.clock import Duration, now, since
from alasca_pl.core.errors import UserError
from alasca_pl.core.overrides import quoted


class Start:
    """A case: a Python process from its start to its end.

    Args:
        name: What the table calls it.
        arguments: Of the interpreter.
        trains: Whether it is a run, which gets a folder that is removed afterwards.
    """

    def __init__(self, name: str, arguments: Sequence[str], trains: bool = False) -> None:
        self.name = name
        self.images = 0
        self.memory: int | None = None
        self.flops: int | None = None
        self._arguments, self._trains = list(arguments), trains

    def measure(self) -> Duration:
        """Run the process and return its time.

        Raises:
            UserError: If it fails; the message is its own last line.
        """
        with tempfile.TemporaryDirectory() as folder:
            place = [f"hydra.run.dir={quoted(f'{folder}/run')}"] if self._trains else []
            begin = now()
            done = subprocess.run([sys.executable, *self._arguments, *place], capture_output=True, text=True)
            duration = since(begin)
        if done.returncode:
            lines = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
            raise UserError(f"{self.name} ended with status {done.returncode}: {lines[-1]}")
        return duration


def starts(words: Sequence[str]) -> list[Start]:
    """Cases of a start: the libraries alone, the help, and a run of one step.

    Args:
        words: Options of ``alasca-train``.
    """
    command = ["-P", "-m", "alasca_pl.cli"]
    one_step = ["epochs=1", "trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1"]
    return [
        Start("import torch", ["-c", "import torch"]),
        Start("alasca-train --help", [*command, "--help"]),
        Start("alasca-train, one step", [*command, *words, *one_step, "callbacks=quiet"], trains=True),
    ]
