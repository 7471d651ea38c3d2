"""What a reader who does not know the package meets in a report: nothing unasked, no contradiction, words explained."""

import re
from pathlib import Path

import pytest
from trees import make_run, make_tree

from alasca_pl.core.errors import UserError
from alasca_pl.core.record import DataRecord, NoiseRecord
from alasca_pl.report.question import Question
from alasca_pl.report.render import html, markdown
from alasca_pl.report.saved import find_runs
from alasca_pl.report.write_up import write_report


def text_of(folder: Path, **question) -> str:
    """The report in Markdown; that its page says the same is tested with the output."""
    return markdown(write_report(find_runs([folder]), Question(**question), pictures=False))


def test_one_run_is_compared_with_nothing(tmp_path):
    make_run(tmp_path / "a", "elr", "paper")
    text = text_of(tmp_path)
    assert "1 finished run, seed 0." in text and "set aside" not in text
    for word in ("Holm", "certified", "verdict", "against", "× CE", "| –"):
        assert word not in text, word
    assert "There is no run without ALASCA to compare with: elr, paper. The same command with alasca=none" in text
    assert "test/acc: accuracy on the test split, predicted by the main head" in text


def test_without_cross_entropy_no_row_is_the_one_to_compare_with(tmp_path):
    for method in ("gce", "elr"):
        make_run(tmp_path / method, method)
    text = text_of(tmp_path)
    assert "Against" not in text and "against=elr,none (or another row)" in text
    asked = text_of(tmp_path, against=("elr", "none"))
    assert "## Against elr, none" in asked
    # Several rows of cross-entropy: none of them is meant more than the others.
    for width in (16, 32):
        make_run(tmp_path / "widths" / str(width), config={"model.backbone.width": width})
    assert "## Against" not in text_of(tmp_path / "widths", rows=("model.backbone.width",))


def test_one_pair_has_no_test_and_no_words_of_one(tmp_path):
    for method in ("ce", "elr"):
        make_run(tmp_path / method, method)
    text = text_of(tmp_path)
    assert "over 0 tests" not in text and "Holm's" not in text and "sign test" not in text
    assert "The comparison has fewer than 3 pairs: no test is made and nothing is decided." in text
    assert "No difference is decided: 1 with too few pairs to decide." in text


def test_two_pairs_are_not_said_to_decide(tmp_path):
    make_tree(tmp_path, methods=["ce"], noises=[("symmetric", 0.5)], seeds=(0, 1))
    (line,) = (line for line in text_of(tmp_path).splitlines() if line.startswith("| ce, paper | ce, none |"))
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    # row, against, column, verdict, certified, n, difference, interval, p, p (Holm), effect
    assert cells[3:6] == ["n too small to decide", "yes", "2"] and cells[8:] == ["–", "–", "–"]
    assert "decided here rests" not in text_of(tmp_path)


def test_what_certified_means_is_said_before_the_word_is_used(tmp_path):
    make_tree(tmp_path)
    text = text_of(tmp_path)
    first = text.index("certified")
    assert text[first:].startswith(
        "certified: yes if the two runs of every pair had the same data, split, noisy labels"
    )
    assert text.count("certified: yes if") == 1 and first < text.index("## Gain of ALASCA\n")
    page = html(write_report(find_runs([tmp_path]), Question(), pictures=False))
    assert page.index("certified: yes if") < page.index("<th>certified</th>")


def test_what_is_not_certified_has_no_verdict(tmp_path):
    for seed in range(4):
        for alasca, level in (("none", 0.5), ("paper", 0.7)):
            weights = [alasca.ljust(64, "f")]
            make_run(tmp_path / f"{alasca}{seed}", alasca=alasca, seed=seed, level=level, initial_weights=weights)
    text = text_of(tmp_path)
    assert "| not comparable | no: initial weights |" in text and "| gain |" not in text
    assert (
        "no: the condition that fails is named, and “What keeps runs from being compared” says how to meet it" in text
    )
    # Once for all seeds.
    assert len(re.findall("seed 0, 1, 2, 3 \\| initial weights", text)) == 1


def test_what_is_undecided_is_counted_not_listed(tmp_path):
    make_tree(tmp_path, methods=["ce", "elr", "gce"])
    listed = [line for line in text_of(tmp_path).splitlines() if line.startswith("- ") and "undecided" in line]
    assert len(listed) == 1 and listed[0].startswith("- verdict: gain or loss if")


def test_runs_of_different_lengths_are_refused_with_the_ways_out(tmp_path):
    for method, epochs in (("ce", 6), ("elr", 4)):
        make_run(tmp_path / method, method, config={"epochs": epochs, "trainer.max_epochs": epochs})
    with pytest.raises(UserError) as refusal:
        text_of(tmp_path)
    said = str(refusal.value)
    assert "epochs (4 in elr none; 6 in ce none)" in said
    assert "rows=method,alasca,epochs)" in said and "where=epochs=4)" in said and "allow=epochs)" in said
    assert "## Results" in text_of(tmp_path, rows=("method", "alasca", "epochs"))
    assert "## Results" in text_of(tmp_path, where=(("epochs", "4"),))
    allowed = text_of(tmp_path, allow=("epochs",))
    assert allowed.count("which allow=epochs lets pass") == 2 and "allow=trainer" not in allowed


def test_runs_without_clean_labels(tmp_path):
    data = DataRecord("mine", {"train": 90, "val": 10}, 2, [3, 8, 8], ["a", "b"], "d" * 64, clean_splits=[])
    for seed in (0, 1):
        rows = [{"epoch": epoch, "step": epoch, "val/acc": 0.5 + 0.01 * seed} for epoch in range(3)]
        noise = NoiseRecord("none", None, None, None, "h" * 64)
        make_run(tmp_path / str(seed), kind="none", rate=None, seed=seed, rows=rows, noise=noise, data=data)
    with pytest.raises(UserError, match=r"has no test/acc .* its metrics are val/acc; use metric=val/acc"):
        text_of(tmp_path)
    text = text_of(tmp_path, metric="val/acc")
    assert "- noise: labels as given" in text and "| method | alasca | none |" in text
    assert "Labels of the split val are used as given; some of them may be wrong." in text
