"""Which folder belongs to which job, and what sweeps hand on."""

import json
import random
import sys
from pathlib import Path

import pytest
from fakes import command, fake, lines, run

from alasca_pl.core.checksum import sealed, unsealed
from alasca_pl.core.errors import UserError
from alasca_pl.sweeps import overview, transfer
from alasca_pl.sweeps.capacity import Capacity, visible_gpus
from alasca_pl.sweeps.folders import JobFolder, check_name, is_folder_name, job_folders, sweep_folder
from alasca_pl.sweeps.job import Job
from alasca_pl.sweeps.plan import differences, place_jobs, without_repeats
from alasca_pl.sweeps.pool import Settings, run_jobs
from alasca_pl.sweeps.view import make_view


@pytest.mark.parametrize(
    "word",
    [
        'a"b',
        "a'b",
        "a=b",
        "a,b",
        "two words",
        "x" * 300,
        "größe/Ω",
        "../../up",
        "$(touch x)",
        "${seed}",
        "-rf",
        "",
        "\n",
    ],
)
def test_names_of_folders_are_safe_whatever_is_chosen(tmp_path, word):
    job = Job({"seed": 1, "noise": {"rate": word}}, choices={"method": word, "alasca": "none", "noise": "symmetric"})
    assert is_folder_name(job.folder_name)
    assert len(job.folder_name.encode()) < 100
    (tmp_path / job.folder_name).mkdir()
    assert not set(job.folder_name) & set("\"'=, /$\\~{}")


def test_a_folder_is_named_after_what_one_looks_for():
    job = Job({"seed": 3, "noise": {"rate": 0.4}}, choices={"method": "elr", "alasca": "paper", "noise": "symmetric"})
    assert job.folder_name == f"elr_paper_symmetric0.4_seed3-{job.digest}"


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "a b", "a,b", "x=y", "-m"])
def test_names_of_sweeps_are_checked(name):
    with pytest.raises(UserError, match="sweep"):
        check_name(name)


def test_a_job_named_twice_is_one_job(tmp_path):
    assert len(without_repeats([fake(0), fake(0), fake(1)])) == 2


def test_the_place_of_a_job_does_not_depend_on_order_or_neighbours(tmp_path):
    jobs = [fake(seed) for seed in range(6)]
    expected = {job.digest: folder.path for job, folder in place_jobs(tmp_path, jobs)}
    for seed in range(3):
        random.Random(seed).shuffle(jobs)
        assert {job.digest: folder.path for job, folder in place_jobs(tmp_path, jobs)} == expected
        assert place_jobs(tmp_path, jobs[:1])[0][1].path == expected[jobs[0].digest]


def test_a_finished_job_is_found_after_an_option_was_added(tmp_path):
    run(tmp_path, [fake(0)])
    started = lines(tmp_path, "starts")
    asked = []

    def recompose(overrides):
        asked.append(list(overrides))
        return {**fake(0).config, "new": 0}

    for _ in range(2):
        ((_, folder),) = place_jobs(tmp_path, [fake(0, new=0)], recompose)
        assert folder.is_finished()
    # The second time its new digest is known.
    assert asked == [["seed=0", "+word=works"]]
    ((_, other),) = place_jobs(tmp_path, [fake(0, new=1)], recompose)
    assert not other.is_finished()
    run(tmp_path, [fake(0, new=0)])
    assert lines(tmp_path, "starts") == started


def test_a_half_done_job_goes_on_after_an_option_was_added(tmp_path):
    run(tmp_path, [fake(0, "stops half-way")])
    wider = fake(0, "stops half-way", new=0)
    recompose = lambda overrides: {**fake(0, "stops half-way").config, "new": 0}  # noqa: E731
    ((_, folder),) = placed = place_jobs(tmp_path, [wider], recompose)
    (result,) = run_jobs(placed, command, Capacity(1), Settings(), make_view("none"))
    assert result.outcome == "finished"
    assert lines(tmp_path, "resumed_at") == {f"{folder.path.name} {done}": 1 for done in (0, 1)}
    # From then on it is known by both digests, also where nobody composes.
    assert [place_jobs(tmp_path, [job])[0][1] for job in (wider, fake(0, "stops half-way"))] == [folder] * 2


def test_overrides_that_no_longer_compose_match_nothing(tmp_path):
    run(tmp_path, [fake(0)])
    ((_, folder),) = place_jobs(tmp_path, [fake(0, new=0)], lambda overrides: None)
    assert not folder.is_finished()


