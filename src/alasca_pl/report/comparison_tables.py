"""Comparisons of rows as a report shows them: tables, what they decide, and how to read them."""

from collections.abc import Iterable, Sequence

from alasca_pl.report.compare import Comparison, claim, repairs
from alasca_pl.report.document import Block, Items, Table, Text
from alasca_pl.report.grid import Grid, label_text
from alasca_pl.report.numbers import counted, full, p_text, signed
from alasca_pl.report.pictures import picture
from alasca_pl.report.plots import draw_differences
from alasca_pl.report.question import Question
from alasca_pl.report.statistics import SMALLEST_N, smallest_sign_p

_DECIDED, _OPEN = ("gain", "loss", "no gain"), ("undecided", "n too small to decide")
CONDITIONS = "What keeps runs from being compared"
# From this number of pairs on a sign test alone can decide at the usual level.
_ENOUGH_SIGNS = 6


def differences(grid: Grid, comparisons: Sequence[Comparison], name: str, pictures: bool) -> list[Block]:
    """A table of comparisons, the sentences that they allow, and their picture; only sentences where there is no pair."""
    with_pairs = [its for its in comparisons if its.result is not None]
    blocks: list[Block] = [_table(grid.question, comparisons, name)] if with_pairs else []
    blocks += _sentences(comparisons)
    left = [
        f"{label_text(its.row)}, {label_text(its.col)}: not both have seed {', '.join(map(str, its.unpaired))}"
        for its in with_pairs
        if its.unpaired
    ]
    blocks += [Text("Seeds that are in no pair:"), Items(left)] if left else []
    if with_pairs:
        unit = _unit(grid.question)
        caption = f"Means with {_level(grid.question)} intervals; marks are pairs; open circles are not certified"
        blocks.append(picture(name, caption, lambda: draw_differences(comparisons, unit), pictures))
    return blocks


def how_to_read(question: Question, tables: Iterable[Sequence[Comparison]]) -> list[Block]:
    """What the columns of all tables of comparisons mean, once, before the first of them."""
    shown = [its for comparisons in tables for its in comparisons if its.result is not None]
    if not shown:
        return []
    tested = [its for its in shown if its.adjusted is not None]
    lines = [
        "difference: the row minus the row that it is compared with (“against”), as the mean over n pairs. The two runs of a "
        "pair have the same seed and the same noisy labels."
    ]
    if tested:
        lines += [
            "interval, p: of a two-sided paired t test, each by itself. p (Holm): the same p-value, made larger because several "
            "tests are made in one table. effect: the difference over its standard deviation (Hedges' g).",
            f"verdict: gain or loss if p (Holm) is below {1 - question.level:.2g}; no gain if the whole interval lies below "
            f"{question.smallest_gain:g} (margin={question.smallest_gain:g}); undecided otherwise.",
        ]
    few = sum(its.result.n < SMALLEST_N for its in shown if its.result)
    if few:
        lines.append(
            f"{_few(few, len(shown))} fewer than {SMALLEST_N} pairs: no test is made and nothing is decided. More seeds (e.g. "
            "seed=0,1,2) make more pairs."
        )
    if any(its.result and its.result.n >= SMALLEST_N and its.result.p is None for its in shown):
        lines.append("Where all differences are equal there is no spread to test them by, hence no p-value.")
    lines.append(
        "certified: yes if the two runs of every pair had the same data, split, noisy labels, initial weights, batches, epochs "
        "and way of selecting epochs and predictions, and equally many settings tuned by hand, so that nothing else can "
        "explain a difference. It does not say that there is one."
    )
    failing = [its for its in shown if not its.is_certified]
    if failing:
        lines[-1] += f" no: the condition that fails is named, and “{CONDITIONS}” says how to meet it."
    return [Items(lines)]


def failed_conditions(comparisons: Sequence[Comparison]) -> list[Block]:
    """Conditions of a fair comparison that some runs do not meet, and what would repair them."""
    rows = repairs(comparisons)
    if not rows:
        return []
    caption = "Conditions of a certified comparison that fail; a difference is only claimed where none does"
    header = ["runs", "condition", "found", "repair"]
    return [Table("conditions", caption, header, rows, 4, header, rows)]


def _table(question: Question, comparisons: Sequence[Comparison], name: str) -> Table:
    rows, data = [], []
    for its in comparisons:
        result = its.result
        cells, values = ["–"] * 5, [""] * 8
        if result is not None:
            low, high = (signed(end, question) for end in (result.low, result.high))
            # Of too few pairs there is no test, see statistics.verdict.
            p = p_text(result.p if result.n >= SMALLEST_N else None)
            cells = [signed(result.mean, question), "–" if result.low is None else f"{low} to {high}", p]
            cells += [p_text(its.adjusted), "–" if result.effect is None else signed(result.effect)]
            numbers = (result.mean, result.std, result.low, result.high, result.p, its.adjusted, result.effect)
            values = [*map(full, numbers), " ".join(map(repr, result.differences))]
        n = str(result.n if result else 0)
        labels = [label_text(its.row), label_text(its.base), label_text(its.col)]
        certified = "yes" if its.is_certified else "no"
        why = f": {', '.join(its.failed)}" if its.failed else ""
        rows.append([*labels, its.stated, certified + why, n, *cells])
        data.append([*labels, n, *values, its.stated, certified, " ".join(map(str, its.seeds))])
    header = [
        "row",
        "against",
        "column",
        "verdict",
        "certified",
        "n",
        "difference",
        f"{_level(question)} interval",
        "p",
    ]
    data_header = [
        "row", "against", "column", "n", "difference", "std", "low", "high", "p", "p_holm", "effect", "differences", "verdict",
        "certified", "seeds",
    ]  # fmt: skip
    caption = f"Paired differences over seeds with the same noisy labels, in {_unit(question)}"
    return Table(name, caption, [*header, "p (Holm)", "effect"], rows, 5, data_header, data)


def _sentences(comparisons: Sequence[Comparison]) -> list[Block]:
    """What is claimed, and counts of what is not."""
    said = [claim(its) for its in comparisons if its.stated not in _OPEN]
    blocks: list[Block] = [Items(said)] if said else []
    undecided, few = (sum(its.stated == word for its in comparisons) for word in _OPEN)
    words = [f"{undecided} undecided"] if undecided else []
    words += [f"{few} with too few pairs to decide"] if few else []
    if words:
        words[0] = f"{'The other comparisons' if said else 'No difference is decided'}: {words[0]}"
    sentences = [f"{', '.join(words)}."] if words else []
    tests = sum(its.adjusted is not None for its in comparisons)
    if tests > 1:
        sentences.append(f"Holm's correction is over the {tests} tests of this table.")
    decided = [
        its.result.n for its in comparisons if its.result and its.adjusted is not None and its.stated in _DECIDED
    ]
    if decided and min(decided) < _ENOUGH_SIGNS:
        n = min(decided)
        sentences.append(
            f"With {n} pairs a sign test cannot give less than p = {smallest_sign_p(n):.3g}; what is decided here rests on the t "
            "test's assumption that differences are normally distributed."
        )
    return [*blocks, Text(" ".join(sentences))] if sentences else blocks


def _few(few: int, all_of_them: int) -> str:
    if few == all_of_them:
        return "The comparison has" if few == 1 else "All comparisons have"
    return f"{counted(few, 'comparison')} {'has' if few == 1 else 'have'}"


def _unit(question: Question) -> str:
    return "percentage points" if question.is_percent else question.metric


def _level(question: Question) -> str:
    return f"{question.level * 100:g} %"
