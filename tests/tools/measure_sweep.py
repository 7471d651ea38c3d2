"""Measure what a sweep costs beside the training of its jobs.

``python tests/tools/measure_sweep.py [JOBS] [OVERRIDE...]`` runs a sweep of small runs in a temporary folder, then the same line
again. Overhead per job: the time of all places together, minus the time that the records call training, over the number of
jobs. CPU seconds are of the sweep with all its processes; unlike wall seconds they do not depend on what else the machine does.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LINE = (
    "data.max_train_samples=64", "model.backbone.width=4", "alasca=none", "callbacks=quiet", "epochs=2",
    "hydra.launcher.view=lines", "hydra.launcher.jobs=2",
)  # fmt: skip


def measured(folder: Path, line: list[str]) -> tuple[float, float]:
    """Wall and CPU seconds of a line that is typed in a folder."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with (folder / "out").open("a") as out:
        subprocess.run(
            [sys.executable, "-P", "-m", "alasca_pl.cli", *line], cwd=folder, stdout=out, stderr=out, check=True
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - begin, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(jobs: int, overrides: list[str]) -> None:
    """Run the sweep twice and print the figures."""
    line = ["sweep=a", *LINE, f"seed=range({jobs})", *overrides]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wall, cpu = measured(folder, line)
        records = [json.loads(path.read_text()) for path in folder.glob("sweeps/a/*/record.json")]
        assert len(records) == jobs and all(record["status"] == "finished" for record in records)
        training = sum(record["duration_seconds"] for record in records)
        wall_again, cpu_again = measured(folder, line)
    print(f"{jobs} jobs, 2 at once, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}: {' '.join(overrides)}")
    print(f"wall {wall:.1f} s, training {training:.1f} s, overhead per job {(2 * wall - training) / jobs:.2f} s")
    print(f"CPU {cpu:.1f} s, per job {cpu / jobs:.2f} s")
    print(f"the finished sweep again: wall {wall_again:.2f} s, CPU {cpu_again:.2f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 36, sys.argv[2:])
