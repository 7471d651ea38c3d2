import copy
import json

import pytest

from alasca_pl.core.checksum import unsealed
from alasca_pl.core.errors import UserError
from alasca_pl.core.record import SCHEMA, DataRecord, NoiseRecord, RunRecord, SessionRecord


def record() -> RunRecord:
    noise = NoiseRecord("symmetric", 0.5, None, 3, "ab" * 32)
    return RunRecord(
        status="finished",
        folder="runs/é, (b)",
        started="2026-01-01T00:00:00+00:00",
        seed=3,
        split_seed=None,
        data=DataRecord("digits", {"train": 10, "val": 2}, 2, [1, 8, 8], ["0", "1"], "cd" * 32),
        noise=noise,
        val_noise=None,
        oracle=["selector"],
        predict={"rule": "main"},
        versions={"torch": "2"},
        git=None,
        hardware={"cpus": 2, "gpus": []},
        processes=1,
        precision="32-true",
        overrides=["method=ce"],
        choices={"experiment": None},
        config={"optim": {"milestones": [1, 2]}},
        sessions=[SessionRecord("2026-01-01T00:00:00+00:00", None, 1.5)],
        metrics={"last": {"epoch": 1, "test/acc": 0.5}},
    )


def test_what_is_written_is_read_again(tmp_path):
    path = tmp_path / "record.json"
    record().write(path)
    assert RunRecord.read(path) == record()
    assert json.loads(path.read_text())["schema"] == SCHEMA


def plain(tmp_path) -> dict:
    record().write(tmp_path / "whole.json")
    return unsealed(json.loads((tmp_path / "whole.json").read_text()))


@pytest.mark.parametrize(
    ("where", "value", "named"),
    [
        (["status"], "done", "status is 'done'"),
        (["seed"], "3", "seed is '3'"),
        (["seed"], True, "seed is True"),
        (["processes"], 1.5, "processes is 1.5"),
        (["data", "sizes", "train"], None, "data.sizes.train is None"),
        (["data", "image_shape"], [1, "8", 8], "data.image_shape[1] is '8'"),
        (["noise"], [], "noise is []"),
        (["noise", "rate"], "half", "noise.rate is 'half'"),
        (["sessions"], [{"started": 1}], "sessions[0].started is 1"),
        (["metrics", "last", "test/acc"], "x", "metrics.last.test/acc is 'x'"),
        (["colour"], 1, "unknown entries colour"),
        (["noise", "colour"], 1, "unknown entries noise.colour"),
    ],
)
def test_wrong_entries_are_named(tmp_path, where, value, named):
    content = plain(tmp_path)
    inner = content
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    path = tmp_path / "record.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError) as refused:
        RunRecord.read(path)
    assert named in str(refused.value) and str(path) in str(refused.value)


def test_missing_entries_are_named_unless_they_have_a_default(tmp_path):
    content, path = plain(tmp_path), tmp_path / "record.json"
    without = copy.deepcopy(content)
    del without["noise"]["kind"]
    path.write_text(json.dumps(without))
    with pytest.raises(UserError, match=r"missing entries noise\.kind"):
        RunRecord.read(path)
    del content["problem"], content["config"]
    path.write_text(json.dumps(content))
    assert RunRecord.read(path).problem is None


@pytest.mark.parametrize("schema", [None, 0, SCHEMA + 1, "1"])
def test_another_schema_is_refused(tmp_path, schema):
    path = tmp_path / "record.json"
    path.write_text(json.dumps(plain(tmp_path) | {"schema": schema}))
    with pytest.raises(UserError, match=f"schema {schema!r}"):
        RunRecord.read(path)


@pytest.mark.parametrize("content", ["", "[]", '{"status": "fini', "null", "3"])
def test_files_that_are_no_record_are_refused(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"record\.json"):
        RunRecord.read(path)
    with pytest.raises(UserError, match=r"absent\.json"):
        RunRecord.read(tmp_path / "absent.json")
