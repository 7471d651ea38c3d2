"""The whole loop, by typed commands: train, audit, decide, apply, train again."""

import csv
from pathlib import Path

import numpy as np
import pytest

from alasca_pl.core.rows import read_rows
from alasca_pl.noise.labels import NoisyLabels
from running import TINY, assert_same_bits, checkpoint, command

OPTIONS = (
    *TINY,
    "epochs=2",
    "alasca=none",
    "data.num_val=40",
    "data.max_test_samples=100",
    "data.augment=none",
    "optim.lr=0.05",
)


@pytest.fixture(scope="module")
def audited(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("loop")
    for arguments, entry in (
        ([*OPTIONS, "noise=symmetric", "noise.rate=0.4", "hydra.run.dir=run"], "train"),
        (["run", "sample=10", "page=5"], "audit"),
    ):
        outcome = command(root, *arguments, entry=entry)
        assert outcome.code == 0, outcome
    return root


def decide(root: Path, count: int, by: str = "rank") -> tuple[Path, list[dict[str, str]]]:
    name = f"{by}_{count}"
    outcome = command(root, "simulate", "run", f"decisions={count}", f"by={by}", f"output={name}.csv", entry="audit")
    assert outcome.code == 0, outcome
    with (root / f"{name}.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    wrong = sum(row["decision"] == "relabel" for row in rows)
    assert f"{wrong} of {count} labels are wrong" in outcome.out
    outcome = command(root, "apply", f"{name}.csv", "run", f"output={name}", entry="audit")
    assert outcome.code == 0 and f"data.path={name}.npz" in outcome.out, outcome
    return root / f"{name}.npz", rows


def retrain(root: Path, file: Path) -> Path:
    folder = root / f"from_{file.stem}"
    outcome = command(root, *OPTIONS, "data=npz", f"data.path={file}", f"hydra.run.dir={folder}")
    assert outcome.code == 0, outcome
    return folder


def test_what_a_reviewer_decided_is_trained_on(audited: Path):
    file, rows = decide(audited, 60)
    before = NoisyLabels.load(audited / "run" / "noise.npz")
    assert before.clean_label is not None
    decided = {int(row["index"]) for row in rows if row["split"] == "train"}
    expected = np.where(np.isin(before.index, list(decided)), before.clean_label, before.label)
    assert (expected != before.label).sum() >= 5 and len(rows) == 60
    after = NoisyLabels.load(retrain(audited, file) / "noise.npz")
    np.testing.assert_array_equal(after.label, expected)


def test_unchanged_labels_give_the_run_that_was_audited(audited: Path):
    _, rows = decide(audited, 50, "random")
    kept = next(row for row in rows if row["decision"] == "keep")
    with (audited / "kept.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(kept))
        writer.writeheader()
        writer.writerow(kept)
    outcome = command(audited, "apply", "run", "kept.csv", "output=kept", entry="audit")
    assert outcome.code == 0 and "1 keep, 0 relabel" in outcome.out, outcome
    folder = retrain(audited, audited / "kept.npz")
    assert_same_bits(*(checkpoint(each)["state_dict"] for each in (audited / "run", folder)))
    one, other = (read_rows(each / "metrics.csv")[-1] for each in (audited / "run", folder))
    assert one["test/acc"] == other["test/acc"] and one["val/acc"] == other["val/acc"]


def test_mistakes_are_one_line(audited: Path):
    for arguments, message in (
        (["simulate", "run"], "takes the folder of an audited run and decisions=NUMBER"),
        (["simulate", "run", "decisions=5", "by=chance"], "unknown by=chance; choose rank or random"),
        (["simulate", "run", "decisions=none"], "decisions=none is no whole number"),
        (["simulate", "nowhere", "decisions=5"], "holds no audit"),
        (["compare", "cols=noise"], "needs a folder of runs"),
        (["compare", "run", "rows=noise", "cols=rate", "with=entropy"], "unknown second score 'entropy'"),
        (["compare", "run", "rows=nois"], "no run has a value for 'nois'"),
        (["compare", "run", "output=run"], "run exists and is not empty"),
    ):
        outcome = command(audited, *arguments, entry="audit")
        assert outcome.code == 1 and message in outcome.err and "Traceback" not in outcome.err, (arguments, outcome)


def test_comparison_of_one_run_is_printed(audited: Path):
    outcome = command(audited, "compare", "run", "cols=noise", entry="audit")
    assert outcome.code == 0 and "## Average precision" in outcome.out, outcome
    assert "| margin | ce | none |" in outcome.out and "gain of margin" in outcome.out
