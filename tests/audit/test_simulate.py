"""A reviewer who knows the clean labels, against loops over the suspects."""

import csv
import io

import numpy as np
import pytest

from alasca_pl.audit.decisions import apply_decisions, read_decisions
from alasca_pl.audit.simulate import simulated_decisions
from alasca_pl.core.errors import UserError
from audit.made import make_audit


@pytest.mark.parametrize("by", ["rank", "random"])
@pytest.mark.parametrize("paths", [True, False])
def test_decisions_are_right_and_can_be_applied(by, paths, tmp_path):
    audit, true = make_audit(paths=paths)
    text, wrong = simulated_decisions(audit, {"train": true}, 40, by)
    (tmp_path / "decisions.csv").write_text(text)
    decisions = read_decisions(tmp_path / "decisions.csv", audit)
    rows = audit.suspects.row[decisions.place]
    assert len(set(rows.tolist())) == 40
    label = audit.splits["train"].label
    assert decisions.wrong.tolist() == (label[rows] != true[rows]).tolist() and wrong == decisions.wrong.sum()
    corrected = apply_decisions(audit, decisions)["train"]
    for row in range(len(true)):
        assert corrected[row] == (true[row] if row in rows else label[row])
    if by == "rank":
        assert decisions.place.tolist() == list(range(40))
        # The most suspicious labels are wrong more often than others.
        assert wrong / 40 > 2 * (label != true).mean()


def test_a_random_reviewer_goes_on_where_a_shorter_one_stopped():
    audit, true = make_audit()
    short, long = (
        list(csv.DictReader(io.StringIO(simulated_decisions(audit, {"train": true}, count, "random")[0])))
        for count in (10, 30)
    )
    assert long[:10] == short
    assert np.ptp([int(row["index"]) for row in long]) > 100


def test_what_cannot_be_simulated_is_refused():
    audit, true = make_audit()
    for count in (0, 301):
        with pytest.raises(UserError, match=f"decisions={count} must be"):
            simulated_decisions(audit, {"train": true}, count)
    with pytest.raises(UserError, match="clean labels of the split train are unknown"):
        simulated_decisions(audit, {}, 5)
