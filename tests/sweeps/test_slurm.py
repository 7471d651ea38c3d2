"""Sweeps on a cluster, with submitit's executor for this machine in its place."""

import sys
import time
from pathlib import Path

import pytest
from fakes import command, fake, lines

from alasca_pl.core.errors import UserError
from alasca_pl.sweeps import slurm
from alasca_pl.sweeps.job import Job
from alasca_pl.sweeps.plan import place_jobs
from alasca_pl.sweeps.pool import Settings
from alasca_pl.sweeps.process import job_environment
from alasca_pl.sweeps.slurm import ClusterJob, run_on_cluster
from alasca_pl.sweeps.view import make_view
from running import timed

pytestmark = timed


def run(sweep: Path, jobs: list[Job], **settings):
    placed = place_jobs(sweep, jobs)
    settings = Settings(**{"grace": 0.5, **settings})
    return run_on_cluster(
        placed, command, settings, make_view("none"), sweep / ".submitit", "local", {"timeout_min": 5}
    )


@pytest.mark.slow
def test_jobs_are_submitted_once_and_failures_named(tmp_path):
    pytest.importorskip("submitit")
    jobs = [fake(0), fake(1, "raises"), fake(2, "killed")]
    first = run(tmp_path, jobs)
    assert [result.outcome for result in first] == ["finished", "failed", "killed"]
    assert "loss is NaN" in first[1].reason
    assert first[0].value == pytest.approx(0.7)
    started = lines(tmp_path, "starts")
    again = run(tmp_path, jobs)
    assert [result.ran for result in again] == [False, True, True]
    newly = lines(tmp_path, "starts") - started
    assert newly == {result.folder.path.name: 1 for result in first[1:]}


def cluster_job(tmp_path: Path, job: Job) -> ClusterJob:
    ((_, folder),) = place_jobs(tmp_path, [job])
    words = command(job, folder, None)
    return ClusterJob(job, folder, words, words, Settings(grace=5), 1, Path.cwd())


def test_a_job_that_loses_its_machine_is_queued_again_and_goes_on(tmp_path, monkeypatch):
    submitit_helpers = pytest.importorskip("submitit.helpers")
    task = cluster_job(tmp_path, fake(0, seconds=30.0))
    # The signal arrives while the job is polled for, when the first epoch is done.
    real, asked = time.sleep, []

    def lose(seconds: float) -> None:
        real(seconds)
        if not asked and task._process is not None and time.monotonic() - task._process.started > 1.0:
            (task.folder.run.checkpoints).mkdir(exist_ok=True)
            task.folder.run.last.write_text("2")
            asked.append(task.checkpoint())

    monkeypatch.setattr(slurm.time, "sleep", lose)
    task()
    assert isinstance(asked[0], submitit_helpers.DelayedSubmission)
    assert task.folder.attempts()[0]["outcome"] == "interrupted"
    assert task.folder.status() == "half-done"
    monkeypatch.undo()
    again = asked[0].function
    again.command = again.resume = [*again.resume[:-1], "0.3"]
    assert again() == "finished"
    assert lines(tmp_path, "resumed_at")[f"{task.folder.path.name} 2"] == 1


def test_a_job_that_another_allocation_has_is_left_alone(tmp_path):
    from alasca_pl.sweeps.lock import JobLock

    task = cluster_job(tmp_path, fake(0))
    task.folder.path.mkdir()
    lock = JobLock(task.folder.lock)
    assert lock.acquire()
    assert task() == "elsewhere"
    assert not lines(tmp_path, "starts")
    lock.release()
    assert task() == "finished"
    assert task() == "finished"
    assert sum(lines(tmp_path, "starts").values()) == 1


def test_without_submitit_its_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(UserError, match=r"pip install .alasca-pl\[slurm\]"):
        run(tmp_path, [fake(0)])


def test_slurms_variables_reach_only_jobs_whose_ranks_slurm_starts():
    given = {"SLURM_NTASKS": "1", "SLURM_PROCID": "0", "PATH": "/bin", "LOCAL_RANK": "1"}
    assert job_environment(None, None, given) == {"PATH": "/bin"}
    assert job_environment(None, None, given, slurm=True).keys() == {"SLURM_NTASKS", "SLURM_PROCID", "PATH"}


def test_jobs_of_several_processes_become_tasks_of_slurm():
    parameters = slurm._parameters("slurm", {"timeout_min": 5, "slurm_partition": None}, 2, 4, True)
    assert parameters == {"timeout_min": 5, "gpus_per_node": 4, "nodes": 2, "tasks_per_node": 4}
    assert slurm._parameters("slurm", {"timeout_min": 5}, 1, 1, False) == {"timeout_min": 5}


def test_a_job_ended_early_keeps_its_books_once(tmp_path):
    task = cluster_job(tmp_path, fake(0, "raises"))
    assert task() == "failed"
    assert [attempt["outcome"] for attempt in task.folder.attempts()] == ["failed"]