def test_two_files_of_one_name_are_told_apart(tmp_path):
    for part in ("a", "b"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "own.npz").touch()
    one, other = (Job({"data": {"path": str(tmp_path / part / "own.npz"), "_paths_": ["path"]}}) for part in ("a", "b"))
    assert one.digest == other.digest
    with pytest.raises(UserError, match=r"data\.path.*own\.npz"):
        without_repeats([one, other])
    # Data that have moved are the same data.
    (tmp_path / "a" / "own.npz").unlink()
    without_repeats([one, other])


def test_records_of_two_sweeps_are_merged_into_a_third(tmp_path):
    run(tmp_path / "one", [fake(0), fake(1)])
    run(tmp_path / "two", [fake(1), fake(2), fake(3, "raises")])
    assert transfer.export_records(tmp_path / "one", tmp_path / "one.json") == 2
    assert transfer.export_records(tmp_path / "two", tmp_path / "two.json") == 2
    third = tmp_path / "three"
    assert transfer.import_records(third, tmp_path / "one.json") == (2, 0)
    assert transfer.import_records(third, tmp_path / "two.json") == (1, 1)
    results = run(third, [fake(seed) for seed in range(5)])
    assert [result.outcome for result in results] == ["finished"] * 5
    assert [result.ran for result in results] == [False, False, False, True, True]
    assert [result.value for result in results] == [pytest.approx(0.7)] * 5
    assert sum(lines(third, "starts").values()) == 2
    with pytest.raises(UserError, match="exists"):
        transfer.export_records(tmp_path / "one", tmp_path / "one.json")


def test_records_leave_without_the_paths_of_their_machine(tmp_path):
    data = {"data": {"root": str(tmp_path / "my images"), "num_samples": 9, "_paths_": ["root"]}}
    run(tmp_path / "one", [fake(0, **data)])
    transfer.export_records(tmp_path / "one", tmp_path / "one.json")
    text = (tmp_path / "one.json").read_text()
    assert str(tmp_path) not in text and "my images" in text
    assert sys.executable not in text
    transfer.import_records(tmp_path / "two", tmp_path / "one.json")
    (result,) = run(tmp_path / "two", [fake(0, **data)])
    assert (result.outcome, result.ran) == ("finished", False)


def test_paths_that_only_the_record_has_in_full_do_not_leave_either(tmp_path):
    run(tmp_path / "one", [fake(0)])
    (record,) = (tmp_path / "one").glob("*/record.json")
    content = unsealed(json.loads(record.read_text()))
    content["config"] = {"data": {"path": "/home/somebody/own.npz", "_paths_": ["path"]}}
    record.write_text(json.dumps(sealed(content)))
    transfer.export_records(tmp_path / "one", tmp_path / "one.json")
    text = (tmp_path / "one.json").read_text()
    assert "somebody" not in text and "own.npz" in text


@pytest.mark.parametrize(
    "change",
    [
        {"folder": "../../outside-0123456789ab"},
        {"folder": "/tmp/outside-0123456789ab"},
        {"files": {"../x": "y"}},
        {"files": {"config.yaml": 3}},
        {"record": {"status": "running"}},
        {"job": []},
    ],
    ids=str,
)
def test_a_hostile_file_of_records_is_refused(tmp_path, change):
    run(tmp_path / "one", [fake(0)])
    transfer.export_records(tmp_path / "one", tmp_path / "one.json")
    content = unsealed(json.loads((tmp_path / "one.json").read_text()))
    content["jobs"][0] |= change
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"bad\.json is no file of alasca-sweep export"):
        transfer.import_records(tmp_path / "two", tmp_path / "bad.json")
    assert not (tmp_path / "two").exists()


def test_pruning_drops_checkpoints_of_finished_jobs_only(tmp_path):
    run(tmp_path, [fake(0), fake(1, "stops half-way")])
    assert transfer.prune(tmp_path) > 0
    left = {folder.path.name: folder.checkpoint is not None for folder in job_folders(tmp_path)}
    assert sorted(left.values()) == [False, True]
    assert sum(folder.is_finished() for folder in job_folders(tmp_path)) == 1


