"""Tables of an audit: what they hold, and that data=csv reads them."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alasca_pl.audit import tables
from alasca_pl.audit.audit import Audit, find_audit
from alasca_pl.core.errors import UserError
from alasca_pl.data.table import read_table
from audit.made import NAMES, make_audit


def test_suspects_have_one_line_each_and_a_direction():
    audit, _ = make_audit(50)
    rows = list(csv.DictReader(io.StringIO(tables.suspects_table(audit))))
    assert len(rows) == 50 and [row["rank"] for row in rows] == [str(place + 1) for place in range(50)]
    score = [float(row["score (larger = more suspicious)"]) for row in rows]
    assert score == sorted(score, reverse=True)
    first = rows[0]
    row = int(first["index"]) - 5
    assert first["path"] == f"images/{row}.png" and first["given_label"] == NAMES[audit.splits["train"].label[row]]
    assert first["split"] == "train" and first["reason"]


def test_lists_of_labels_are_read_as_they_were_written(tmp_path: Path):
    audit, _ = make_audit(40, rate=0.4)
    for split in audit.splits.values():
        for name in split.names.tolist():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            Image.new("L", (8, 8)).save(tmp_path / name)
    likely = audit.suspects.probability >= 0.5
    for labels, left_out in ((tables.relabelled(audit), 0), (tables.clean(audit), int(likely.sum()))):
        (tmp_path / "list.csv").write_text(tables.label_table(audit.splits, labels, NAMES))
        data = read_table(tmp_path / "list.csv")
        kept = labels["train"] != tables.DROPPED
        assert (~kept).sum() == left_out
        assert data.class_names == NAMES and data.train.labels.tolist() == labels["train"][kept].tolist()
        assert data.test is not None and data.test.labels.tolist() == audit.splits["test"].label.tolist()
    changed = tables.relabelled(audit)["train"] != audit.splits["train"].label
    rows = audit.suspects.row[likely & (audit.suspects.suggested_prob >= 0.5)]
    assert changed.sum() > 0 and set(np.flatnonzero(changed)) <= set(rows.tolist())


@pytest.mark.parametrize("names", [("10", "2"), ("dog", "cat"), (" a", "b"), ("a", "7")])
def test_classes_are_numbers_where_names_would_be_read_otherwise(names):
    assert tables.label_texts(names) == ["0", "1"]


def test_pairs_are_sums_of_probabilities():
    audit, _ = make_audit(200)
    suspects = audit.suspects
    for given, other, expected, likely in tables.class_pairs(audit):
        chosen = [
            float(p)
            for g, s, p in zip(suspects.given, suspects.suggested, suspects.probability)
            if (g, s) == (given, other)
        ]
        assert expected == pytest.approx(sum(chosen)) and likely == sum(p >= 0.5 for p in chosen) and given != other
    expected = [each[2] for each in tables.class_pairs(audit)]
    assert expected == sorted(expected, reverse=True)


def test_an_audit_is_read_back(tmp_path: Path):
    audit, _ = make_audit(30)
    audit.save(tmp_path / "audit" / "audit.npz")
    back = Audit.load(find_audit(tmp_path))
    assert back.identity == audit.identity and back.class_names == NAMES and back.root == audit.root
    assert back.counts["all"] == audit.counts["all"] and back.name(3) == audit.name(3)
    np.testing.assert_array_equal(back.suspects.probability, audit.suspects.probability)
    np.testing.assert_array_equal(back.sample.place, audit.sample.place)
    assert replace(audit, class_names=("cat", "dog", "emu")).identity != audit.identity


def test_what_is_no_audit_is_refused(tmp_path: Path):
    with pytest.raises(UserError, match="holds no audit"):
        find_audit(tmp_path)
    np.savez(tmp_path / "audit.npz", label=np.zeros(3))
    with pytest.raises(UserError, match="no audit of this version"):
        Audit.load(tmp_path / "audit.npz")


def test_nothing_is_overwritten(tmp_path: Path):
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        tables.write_text(tmp_path / "a.csv", "theirs")
    assert (tmp_path / "a.csv").read_text() == "mine"
