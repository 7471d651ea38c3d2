"""What is read, what is set aside, what is refused."""

import json
from pathlib import Path

import pytest
from trees import export_of, make_run, make_tree

from alasca_pl.core.checksum import unsealed
from alasca_pl.core.errors import UserError
from alasca_pl.core.experiment import job_digest
from alasca_pl.report.saved import find_runs


def test_folders_sweeps_exports_and_patterns_give_the_same_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tree = make_tree(Path("sweeps/toy"))
    export = export_of(tree, tmp_path / "toy.json")
    expected = {run.fingerprint for run in find_runs([tree]).runs}
    assert len(expected) == 24
    for place in ("toy", str(tmp_path), str(export), "sweeps/*/*", "sweeps/**"):
        found = find_runs([place])
        assert {run.fingerprint for run in found.runs} == expected and not found.aside, place
    assert find_runs([tree / "ce_none_symmetric0.5_seed0"]).runs[0].source == "ce_none_symmetric0.5_seed0"
    assert find_runs([tree / "ce_none_symmetric0.5_seed0" / "record.json"]).runs[0].record.seed == 0


def test_a_run_that_is_read_twice_counts_once(tmp_path):
    tree = make_tree(tmp_path / "toy", methods=["ce"], alascas=["none"])
    found = find_runs([tree, export_of(tree, tmp_path / "toy.json"), tree])
    assert len(found.runs) == 6
    assert len(found.notes) == 6 and found.notes[0].endswith("and counts once")


def test_what_is_not_finished_or_damaged_is_set_aside(tmp_path):
    make_run(tmp_path / "a")
    make_run(tmp_path / "failed", status="failed", problem="it broke")
    make_run(tmp_path / "running", status="running")
    make_run(tmp_path / "stopped", status="interrupted")
    make_run(tmp_path / "empty", rows=[])
    make_run(tmp_path / "text")
    (tmp_path / "text" / "metrics.csv").write_text("epoch,test/acc\n0,much\n")
    make_run(tmp_path / "cut")
    (tmp_path / "cut" / "record.json").write_text((tmp_path / "cut" / "record.json").read_text()[:200])
    make_run(tmp_path / "other")
    lines = (tmp_path / "other" / "metrics.csv").read_text().splitlines()
    (tmp_path / "other" / "metrics.csv").write_text("\n".join(lines[:-1]) + "\n")
    (tmp_path / "killed").mkdir()
    attempts = [{"outcome": "killed", "reason": "out of memory"}]
    (tmp_path / "killed" / "job.json").write_text(json.dumps({"attempts": attempts}))
    (tmp_path / "waits").mkdir()
    (tmp_path / "waits" / "job.json").write_text("{}")
    found = find_runs([tmp_path])
    assert [Path(run.source).name for run in found.runs] == ["a"]
    assert {Path(each.source).name: each.status for each in found.aside} == {
        "failed": "failed", "running": "running", "stopped": "interrupted", "empty": "damaged", "text": "damaged",
        "cut": "damaged", "other": "damaged", "killed": "killed", "waits": "not started",
    }  # fmt: skip
    reasons = {Path(each.source).name: each.reason for each in found.aside}
    assert reasons["failed"] == "it broke" and reasons["killed"] == "out of memory"
    assert "the epochs in metrics.csv give" in reasons["other"]
    assert "has no metrics" in reasons["empty"]


def test_a_record_whose_figures_are_not_those_of_its_epochs_is_damaged(tmp_path):
    make_run(tmp_path / "a")
    path = tmp_path / "a" / "record.json"
    content = unsealed(json.loads(path.read_text()))
    content["metrics"]["mean_of_last"]["test/acc"] += 0.01
    path.write_text(json.dumps(content))
    assert "mean_of_last test/acc" in find_runs([tmp_path]).aside[0].reason


def test_planned_jobs_are_those_that_no_run_answers(tmp_path):
    sweep = tmp_path / "sweeps" / "toy"
    done = make_run(sweep / "a")
    other = {**done.config, "seed": 7}
    jobs = {
        json.dumps(["seed=0"]): {"config": done.config, "choices": done.choices},
        json.dumps(["seed=7"]): {"config": other, "choices": done.choices},
    }
    (sweep / "composed.json").write_text(json.dumps({"key": "k", "jobs": jobs}))
    planned = find_runs([sweep]).planned
    assert [(list(job.overrides), job.sweep) for job in planned] == [(["seed=7"], "toy")]
    assert job_digest(planned[0].config) == job_digest(other)
    (sweep / "composed.json").write_text('{"jobs": []}')
    assert find_runs([sweep]).planned == []


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "nothing is at 'nowhere'"),
        ("", "nothing is at ''"),
        ("empty", "empty holds no run"),
        ("file.json", "neither the record of a run nor a file of alasca-sweep export"),
        ("no*thing", "nothing is at"),
    ],
)
def test_places_without_runs_are_refused(tmp_path, monkeypatch, place, message):
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("file.json").write_text("{}")
    with pytest.raises(UserError, match=message):
        find_runs([place])


def test_a_damaged_job_of_an_export_leaves_the_others(tmp_path):
    tree = make_tree(tmp_path / "toy", methods=["ce"], alascas=["none"], seeds=[0])
    file = export_of(tree, tmp_path / "toy.json")
    content = json.loads(file.read_text())
    del content["jobs"][0]["record"]["seed"]
    content["jobs"].append("no job")
    file.write_text(json.dumps(content))
    found = find_runs([file])
    assert len(found.runs) == 1 and [each.status for each in found.aside] == ["damaged"] * 2
    file.write_text("{")
    assert find_runs([file]).aside[0].status == "damaged"


def test_sources_do_not_depend_on_where_the_reader_stands(tmp_path, monkeypatch):
    make_run(tmp_path / "sweeps" / "toy" / "a")
    monkeypatch.chdir(tmp_path)
    one = find_runs(["sweeps/toy"]).runs[0].source
    monkeypatch.chdir(tmp_path / "sweeps" / "toy")
    assert find_runs(["."]).runs[0].source == one == "toy/a"
