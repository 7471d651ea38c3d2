"""Measuring checkpoints of runs, one by one and by sweep."""

import json
import statistics

import numpy as np
import pytest
import torch

from alasca_pl import load_run
from alasca_pl.core.checksum import unsealed
from alasca_pl.core.errors import UserError
from alasca_pl.core.measurement import Measurement
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.runs.measure import measure_checkpoints
from alasca_pl.runs.measure_request import Request, checkpoints_in
from alasca_pl.runs.stored import data_of
from alasca_pl.sweeps import transfer
from running import command, train

# The network has batch norm, as those that are measured have.
RUN = ("model.norm=batch", "epochs=2", "noise.rate=0.5", "data.max_train_samples=128")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("measured") / "sweep" / "ce_none-0123456789ab"
    train(folder, *RUN)
    return folder


@pytest.fixture
def fresh(folder):
    """The run's folder without measurements."""
    yield folder
    for path in folder.glob("measured/*"):
        path.unlink()


def measured(folder, **settings):
    ((path, outcome),) = measure_checkpoints([RunFolder(folder).last], [Request(**settings)])
    assert outcome == "measured"
    return Measurement.read(path)


def test_norms_equal_a_loop_over_the_images(fresh):
    found = measured(fresh, what="norms")
    run = load_run(fresh)
    (network,) = run.module.method.networks
    labels = np.load(fresh / "noise.npz")
    assert found.index == list(range(128)) and found.values[0] == found.sample_values
    assert found.label == labels["label"].tolist() and found.clean == labels["clean_label"].tolist()
    (batch,) = data_of(run).eval_batches("train")
    for position in (0, 5, 127):
        with torch.no_grad():
            feature = network(batch.image[position : position + 1]).features[0]
        expected = sum(value**2 for value in feature.tolist()) ** 0.5
        assert found.values[0][position] == pytest.approx(expected, rel=1e-4)
    means = found.class_means()
    for label in range(10):
        own = [value for value, true in zip(found.values[0], found.clean) if true == label]
        assert means[label] == pytest.approx(statistics.fmean(own))
    assert found.settings["epoch"] == 1 and found.settings["split"] == "train"


def test_jacobians_are_those_of_each_image_in_evaluation_mode(fresh):
    found = measured(fresh, samples=20, batch_size=7)
    run = load_run(fresh)
    (network,) = run.module.method.networks
    (batch,) = data_of(run).eval_batches("train")
    assert len(set(found.index)) == 20
    for place, position in enumerate(found.index[:3]):
        image = batch.image[position : position + 1]
        whole = torch.autograd.functional.jacobian(lambda each: network(each).features[0], image)
        assert found.values[0][place] == pytest.approx(whole.norm().item(), rel=1e-4)
    labels = np.load(fresh / "noise.npz")
    noisy = (labels["label"] != labels["clean_label"])[found.index]
    groups = found.split_by_noise()
    assert 0 < sum(noisy) < 20
    assert groups["noisy"] == [value for value, wrong in zip(found.values[0], noisy) if wrong]
    assert len(groups["clean"]) + len(groups["noisy"]) == 20


def test_the_estimate_lies_near_the_exact_norms(fresh):
    exact = measured(fresh, samples=20)
    path = fresh / "measured" / "jacobian.json"
    path.unlink()
    estimate = measured(fresh, samples=20, probes=64)
    assert estimate.index == exact.index and estimate.values != exact.values
    assert estimate.values[0] == pytest.approx(exact.values[0], rel=0.5)
    assert statistics.fmean(estimate.values[0]) == pytest.approx(statistics.fmean(exact.values[0]), rel=0.1)
    assert (estimate.settings["estimator"], exact.settings["estimator"]) == ("hutchinson", "exact")


def test_logits_and_the_test_split_can_be_measured(fresh):
    found = measured(fresh, what="norms", of="logits", split="test", samples=30)
    assert len(found.index) == 30 and found.clean == found.label
    assert list(found.split_by_noise()) == ["all"]


