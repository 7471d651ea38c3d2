"""Decisions: checked, applied, and turned into estimates that hold on average."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from alasca_pl.audit.audit import Audit
from alasca_pl.audit.decisions import COLUMNS, Decisions, apply_decisions, read_decisions
from alasca_pl.audit.review import review, wilson
from alasca_pl.audit.sample import draw_sample
from alasca_pl.audit.tables import DROPPED
from alasca_pl.audit.words import lines_of_review, matrix_text
from alasca_pl.core.errors import UserError
from audit.made import NAMES, make_audit


def answers(audit: Audit, true: np.ndarray, places: np.ndarray) -> Decisions:
    """What a reviewer who knows the truth decides."""
    right = true[audit.suspects.row[places]]
    action = np.where(right == audit.suspects.given[places], "keep", "relabel")
    return Decisions(places, action, right)


def line(audit: Audit, place: int, decision: str, label: str, /, **other: str) -> str:
    given = audit.class_names[audit.suspects.given[place]]
    values = dict(
        zip(COLUMNS, [audit.identity, audit.name(place), str(audit.index(place)), "train", given, decision, label, ""])
    )
    return ",".join((values | other).values())


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    return path


def test_decisions_are_read_and_applied_and_nothing_else_changes(tmp_path: Path):
    audit, _ = make_audit(40)
    given = audit.suspects.given
    other = NAMES[(given[1] + 1) % 3]
    file = write(
        tmp_path / "decisions.csv",
        line(audit, 0, "keep", NAMES[given[0]]),
        line(audit, 1, "relabel", other),
        line(audit, 2, "drop", ""),
        line(audit, 3, "unsure", ""),
    )
    before = {name: split.label.copy() for name, split in audit.splits.items()}
    labels = apply_decisions(audit, read_decisions(file, audit))
    expected = before["train"].copy()
    expected[audit.suspects.row[1]] = NAMES.index(other)
    expected[audit.suspects.row[2]] = DROPPED
    assert labels["train"].tolist() == expected.tolist() and labels["test"].tolist() == before["test"].tolist()
    assert audit.splits["train"].label.tolist() == before["train"].tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"audit": "0123456789ab"}, "line 2: the decision is for the audit '0123456789ab' of other labels"),
        ({"index": "999"}, "no label with index '999'"),
        ({"split": "val"}, "in split 'val'"),
        ({"path": "images/x.png"}, "the image with this index is"),
        ({"given_label": "emu"}, "its given label is"),
        ({"decision": "change"}, "unknown decision 'change'"),
        ({"decision": "relabel", "label": "emu"}, f"unknown label 'emu'.*choose one of {', '.join(NAMES)}"),
        ({"decision": "relabel", "label": f"{NAMES[0]}x"}, f"did you mean {NAMES[0]}?"),
        ({"decision": "relabel"}, "needs another label than the given one"),
    ],
)
def test_decisions_that_do_not_fit_are_refused(change, message, tmp_path: Path):
    audit, _ = make_audit(40)
    given = NAMES[audit.suspects.given[0]]
    with pytest.raises(UserError, match=message):
        read_decisions(write(tmp_path / "d.csv", line(audit, 0, "keep", given, **change)), audit)


def test_files_that_hold_no_decisions_are_refused(tmp_path: Path):
    audit, _ = make_audit(40)
    keep = line(audit, 0, "keep", "")
    with pytest.raises(UserError, match="line 3: a second decision"):
        read_decisions(write(tmp_path / "a.csv", keep, keep), audit)
    with pytest.raises(UserError, match="holds no decision"):
        read_decisions(write(tmp_path / "b.csv"), audit)
    (tmp_path / "c.csv").write_text("label\n")
    with pytest.raises(UserError, match=r"lacks the column\(s\) index, split, decision; .*path, decision, label"):
        read_decisions(tmp_path / "c.csv", audit)
    with pytest.raises(UserError, match="another number of values"):
        read_decisions(write(tmp_path / "d.csv", "a,b"), audit)


def test_a_table_by_hand_names_images_by_their_paths(tmp_path: Path):
    audit, _ = make_audit(40)
    given = audit.suspects.given
    other = NAMES[(given[5] + 1) % 3]
    file = tmp_path / "d.csv"
    file.write_text(f"path,decision,label\n{audit.name(5)},relabel,{other}\n{audit.name(2)},keep,\n")
    decisions = read_decisions(file, audit)
    assert decisions.place.tolist() == [5, 2]
    assert decisions.label.tolist() == [NAMES.index(other), given[2]]
    file.write_text(f"path,decision,label\n{audit.name(5)}x,drop,\n")
    with pytest.raises(UserError, match=f"line 2: the audit has no image '{audit.name(5)}x'.*did you mean"):
        read_decisions(file, audit)


def test_no_more_decisions_are_promised_than_there_are_labels(tmp_path: Path):
    audit, true = make_audit(300)
    few = review(audit, answers(audit, true, np.arange(60)))
    assert (few.undecided, few.per_hour) == (240, 720)
    assert "the 240 labels that are not decided, less than an hour's work, hold at most" in "\n".join(
        lines_of_review(few)
    )
    many = replace(few, per_hour=100)
    assert "another hour, 100 decisions, finds at most" in "\n".join(lines_of_review(many))


def test_no_more_finds_are_promised_than_the_audit_leaves(tmp_path: Path):
    audit, true = make_audit(300)
    of_top = answers(audit, true, np.arange(30))
    found, estimate = int(of_top.wrong.sum()), audit.counts["all"]
    few = review(audit, of_top)
    assert few.total is None and found < estimate.high
    assert few.next_hour.high <= estimate.high - found < 0.9 * few.undecided
    assert few.next_hour.estimate <= max(0.0, estimate.estimate - found)
    # More was found than the estimate allows, so that it says nothing.
    low = replace(estimate, estimate=1.0, low=0.0, high=2.0)
    refuted = review(replace(audit, counts={"all": low}), of_top)
    assert refuted.next_hour.high > few.next_hour.high


def test_the_pace_is_the_median_time_without_pauses(tmp_path: Path):
    audit, _ = make_audit(40)
    times = [0, 4, 8, 12, 16, 20, 24, 2000, 2004]
    stamps = [f"2026-01-01T10:{second // 60:02d}:{second % 60:02d}.000Z" for second in times]
    lines = [line(audit, place, "keep", "", time=stamp) for place, stamp in enumerate(stamps)]
    assert read_decisions(write(tmp_path / "d.csv", *lines), audit).seconds == 4


def test_precision_has_wilsons_interval():
    # Wilson's formula written out.
    found, of, z = 30, 40, 1.959964
    centre = (found / of + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * np.sqrt(found / of * (1 - found / of) / of + z**2 / (4 * of**2))
    fraction = wilson(found, of)
    assert (fraction.low, fraction.high) == pytest.approx((centre - half, centre + half), abs=1e-5)
    audit, true = make_audit(300)
    found = review(audit, answers(audit, true, np.arange(60)))
    wrong = true[audit.suspects.row] != audit.suspects.given
    for depth in (10, 20, 50, 60):
        assert found.precision[depth].estimate == pytest.approx(wrong[:depth].mean())
    assert found.total is None and "random sample is needed" in found.why_no_total


def test_the_total_is_right_on_average_and_its_interval_covers_it():
    population, true = make_audit(600)
    wrong = int((true != population.splits["train"].label).sum())
    totals, covered, runs = [], 0, 80
    for seed in range(runs):
        # Another sample each time.
        audit = replace(population, sample=draw_sample(population.suspects.probability, 80, seed))
        total = review(audit, answers(audit, true, audit.sample.place)).total
        assert total is not None
        totals.append(total.estimate)
        covered += total.low <= wrong <= total.high
    assert np.mean(totals) == pytest.approx(wrong, abs=3 * np.std(totals) / np.sqrt(runs))
    assert covered >= 0.9 * runs


def test_found_errors_do_not_remain_and_unsure_ones_widen_the_interval():
    audit, true = make_audit(300, sample=100)
    places = np.unique(np.concatenate([np.arange(50), audit.sample.place]))
    decisions = answers(audit, true, places)
    found = review(audit, decisions)
    assert found.total is not None and found.remaining is not None
    assert found.remaining.estimate == pytest.approx(max(0, found.total.estimate - found.wrong_found))
    action = decisions.action.copy()
    action[::10] = "unsure"
    doubtful = review(audit, Decisions(places, action, decisions.label))
    assert doubtful.total is not None and doubtful.unsure == len(action[::10])
    assert doubtful.total.high - doubtful.total.low > found.total.high - found.total.low


def test_more_review_pays_nothing_when_nothing_was_found_lately():
    audit, _ = make_audit(4000, rate=0.0, sample=200)
    everything = np.arange(3990)
    keep = Decisions(everything, np.full(3990, "keep"), audit.suspects.given[everything])
    found = review(audit, keep)
    assert found.pays is False and "expected to pay nothing" in lines_of_review(found)[-1]
    audit, true = make_audit(400, rate=0.4)
    assert review(audit, answers(audit, true, np.arange(50))).pays is True
    assert review(audit, answers(audit, true, np.arange(5))).pays is None


def test_the_transition_matrix_is_that_of_the_labels():
    audit, true = make_audit(900, rate=0.3, sample=900)
    found = review(audit, answers(audit, true, audit.sample.place))
    label = audit.splits["train"].label
    expected = np.array([[np.mean(label[true == i] == j) for j in range(3)] for i in range(3)])
    np.testing.assert_allclose(found.transition, expected, atol=1e-9)
    assert found.transition_counts.tolist() == np.bincount(true).tolist()
    rows = [line.split() for line in matrix_text(found, NAMES).splitlines()[1:]]
    np.testing.assert_allclose(np.array(rows, dtype=float), expected, atol=1e-4)
