"""Jobs that are forked from a process that has loaded the libraries behave as those that start afresh."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes import FAKE, fake, lines, run

from alasca_pl.sweeps import warm
from alasca_pl.sweeps.folders import JobFolder
from alasca_pl.sweeps.job import Job
from alasca_pl.sweeps.lock import is_held
from alasca_pl.sweeps.process import JobProcess

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def fakes_are_forked(monkeypatch):
    """Fake jobs are taken for runs, and nothing may start one afresh."""
    monkeypatch.setattr(warm, "_TRAINS", ["-I", "-S", str(FAKE)])
    monkeypatch.setattr(warm, "_TEMPLATE", "fake_template")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *filter(None, sys.path)]))
    monkeypatch.setattr(warm, "JobProcess", None)


def on_cpu(seed: int, word: str = "works", **config) -> Job:
    return fake(seed, word, trainer={"accelerator": "cpu", "devices": 1}, **config)


def warmly(sweep: Path, jobs, **settings):
    # As many at once as there are cores, so that each has one thread.
    return run(sweep, jobs, at_once=64, warm=True, **settings)


def of_template(folder: Path) -> list[int]:
    """Processes that have anything to do with forked jobs of a sweep."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            told = (path / "environ").read_bytes().decode(errors="replace")
            words = (path / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if f"SWEEP_TESTED={folder}" in told and "-m\0fake_template" in words:
            found.append(int(path.name))
    return found


def wait_for(condition, seconds: float = 30.0) -> None:
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, "waited in vain"
        time.sleep(0.01)


def test_forked_jobs_end_as_fresh_ones_do(tmp_path):
    words = {0: "works", 1: "raises", 2: "exits", 3: "killed", 4: "hangs", 5: "forks"}
    results = warmly(tmp_path, [on_cpu(seed, word) for seed, word in words.items()], timeout=2.0)
    assert [each.outcome for each in results] == ["finished", "failed", "failed", "killed", "timeout", "finished"]
    assert "loss is NaN in epoch 1 (ended with status 1)" in results[1].reason
    assert "status 0, but its record does not say" in results[2].reason
    assert not any(is_held(each.folder.lock) for each in results)
    assert "ValueError: loss is NaN in epoch 1" in results[1].folder.log.read_text()
    assert results[0].folder.log.read_text().startswith("$ ")
    assert [(each.outcome, each.ran) for each in warmly(tmp_path, [on_cpu(0)])] == [("finished", False)]


def test_a_failed_job_gets_its_lock_again_and_goes_on(tmp_path):
    (result,) = warmly(tmp_path, [on_cpu(0, "stops half-way")], retries=1)
    assert result.outcome == "finished"
    assert lines(tmp_path, "resumed_at") == {f"{result.folder.path.name} {done}": 1 for done in (0, 1)}


@pytest.mark.parametrize(
    "trainer",
    [
        {"accelerator": "gpu"},
        {"accelerator": "cpu", "devices": 2},
        {"accelerator": "auto"},
        {"accelerator": "cpu", "num_nodes": 2},
    ],
)
def test_jobs_of_several_processes_or_on_gpus_start_afresh(tmp_path, monkeypatch, trainer):
    monkeypatch.setattr(warm, "JobProcess", JobProcess)
    monkeypatch.setattr(warm, "_TEMPLATE", "nowhere")
    started = []
    monkeypatch.setattr(warm.WarmStart, "_begin", lambda *args: started.append(args))
    (result,) = warmly(tmp_path, [fake(0, trainer=trainer)])
    assert result.outcome == "finished" and not started


def test_jobs_start_afresh_if_the_template_does_not_serve(tmp_path, monkeypatch):
    """As it does when a library has begun threads."""
    monkeypatch.setattr(warm, "JobProcess", JobProcess)
    monkeypatch.setattr(warm, "_TEMPLATE", "nowhere")
    results = warmly(tmp_path, [on_cpu(seed) for seed in range(3)])
    assert [each.outcome for each in results] == ["finished"] * 3
    assert set(lines(tmp_path, "starts").values()) == {1}


CODE = (
    "import sys, signal; from test_warm import *\n"
    "warm._TRAINS = ['-I', '-S', str(FAKE)]; warm._TEMPLATE = {template!r}\n"
    "from alasca_pl.sweeps.view import make_view\n"
    "warmly(Path({folder!r}), [on_cpu(seed, seconds=60.0) for seed in range(2)], view=make_view('lines'))\n"
)


def sweep(folder: Path, monkeypatch, template: str = "fake_template") -> subprocess.Popen[str]:
    monkeypatch.setenv("SWEEP_TESTED", str(folder))
    return subprocess.Popen(
        [sys.executable, "-c", CODE.format(folder=str(folder), template=template)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip


def test_the_jobs_of_a_killed_sweep_end_and_their_locks_are_free(tmp_path, monkeypatch):
    parent = sweep(tmp_path, monkeypatch)
    wait_for(lambda: len(lines(tmp_path, "starts")) == 2)
    held = list(tmp_path.glob("*/job.lock"))
    # The template, and two supervisors with a job each.
    assert len(of_template(tmp_path)) == 5 and all(is_held(path) for path in held)
    parent.kill()
    parent.communicate()
    wait_for(lambda: not of_template(tmp_path) and not any(is_held(path) for path in held), 10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_jobs(tmp_path, monkeypatch, number):
    parent = sweep(tmp_path, monkeypatch)
    wait_for(lambda: len(lines(tmp_path, "starts")) == 2)
    parent.send_signal(number)
    out, _ = parent.communicate(timeout=30)
    assert "stopping" in out and not of_template(tmp_path)
    assert lines(tmp_path, "signals") == {str(int(number)): 2}
    attempts = [each for path in tmp_path.glob("*/job.json") for each in JobFolder(path.parent).attempts()]
    assert [each["outcome"] for each in attempts] == ["interrupted"] * 2


def test_a_signal_while_libraries_load_ends_the_sweep_at_once(tmp_path, monkeypatch):
    (tmp_path / "loading.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]]))
    parent = sweep(tmp_path, monkeypatch, "loading")
    wait_for(lambda: len(list(tmp_path.glob("*/job.json"))) == 2)
    begin = time.monotonic()
    parent.send_signal(signal.SIGINT)
    out, _ = parent.communicate(timeout=30)
    assert time.monotonic() - begin < 5 and "stopping" in out
    assert not lines(tmp_path, "starts")
    attempts = [each for path in tmp_path.glob("*/job.json") for each in JobFolder(path.parent).attempts()]
    assert [each["outcome"] for each in attempts] == ["interrupted"] * 2


def test_jobs_of_a_template_that_is_killed_count_as_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(warm, "JobProcess", JobProcess)
    real = warm.WarmStart.listen

    def kill_template(self):
        if self._template is not None and len(lines(tmp_path, "starts")) == 2:
            self._template.kill()
        real(self)

    monkeypatch.setattr(warm.WarmStart, "listen", kill_template)
    results = warmly(tmp_path, [on_cpu(seed, seconds=5.0) for seed in range(2)])
    assert [each.outcome for each in results] == ["killed"] * 2
    assert not any(is_held(each.folder.lock) for each in results)