def test_status_failures_and_retry_tell_how_jobs_stand(tmp_path):
    run(tmp_path, [fake(0), fake(1, "raises"), fake(2, "stops half-way")])
    JobFolder(tmp_path / fake(3).folder_name).path.mkdir()
    text = overview.status(tmp_path)
    assert "4 jobs: 2 failed, 1 finished, 1 waiting" in text
    assert "val 70.0%" in text
    told = overview.failures(tmp_path)
    assert "loss is NaN in epoch 1" in told and "fake_job.py" in told and "stopped half-way" in told
    assert fake(0).folder_name not in told
    assert f"{fake(1, 'raises').folder_name}: failed once\n" in told and "1 times" not in told
    assert transfer.retry(tmp_path) == 2
    assert "1 half-done" in overview.status(tmp_path)
    assert overview.failures(tmp_path) == "no failed jobs"


def test_a_dry_run_lists_what_differs_and_what_is_to_be_done(tmp_path):
    run(tmp_path, [fake(0)])
    placed = place_jobs(tmp_path, [fake(0), fake(1), fake(2)])
    text = overview.dry_run(placed, 3)
    rows = text.splitlines()
    assert [row.split()[:2] for row in rows[:3]] == [
        [fake(0).digest, "finished"], [fake(1).digest, "waiting"], [fake(2).digest, "waiting"],
    ]  # fmt: skip
    assert rows[1].endswith("seed=1")
    assert rows[3].startswith("3 jobs, 2 to run")
    assert differences([fake(0), fake(1)]) == {fake(0).digest: ["seed=0"], fake(1).digest: ["seed=1"]}


def test_an_unknown_sweep_lists_those_that_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps" / "known").mkdir(parents=True)
    with pytest.raises(UserError, match="known"):
        sweep_folder("other")
    assert sweep_folder("known") == Path("sweeps/known")
    assert sweep_folder(str(tmp_path / "sweeps" / "known")) == tmp_path / "sweeps" / "known"


def on(accelerator: str, devices: int | str = 1) -> Job:
    return Job({"trainer": {"accelerator": accelerator, "devices": devices}})


def test_gpus_are_handed_out_and_taken_back():
    room = Capacity("auto", ["0", "1"], expected=[on("gpu")] * 9)
    assert room.places == 2
    first, second = room.take(on("gpu")), room.take(on("gpu"))
    assert first is not None and second is not None
    assert {first.devices, second.devices} == {("0",), ("1",)}
    assert room.take(on("gpu")) is None
    room.give_back(first)
    again = room.take(on("gpu"))
    assert again is not None and again.devices == first.devices


def test_small_jobs_share_a_gpu_and_large_ones_get_several():
    room = Capacity("auto", ["0", "1"], jobs_per_device=2, expected=[on("gpu")] * 9)
    assert room.places == 4
    large = room.take(on("gpu", 2))
    assert large is not None and set(large.devices or ()) == {"0", "1"}
    assert room.take(on("gpu", 2)) is not None
    assert room.take(on("gpu")) is None
    room.give_back(large)
    every = Capacity(1, ["0", "1"]).take(on("gpu", -1))
    assert every is not None and set(every.devices or ()) == {"0", "1"}


def test_a_job_of_two_processes_takes_two_places():
    room = Capacity(3)
    assert room.take(on("cpu", 2)) is not None
    assert room.take(on("cpu", 2)) is None
    assert room.take(on("cpu")) is not None
    # One that is too large runs alone.
    assert Capacity(1).take(on("cpu", 8)) is not None


def test_threads_are_divided_among_jobs(monkeypatch):
    monkeypatch.setattr("alasca_pl.sweeps.capacity.cores", lambda: 8)
    assert [Capacity(jobs).threads for jobs in (1, 2, 3, 16)] == [8, 4, 2, 1]
    assert Capacity(2, threads=5).threads == 5


@pytest.mark.parametrize(
    "options", [{"jobs": 0}, {"jobs": "many"}, {"jobs": 1, "jobs_per_device": "auto"}, {"jobs": True}]
)
def test_numbers_of_jobs_that_make_no_sense_are_refused(options):
    with pytest.raises(UserError, match="jobs"):
        Capacity(**options)


@pytest.mark.parametrize(("given", "gpus"), [("", []), ("0,2", ["0", "2"]), ("-1", []), ("GPU-5f, 1", ["GPU-5f", "1"])])
def test_visible_gpus_are_those_of_the_environment(monkeypatch, given, gpus):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == gpus