def test_nothing_is_overwritten_and_the_same_is_not_measured_twice(fresh):
    measured(fresh, samples=5)
    path = fresh / "measured" / "jacobian.json"
    before = path.read_bytes(), path.stat().st_mtime_ns
    last = RunFolder(fresh).last
    assert [outcome for _, outcome in measure_checkpoints([last], [Request(samples=5)])] == ["there already"]
    with pytest.raises(UserError, match=r"other settings \(samples\).*name="):
        list(measure_checkpoints([last], [Request(samples=6)]))
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    # What lies there is of an earlier checkpoint.
    content = unsealed(json.loads(path.read_text()))
    content["settings"]["epoch"] = 0
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"other settings \(epoch\)"):
        list(measure_checkpoints([last], [Request(samples=5)]))
    named = list(measure_checkpoints([last], [Request(samples=6)], name="six"))
    assert named[0][0].name == "six.json"


def test_other_data_are_refused(fresh, monkeypatch):
    with pytest.raises(UserError, match="was trained on other data"):
        list(measure_checkpoints([RunFolder(fresh).last], [Request()], source={"split_seed": 5}))
    assert not (fresh / "measured").exists() or not list((fresh / "measured").iterdir())


def test_two_networks_are_measured_apart(tmp_path):
    train(tmp_path / "pair", *RUN, "epochs=1", "method=co_teaching")
    found = measured(tmp_path / "pair", samples=6)
    assert len(found.values) == 2 and found.values[0] != found.values[1]
    assert found.sample_values == [(a + b) / 2 for a, b in zip(*found.values)]


def test_the_command_takes_sweeps_and_says_what_it_did(fresh, tmp_path):
    arguments = ["sweep", "what=jacobian,norms", "samples=10"]
    outcome = command(fresh.parents[1], *arguments, entry="measure")
    assert outcome.code == 0, outcome
    assert outcome.out.count(": measured") == 2
    assert command(fresh.parents[1], *arguments, entry="measure").out.count("there already") == 2
    files, lacking = checkpoints_in([str(fresh.parent)], "best")
    assert [file.name for file in files] == ["best.ckpt"] and not lacking


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "what=jacobi"], "unknown what=jacobi; choose one of jacobian, norms"),
        (["sweep", "samples=many"], "samples=many is no whole number"),
        (["sweep", "samples=0"], "samples must be at least 1"),
        (["sweep", "what=norms", "probes=3"], "probes=3 is for what=jacobian only"),
        (["sweep", "split=nowhere"], "no split 'nowhere'; give split="),
        (["sweep", "device=tpu"], "unknown device 'tpu'"),
        (["sweep", "what=jacobian,norms", "name=x"], "is for one measurement"),
        (["sweep", "name=../x"], "is for one measurement"),
        (["sweep", "colour=red"], "unknown option colour="),
        (["elsewhere"], "nothing is at 'elsewhere'"),
        (["sweep", "checkpoint=none"], "unknown checkpoint=none; choose one of last, best"),
        (["what=norms"], "alasca-measure needs a folder"),
    ],
)
def test_mistakes_are_named(fresh, arguments, said):
    outcome = command(fresh.parents[1], *arguments, entry="measure")
    assert outcome.code == 1 and said in outcome.err, outcome
    assert "Traceback" not in outcome.err


def test_a_sweep_s_export_takes_measurements_along(fresh, tmp_path):
    measured(fresh, samples=5)
    transfer.export_records(fresh.parent, tmp_path / "all.json")
    assert transfer.import_records(tmp_path / "copy", tmp_path / "all.json") == (1, 0)
    moved = tmp_path / "copy" / fresh.name / "measured" / "jacobian.json"
    assert moved.read_text() == (fresh / "measured" / "jacobian.json").read_text()
    content = unsealed(json.loads((tmp_path / "all.json").read_text()))
    content["jobs"][0]["files"]["measured/../../x.json"] = "{}"
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="files that no record has"):
        transfer.import_records(tmp_path / "other", tmp_path / "bad.json")


@pytest.mark.parametrize(
    "change",
    [{"format": "x"}, {"label": [1]}, {"values": []}, {"values": [[float("nan")] * 5]}, {"more": 1}, {"what": "x"}],
    ids=str,
)
def test_damaged_measurements_are_refused(fresh, change):
    made = measured(fresh, samples=5)
    path = fresh / "measured" / "damaged.json"
    made.write(path)
    path.write_text(json.dumps(unsealed(json.loads(path.read_text())) | change))
    with pytest.raises(UserError, match="is no measurement of alasca-measure"):
        Measurement.read(path)
    assert Measurement.read(fresh / "measured" / "jacobian.json") == made
