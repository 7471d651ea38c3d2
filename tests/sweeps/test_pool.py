"""Jobs run once each, whatever happens to them or to the sweep."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import FAKE, fake, lines, run, table

from alasca_pl.core.errors import UserError
from alasca_pl.sweeps.endings import where_interrupted
from alasca_pl.sweeps.folders import JobFolder
from alasca_pl.sweeps.lock import JobLock, is_held
from alasca_pl.sweeps.pool import Settings
from running import FULL_STORMS, timed

pytestmark = timed

SWEEP = Path(__file__).with_name("fakes.py")


def outcomes(results) -> dict[int, str]:
    return {result.job.config["seed"]: result.outcome for result in results}


def sweep_process(folder: Path, number: int, seconds: float, at_once: int = 3) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(SWEEP.parent), str(SWEEP.parents[1]), *sys.path])
    command = [sys.executable, str(SWEEP), str(folder), str(number), str(seconds), str(at_once)]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for(condition, seconds: float = 30.0) -> None:
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, "waited in vain"
        time.sleep(0.01)


def fakes_alive(folder: Path) -> list[int]:
    """Processes of fake jobs of a sweep."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if str(FAKE) in words and any(word.startswith(str(folder)) for word in words):
            found.append(int(path.parent.name))
    return found


def test_of_twelve_jobs_four_fail_and_the_second_call_runs_exactly_those(tmp_path):
    words = {3: "raises", 5: "exits", 8: "killed", 10: "hangs"}
    jobs = [fake(seed, words.get(seed, "works")) for seed in range(12)]
    first = run(tmp_path, jobs, timeout=1.0)
    assert outcomes(first) == dict.fromkeys(range(12), "finished") | {
        3: "failed",
        5: "failed",
        8: "killed",
        10: "timeout",
    }
    reasons = {result.job.config["seed"]: result.reason for result in first if result.outcome != "finished"}
    assert "loss is NaN in epoch 1" in reasons[3] and "status 1" in reasons[3]
    assert "does not say that it has finished" in reasons[5]
    assert "SIGKILL" in reasons[8]
    assert "1 s" in reasons[10]
    started = lines(tmp_path, "starts")
    again = run(tmp_path, jobs, timeout=1.0)
    newly = lines(tmp_path, "starts") - started
    assert newly == {result.folder.path.name: 1 for result in first if result.outcome != "finished"}
    assert [result.ran for result in again] == [result.outcome != "finished" for result in first]
    assert not fakes_alive(tmp_path)


def test_a_job_that_failed_too_often_is_given_up_until_it_is_forgiven(tmp_path):
    jobs = [fake(0, "raises")]
    for _ in range(2):
        assert outcomes(run(tmp_path, jobs, limit=2)) == {0: "failed"}
    (result,) = run(tmp_path, jobs, limit=2)
    assert (result.outcome, result.ran) == ("given up", False)
    assert "NaN" in result.reason
    assert sum(lines(tmp_path, "starts").values()) == 2
    assert result.folder.forgive()
    assert outcomes(run(tmp_path, jobs, limit=2)) == {0: "failed"}


def test_retries_try_at_once_and_go_on_from_the_checkpoint(tmp_path):
    (result,) = run(tmp_path, [fake(0, "stops half-way")], retries=1)
    assert result.outcome == "finished"
    name = result.folder.path.name
    assert lines(tmp_path, "resumed_at") == {f"{name} 0": 1, f"{name} 1": 1}
    assert [attempt["outcome"] for attempt in result.folder.attempts()] == ["failed", "finished"]


def test_a_wider_grid_adds_what_is_missing(tmp_path):
    run(tmp_path, [fake(seed) for seed in range(2)])
    assert outcomes(run(tmp_path, [fake(seed) for seed in range(4)])) == dict.fromkeys(range(4), "finished")
    assert sorted(lines(tmp_path, "starts").values()) == [1] * 4


def test_what_an_attempt_left_without_a_checkpoint_is_cleared(tmp_path):
    (result,) = run(tmp_path, [fake(0, "raises")])
    (result.folder.path / "noise.npz").write_text("half")
    (again,) = run(tmp_path, [fake(0, "raises")])
    # Otherwise the job would complain of the record that lies there.
    assert "NaN" in again.reason
    assert not (again.folder.path / "noise.npz").exists()


def test_memory_that_runs_out_leads_to_fewer_jobs_at_once(tmp_path):
    jobs = [fake(seed, "memory") for seed in range(2)]
    results = run(tmp_path, jobs, at_once=2, on_out_of_memory="fewer")
    assert outcomes(results) == {0: "finished", 1: "killed"} or outcomes(results) == {0: "killed", 1: "finished"}
    assert sum(lines(tmp_path, "starts").values()) == 3


def test_jobs_run_at_once_as_many_as_there_are_places(tmp_path):
    jobs = [fake(seed, seconds=0.6) for seed in range(4)]
    most = 0

    class Watching:
        def __getattr__(self, name):
            return lambda *args, **kwargs: None

        def show(self, running, waiting, elsewhere):
            nonlocal most
            most = max(most, len(running))

    run(tmp_path, jobs, at_once=2, view=Watching())
    assert most == 2


