"""What an audit and a review found, in lines of text."""

from collections.abc import Sequence

import numpy as np

from alasca_pl.audit.audit import Audit
from alasca_pl.audit.planted import CAUTION, Recall
from alasca_pl.audit.review import Fraction, Review, Total
from alasca_pl.audit.second import agreement
from alasca_pl.audit.tables import class_pairs, clean, relabelled

_PAIRS = 8


def lines_of(audit: Audit, recall: Sequence[Recall]) -> list[str]:
    """Describe an audit: how many labels are wrong, which classes are confused, and what the estimate is worth."""
    names, counts = audit.class_names, audit.counts
    lines = [counts["all"].sentence()]
    lines += [f"  {name}: {count.sentence()}" for name, count in counts.items() if name != "all"]
    by = ", ".join(f"{name} {round(value):,}" for name, value in counts["all"].by.items())
    lines.append(f"by each estimator: {by}")
    lines.append(
        "The interval covers the spread of the estimators; it was checked on digits with synthetic noise, and may fail where a "
        "network learns the wrong labels or cannot learn the right ones. Decisions on the page's random sample give an "
        "unbiased estimate."
    )
    pairs = class_pairs(audit)[:_PAIRS]
    if pairs:
        lines.append("most frequent pairs, given label -> suggested one:")
        lines += [f"  {names[given]} -> {names[other]}: about {expected:.0f}" for given, other, expected, _ in pairs]
    replaced, dropped = (
        sum(int((labels[name] != split.label).sum()) for name, split in audit.splits.items())
        for labels in (relabelled(audit), clean(audit))
    )
    lines.append(
        f"without a person, the list relabelled replaces {replaced:,} labels and the list clean leaves out {dropped:,} images; "
        "where networks do not know the classes well, replaced labels may be more often wrong than right: look at the page first"
    )
    lines += _lines_of_second(audit)
    if recall:
        lines.append("planted errors found among the most suspicious labels:")
        lines += [f"  in the first {each.budget:,}: {each.found} of {each.planted}" for each in recall]
        lines.append(f"  {CAUTION}")
    return lines


def _lines_of_second(audit: Audit) -> list[str]:
    if not audit.second:
        return []
    # Scores of other splits are of another origin.
    own = np.where(audit.suspects.split == "train", audit.suspects.score, np.nan)
    told = ", ".join(f"{name} {value:.2f}" for name, value in agreement(own, audit.second).items())
    lines = [
        f"agreement of {audit.score} with second scores of the training labels (Spearman's rank correlation): {told}"
    ]
    for folds, count in audit.second_counts.items():
        by = f"networks of {folds} folds" if folds else "the final network, which was trained on most of these labels"
        lines.append(f"cleanlab takes {count:,} labels for wrong, by {by}")
    return lines


def lines_of_review(review: Review) -> list[str]:
    """Describe what decisions say about all labels."""
    lines = [f"{review.wrong_found:,} labels found wrong, {review.unsure:,} unsure", "precision of the ranking:"]
    lines += [f"  first {depth:,}: {_fraction(each)}" for depth, each in review.precision.items()]
    if review.total is None or review.remaining is None:
        lines.append(f"number of all wrong labels: {review.why_no_total}")
    else:
        lines.append(f"wrong labels in all, from {review.sampled:,} of the random sample: {_total(review.total)}")
        lines.append(f"still wrong after these decisions: {_total(review.remaining)}")
    if review.next_hour is None:
        lines.append("what another hour would find: decide on at least 10 labels to learn it")
    else:
        verdict = "" if review.pays else "; it is expected to pay nothing"
        lines.append(f"{_next(review)} at most {_total(review.next_hour)} wrong labels{verdict}")
    return lines


def _next(review: Review) -> str:
    if review.undecided <= review.per_hour:
        return f"the {review.undecided:,} labels that are not decided, less than an hour's work, hold"
    return f"another hour, {round(review.per_hour):,} decisions, finds"


def matrix_text(review: Review, class_names: Sequence[str]) -> str:
    """The corrected transition matrix as lines of numbers, which ``noise=matrix noise.matrix=FILE`` reads."""
    assert review.transition is not None
    rows = [" ".join(f"{value:.4f}" for value in row) for row in review.transition]
    counted = ", ".join(
        f"{name} {count}" for name, count in zip(class_names, np.asarray(review.transition_counts).tolist())
    )
    return (
        f"P(given label | true label), one row per true class; decided labels of the sample behind each row: {counted}\n"
        + "".join(f"{row}\n" for row in rows)
    )


def _fraction(fraction: Fraction) -> str:
    if not fraction.of:
        return "none decided"
    interval = f"{fraction.low:.0%} to {fraction.high:.0%}"
    return f"{fraction.found} of {fraction.of} decided are wrong, {fraction.estimate:.0%} ({interval})"


def _total(total: Total) -> str:
    return f"about {round(total.estimate):,} ({round(total.low):,} to {round(total.high):,})"
