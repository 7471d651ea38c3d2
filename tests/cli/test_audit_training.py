"""``alasca-audit data=...``: from a folder to the page by one command, which trains nothing twice."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.test_own_data import snapshot, write_folder
from running import command

WORDS = ("data=folder", "data.root=images", "epochs=2", "data.batch_size=16", "model=small", "model.backbone.width=4")
CODE = "import sys; sys.argv[0] = 'alasca-audit'; from alasca_pl.cli import audit; audit()"


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("one_command")
    write_folder(folder / "images", test=0, train=24)
    return folder


def test_one_command_leads_from_a_folder_to_the_page_and_a_second_one_says_so(root: Path):
    images = snapshot(root / "images")
    outcome = command(root, *WORDS, "sample=10", entry="audit")
    assert outcome.code == 0, outcome
    run = root / "runs" / "images_audit"
    assert outcome.out.startswith("run: runs/images_audit\n") and "labels are estimated to be wrong" in outcome.out
    assert f"page to decide on labels: {Path('runs/images_audit/audit/audit.html')}" in outcome.out
    record = json.loads((run / "record.json").read_text())
    # The audit's option has not reached the training, and the recipe is there unless another one is named.
    assert record["overrides"] == [*WORDS, "recipe=quick"] and record["choices"]["recipe"] == "quick"
    before = snapshot(run)
    # In another order, and with another option of the audit.
    again = command(root, *WORDS[:2], *reversed(WORDS[2:]), "page=5", entry="audit")
    assert again.code == 0 and "audited already: runs/images_audit/audit/audit.html" in again.out, again
    other = command(root, *WORDS, "seed=1", entry="audit")
    assert other.code == 1 and "holds a run of data=folder data.root=images epochs=2" in other.err, other
    assert "alasca-audit runs/images_audit audits it, hydra.run.dir=DIR trains another one" in other.err
    assert snapshot(run) == before and snapshot(root / "images") == images
    # Only the audit is missing.
    shutil.rmtree(run / "audit")
    outcome = command(root, *WORDS, entry="audit")
    assert outcome.code == 0 and (run / "audit" / "audit.html").is_file(), outcome
    after = snapshot(run)
    trained = [name for name in before if Path(name).is_file() and "audit" not in Path(name).relative_to(run).parts]
    assert "record.json" in {Path(name).name for name in trained}
    assert [after[name] for name in trained] == [before[name] for name in trained]


def test_mistakes_are_those_of_training_and_leave_nothing(tmp_path: Path, capfd):
    write_folder(tmp_path / "images", test=0, train=4)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    base = ("data=folder", "data.root=images")
    for words, message in (
        ((*base, "epoch=3"), "there is no option epoch (did you mean epochs?)"),
        (("data=folder", "data.root=nothing"), "no folder"),
        ((*base, "recipe=best"), "there is no config recipe/best"),
        ((*base, "page=none"), "page=none is no whole number"),
        ((*base, "device=tpu"), "unknown device 'tpu'"),
        ((*base, "output=full"), "full exists and is not empty"),
        ((*base, "-m", "seed=0,1"), "trains one new run and takes no -m"),
        ((*base, "ckpt_path=x"), "trains one new run and takes no ckpt_path=x"),
        ((*base, "page=1", "page=2"), "page= is given twice"),
    ):
        outcome = command(tmp_path, *words, entry="audit")
        text = outcome.err + capfd.readouterr().err
        assert outcome.code == 1 and message in text and "Traceback" not in text, (words, outcome, text)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "images"], words


@pytest.mark.slow
def test_the_same_command_goes_on_after_an_interruption(tmp_path: Path):
    write_folder(tmp_path / "images", test=0, train=24)
    words = [*WORDS, "epochs=3000", "early_end.patience=null", "hydra.run.dir=my_run"]
    words.remove("epochs=2")
    line = [sys.executable, "-P", "-c", CODE, *words]
    process = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    last = tmp_path / "my_run" / "checkpoints" / "last.ckpt"
    end = time.monotonic() + 200
    while not last.is_file() and time.monotonic() < end:
        time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and "interrupted; the same command goes on" in text, text
    record = json.loads((tmp_path / "my_run" / "record.json").read_text())
    assert record["status"] == "interrupted"
    process = subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
    while time.monotonic() < end:
        time.sleep(0.5)
        if len(json.loads((tmp_path / "my_run" / "record.json").read_text())["sessions"]) == 2:
            break
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    sessions = json.loads((tmp_path / "my_run" / "record.json").read_text())["sessions"]
    assert len(sessions) == 2 and sessions[1]["resumed_from"] == str(last), text