def test_a_job_has_its_own_environment(tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_NTASKS", "1")
    monkeypatch.setenv("PL_GLOBAL_SEED", "3")
    (result,) = run(tmp_path, [fake(0, "environment")], at_once=64)
    text = (result.folder.path / "environment.json").read_text()
    assert '"OMP_NUM_THREADS": "1"' in text
    assert "SLURM_" not in text and "PL_GLOBAL_SEED" not in text


@pytest.mark.parametrize("kills", [2, pytest.param(20 if FULL_STORMS else 8, marks=pytest.mark.slow)])
def test_a_sweep_whose_parent_is_killed_runs_each_job_once_in_the_end(tmp_path, kills):
    number, seconds = 4 * kills, 0.5
    rng, begin = random.Random(7), time.monotonic()
    for attempt in range(kills):
        before = sum(lines(tmp_path / "killed", "starts").values())
        parent = sweep_process(tmp_path / "killed", number, seconds)
        if attempt % 3 != 1:
            # Else the sweep may be hit before its first job starts.
            wait_for(lambda before=before: sum(lines(tmp_path / "killed", "starts").values()) > before)
        time.sleep(rng.uniform(0.0, 0.6))
        parent.kill()
        parent.communicate()
    last = sweep_process(tmp_path / "killed", number, seconds)
    out, _ = last.communicate(timeout=120)
    assert last.returncode == 0, out
    wall = time.monotonic() - begin
    jobs = [fake(seed, seconds=seconds) for seed in range(number)]
    ends = lines(tmp_path / "killed", "ends")
    assert set(ends.values()) == {1} and len(ends) == number
    # Some jobs were cut, and went on from where they were.
    assert sum(lines(tmp_path / "killed", "starts").values()) > number
    begin = time.monotonic()
    sweep_process(tmp_path / "whole", number, seconds).communicate(timeout=120)
    whole = time.monotonic() - begin
    assert table(tmp_path / "killed", jobs) == table(tmp_path / "whole", jobs)
    started = sum(lines(tmp_path / "killed", "starts").values())
    print(f"{kills} kills, {number} jobs, {started} starts: {wall:.1f} s, left alone {whole:.1f} s")


def test_the_jobs_of_a_killed_sweep_end_and_their_locks_are_free(tmp_path):
    parent = sweep_process(tmp_path, 2, 60)
    wait_for(lambda: len(lines(tmp_path, "starts")) == 2)
    assert len(fakes_alive(tmp_path)) >= 2
    held = list(tmp_path.glob("*/job.lock"))
    assert len(held) == 2 and all(is_held(path) for path in held)
    parent.kill()
    parent.communicate()
    wait_for(lambda: not fakes_alive(tmp_path), 10)
    wait_for(lambda: not any(is_held(path) for path in held), 10)


def test_what_a_job_leaves_running_neither_keeps_its_lock_nor_lives_on(tmp_path):
    (result,) = run(tmp_path, [fake(0, "forks")])
    assert result.outcome == "finished"
    assert not is_held(result.folder.lock)


@pytest.mark.parametrize("times", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_the_same_sweep_twice_at_once_runs_each_job_once(tmp_path, times):
    for attempt in range(times):
        folder = tmp_path / str(attempt)
        both = [sweep_process(folder, 8, 0.3) for _ in range(2)]
        texts = [each.communicate(timeout=120)[0] for each in both]
        assert [each.returncode for each in both] == [0, 0], texts
        assert set(lines(folder, "starts").values()) == {1}
        assert len(lines(folder, "ends")) == 8


def test_a_job_that_somebody_else_has_is_waited_for_and_taken_over(tmp_path):
    job = fake(0)
    folder = JobFolder(tmp_path / job.folder_name)
    folder.path.mkdir()
    lock = JobLock(folder.lock)
    assert lock.acquire()
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import time, sys; sys.path[:0] = {[str(SWEEP.parent), *sys.path]!r}\n"
         f"from fakes import *; r = run(Path({str(tmp_path)!r}), [fake(0)]); print(r[0].outcome)"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    time.sleep(1.5)
    assert parent.poll() is None and not lines(tmp_path, "starts")
    lock.release()
    assert parent.communicate(timeout=30)[0].strip() == "finished"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "interrupted")])
def test_a_signal_stops_starting_and_reaches_the_jobs(tmp_path, number, status):
    parent = sweep_process(tmp_path, 6, 60, at_once=2)
    wait_for(lambda: len(lines(tmp_path, "starts")) == 2)
    parent.send_signal(number)
    out, _ = parent.communicate(timeout=30)
    assert parent.returncode != 0
    assert "stopping" in out
    # Told apart from those that never began.
    assert out.count("] interrupted: ") == 2 and "not run: " not in out
    assert len(lines(tmp_path, "starts")) == 2
    assert lines(tmp_path, "signals") == {str(int(number)): 2}
    assert not fakes_alive(tmp_path)
    attempts = [attempt for path in tmp_path.glob("*/job.json") for attempt in JobFolder(path.parent).attempts()]
    assert [attempt["outcome"] for attempt in attempts] == [status] * 2


def test_an_interrupted_job_says_where_and_what_the_same_line_does(tmp_path):
    job, folder = fake(0, epochs=3), JobFolder(tmp_path)
    assert where_interrupted(job, folder) == (
        "in epoch 1 of 3, before its first checkpoint; the same line begins it again"
    )
    folder.run.metrics.write_text("epoch,val/acc\n0,0.5\n1,0.6\n")
    folder.run.checkpoints.mkdir()
    folder.run.last.touch()
    assert where_interrupted(job, folder) == "in epoch 3 of 3; the same line goes on from its checkpoint"
    assert where_interrupted(fake(0), folder).startswith("after 2 epochs;")


@pytest.mark.parametrize(
    "wrong", [{"timeout": -1}, {"limit": 0}, {"retries": "x"}, {"on_out_of_memory": "less"}, {"grace": True}]
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Settings(**wrong)
