"""The real command, killed again and again at random moments, ends with the same bits as if left alone."""

import csv
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import lightning as L
import pytest

from running import TINY, assert_same_bits, checkpoint, timed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200), timed]

TESTS = Path(__file__).parents[1]
LAUNCHERS = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
SLOW = "+callbacks.slow={_target_: test_storm.Slow, seconds: 0.04}"


class Slow(L.Callback):
    """Makes steps long enough to be hit; changes nothing else."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        time.sleep(self.seconds)


def _start(folder, *overrides):
    environment = {name: value for name, value in os.environ.items() if name not in LAUNCHERS}
    path = [str(TESTS), str(TESTS / "reliability"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(path)}
    command = [sys.executable, "-m", "alasca_pl.cli", *TINY, "epochs=10", *overrides, f"hydra.run.dir={folder}"]
    # A session of its own, so that a kill reaches every process of the run.
    return subprocess.Popen(
        command,
        env=environment,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # Shells let what they start in the background ignore Ctrl-C, and their children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _finish(process):
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output


def _alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("overrides", "kills"),
    [
        (("checkpoint.every_n_steps=7",), 5),
        (("checkpoint.every_n_steps=7", "trainer=ddp", "trainer.accelerator=cpu"), 3),
    ],
    ids=["one process", "two processes"],
)
def test_storm(tmp_path, overrides, kills):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _finish(_start(whole, *overrides))
    rng = random.Random(7)
    last = killed / "checkpoints" / "last.ckpt"
    resumed_at = []
    for _ in range(kills):
        resume = (f"ckpt_path={last}",) if last.is_file() else ()
        before = last.stat().st_mtime_ns if last.is_file() else 0
        process = _start(killed, *overrides, SLOW, *resume)
        deadline = time.monotonic() + 120
        # Not before it has come further than last time, or nothing but start-up would be hit.
        while not last.is_file() or last.stat().st_mtime_ns == before:
            assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0]
            time.sleep(0.02)
        time.sleep(rng.uniform(0.0, 0.6))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        resumed_at.append(checkpoint(killed)["global_step"])
    assert len(set(resumed_at)) > kills / 2, f"the kills hit the same step again and again: {resumed_at}"
    # The slow callback is not of this package, and a resume repeats the command that the checkpoint keeps.
    _finish(_start(killed, *overrides, f"ckpt_path={last}", "trust=true"))
    mine, theirs = checkpoint(killed), checkpoint(whole)
    for part in ("epoch", "global_step", "state_dict", "optimizer_states"):
        assert_same_bits(mine[part], theirs[part])
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    with (killed / "metrics.csv").open() as file:
        assert [int(row["epoch"]) for row in csv.DictReader(file)] == list(range(10))


@pytest.mark.parametrize(("told", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_told_to_stop_says_how_it_goes_on(tmp_path, told, status):
    folder = tmp_path / "run"
    process = _start(folder, SLOW)
    last = folder / "checkpoints" / "last.ckpt"
    while not last.is_file():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    process.send_signal(told)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    assert f"interrupted; go on with alasca-train ckpt_path={last} trust=true" in output
    assert '"status": "interrupted"' in (folder / "record.json").read_text()
    _finish(_start(folder, f"ckpt_path={last}", "trust=true"))
    assert '"status": "finished"' in (folder / "record.json").read_text()


@pytest.mark.parametrize(("told", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("everyone", [False, True], ids=["rank 0 alone", "all ranks"])
def test_two_processes_that_are_told_to_stop_end_as_one(tmp_path, everyone, told, status):
    """Told alone, rank 0 was killed by Lightning, which saw the other one die."""
    folder = tmp_path / 'it\'s a "run" \\'
    process = _start(folder, "trainer=ddp", "trainer.accelerator=cpu", "epochs=200", SLOW)
    while not (folder / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    if everyone:
        os.killpg(process.pid, told)
    else:
        process.send_signal(told)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == status, output
    assert "interrupted; go on with alasca-train" in output and "Traceback" not in output
    assert not _alive(process.pid)
    assert '"status": "interrupted"' in (folder / "record.json").read_text()


@pytest.mark.parametrize("victim", ["first", "second"])
def test_a_dead_rank_ends_the_run(tmp_path, victim):
    folder = tmp_path / "run"
    process = _start(folder, "trainer=ddp", "trainer.accelerator=cpu", "epochs=200", SLOW)
    while not (folder / "checkpoints" / "last.ckpt").is_file():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    if victim == "first":
        process.kill()
    else:
        children = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True)
        os.kill(int(children.stdout.split()[0]), signal.SIGKILL)
    process.wait(60)
    process.stdout.close()
    assert process.returncode != 0
    deadline = time.monotonic() + 30
    while _alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.2)
    left = _alive(process.pid)
    if left:
        os.killpg(process.pid, signal.SIGKILL)
    assert not left, "a process of the run is still alive"
    assert '"status": "finished"' not in (folder / "record.json").read_text()
