"""From a question and the runs that were found to a report."""

from collections.abc import Iterable, Sequence

from alasca_pl.report.compare import Comparison, against_one, claim, gains, overall_gains, repairs
from alasca_pl.report.costs import costs
from alasca_pl.report.document import Block, Code, Document, Items, Section, Table, Text
from alasca_pl.report.grid import SELECTS, Grid, Label, Question, build_grid, label_text
from alasca_pl.report.keys import text_of
from alasca_pl.report.missing import missing_runs
from alasca_pl.report.origin import what_was_run
from alasca_pl.report.paper import CITATION, PROTOCOL, paper_number, settings_of
from alasca_pl.report.pictures import against, confidence, curves, norms, picture
from alasca_pl.report.plots import draw_differences
from alasca_pl.report.sample_plots import measured_names, measurements
from alasca_pl.report.saved import Found
from alasca_pl.report.statistics import SMALLEST_N, mean_and_std, smallest_sign_p
from alasca_pl.report.summary import measured


def write_report(found: Found, question: Question, pictures: bool = True) -> Document:
    """Write the report that answers a question.

    Args:
        found: Runs.
        question: What is asked.
        pictures: Whether to draw, which takes a moment; without, pictures are there but empty.

    Raises:
        UserError: If the runs do not belong together, see ``build_grid``.
    """
    grid = build_grid(found, question)
    of_alasca = gains(grid)
    overall, others = overall_gains(grid), against_one(grid)
    if _pairs(others) <= _pairs(of_alasca):
        others = []
    sections = [
        Section("What was run", [Items(what_was_run(grid))]),
        Section("Results", _results(grid, len(found.aside))),
        Section("Beside the paper's numbers", _beside_paper(grid)),
        Section("Gain of ALASCA", _differences(grid, of_alasca, "gains", pictures)),
        Section("Gain of ALASCA over all columns", _differences(grid, overall, "gains_overall", pictures)),
        Section(f"Against {label_text(_base_of(grid))}", _differences(grid, others, "comparisons", pictures)),
        Section("What keeps runs from being compared", _repairs([*of_alasca, *others])),
        Section("Missing runs", _missing(grid, found)),
        Section("Runs set aside", _aside(found)),
        Section("Cost", _costs(grid)),
        Section("Training curves", curves(grid, pictures)),
        Section("Results against a setting", against(grid, pictures)),
        Section("Confidence", confidence(grid, pictures)),
        Section("Norms of representations and Jacobians", [*_norms(grid), *norms(grid, pictures)]),
        Section("Notes", [Items([*grid.notes, *found.notes])] if grid.notes or found.notes else []),
    ]
    title = f"{question.metric}, {SELECTS[question.select]}"
    return Document(title, [section for section in sections if section.blocks])


def results_table(grid: Grid) -> Table:
    """Means, standard deviations and numbers of runs."""
    question = grid.question
    rows, data = [], []
    for row in grid.rows:
        cells = []
        for col in grid.cols:
            summary = grid.summary(row, col)
            cells.append("missing" if summary is None else _mean_std(*summary, question))
            if summary is not None:
                mean, std, n = summary
                seeds = " ".join(map(str, sorted(grid.cell(row, col))))
                data.append([*_texts(row), *_texts(col), repr(mean), _full(std), str(n), seeds])
        rows.append([*_texts(row), *cells])
    unit = "percent, " if question.is_percent else ""
    caption = f"{question.metric} ({unit}{SELECTS[question.select]}): mean ± standard deviation over seeds (n runs)"
    header = [*question.rows, *(label_text(col) for col in grid.cols)]
    return Table(
        "results", caption, header, rows, len(question.rows), [*question.keys, "mean", "std", "n", "seeds"], data
    )  # fmt: skip


def _results(grid: Grid, aside: int) -> list[Block]:
    question = grid.question
    blocks: list[Block] = []
    if question.select == "best_test":
        blocks.append(
            Text(
                "Flattering: each run's epoch was selected on the test split on which it is measured. Use select=mean_of_last or "
                "select=best_val to compare methods."
            )
        )
    partly = sum(0 < len([row for row in run.history if measured(row)]) < len(run.history) for run in grid.runs())
    if partly and question.select != "best_val":
        blocks.append(
            Text(
                f"{partly} runs did not measure accuracies in every epoch; figures are of the epochs in which they did."
            )
        )
    count = len(grid.runs())
    blocks.append(Text(f"{count} finished runs, seeds {', '.join(map(str, grid.seeds))}; {aside} set aside."))
    return [*blocks, results_table(grid)]


def _beside_paper(grid: Grid) -> list[Block]:
    question = grid.question
    if not question.is_percent or not question.metric.startswith("test/"):
        return []
    metric_rule = question.metric.removeprefix("test/acc").removeprefix("_") or None
    rows, data, differing = [], [], dict[str, None]()
    for row in grid.rows:
        for col in grid.cols:
            summary = grid.summary(row, col)
            entries = list(grid.cell(row, col).values())
            known = paper_number(entries[0].run, entries[0].rule or metric_rule) if entries else None
            if summary is None or known is None:
                continue
            mean, std, n = summary
            paper = f"{known.mean:g}" + (f" ± {known.std:g}" if known.std is not None else "")
            where = f"Table {known.table}, {known.method}"
            rows.append(
                [
                    label_text(row),
                    label_text(col),
                    _mean_std(mean, std, n, question),
                    paper,
                    _signed(mean - known.mean),
                    where,
                ]
            )
            data.append(
                [*_texts(row), *_texts(col), repr(mean), _full(std), str(n), f"{known.mean:g}", _full(known.std),
                 repr(mean - known.mean), str(known.table), known.method, known.notes]
            )  # fmt: skip
            for entry in entries:
                for name, value in settings_of(entry.run).items():
                    if value != PROTOCOL[name]:
                        differing[f"{name}: {text_of(value)} here, {PROTOCOL[name]} in the paper's code"] = None
    if not rows:
        return []
    header = ["row", "column", "ours", "the paper's", "ours − the paper's", "in the paper"]
    data_header = [
        *question.keys, "mean", "std", "n", "paper_mean", "paper_std", "difference", "paper_table", "paper_method", "paper_notes",
    ]  # fmt: skip
    caption = f"Our numbers beside those printed in {CITATION} (accuracy in percent)"
    blocks: list[Block] = [Table("paper", caption, header, rows, 2, data_header, data)]
    if differing:
        blocks += [
            Text("These runs are not the paper's experiment; the difference is not a check of it:"),
            Items(list(differing)),
        ]
    return blocks


def _differences(grid: Grid, comparisons: Sequence[Comparison], name: str, pictures: bool) -> list[Block]:
    if not comparisons:
        return []
    question = grid.question
    unit = "percentage points" if question.is_percent else question.metric
    rows, data = [], []
    for its in comparisons:
        result = its.result
        cells = ["–"] * 5
        full = [""] * 8
        if result is not None:
            interval = (
                "–" if result.low is None else f"{_signed(result.low, question)} to {_signed(result.high, question)}"
            )
            effect = "–" if result.effect is None else _signed(result.effect)
            cells = [_signed(result.mean, question), interval, _p(result.p), _p(its.adjusted), effect]
            full = [
                repr(result.mean), *map(_full, (result.std, result.low, result.high, result.p, its.adjusted, result.effect)),
                " ".join(map(repr, result.differences)),
            ]  # fmt: skip
        n = result.n if result else 0
        certified = "yes" if its.is_certified else "no"
        labels = [label_text(its.row), label_text(its.base), label_text(its.col)]
        rows.append([*labels, str(n), *cells, its.verdict, certified])
        data.append([*labels, str(n), *full, its.verdict, certified, " ".join(map(str, its.seeds))])
    level = f"{question.level * 100:g} %"
    header = [
        "row",
        "against",
        "column",
        "n",
        "difference",
        f"{level} interval",
        "p",
        "p (Holm)",
        "effect",
        "verdict",
        "certified",
    ]
    data_header = [
        "row", "against", "column", "n", "difference", "std", "low", "high", "p", "p_holm", "effect", "differences", "verdict",
        "certified", "seeds",
    ]  # fmt: skip
    caption = f"Paired differences over seeds with the same noisy labels, in {unit}"
    blocks: list[Block] = [
        Table(name, caption, header, rows, 3, data_header, data),
        Items([claim(its) for its in comparisons]),
    ]
    smallest = min((its.result.n for its in comparisons if its.result), default=0)
    family = sum(its.adjusted is not None for its in comparisons)
    words = (
        f"Two-sided paired t test; Holm's correction over {family} tests of this table; the interval is of a single test. "
        f"Effect: Hedges' g of the differences. gain, loss: p (Holm) below {1 - question.level:.2g}; no gain: the whole "
        f"interval lies below {question.smallest_gain:g}; below {SMALLEST_N} pairs nothing is decided."
    )
    if 1 < smallest < 6:
        words += (
            f" With {smallest} pairs a sign test cannot give less than p = {smallest_sign_p(smallest):.3g}; what is decided "
            "here rests on the t test's assumption that differences are normally distributed."
        )
    blocks.append(Text(words))
    left = [
        f"{label_text(its.row)}, {label_text(its.col)}: not both have seed {', '.join(map(str, its.unpaired))}"
        for its in comparisons
        if its.unpaired
    ]
    blocks += [Items(left)] if left else []
    if any(its.result for its in comparisons):
        caption = f"Means with {level} intervals; marks are pairs; open circles are not certified"
        blocks.append(picture(name, caption, lambda: draw_differences(comparisons, unit), pictures))
    return blocks


def _repairs(comparisons: Sequence[Comparison]) -> list[Block]:
    rows = repairs(comparisons)
    if not rows:
        return []
    caption = "Conditions of a fair comparison that fail; a difference is only claimed where none does"
    header = ["runs", "condition", "found", "repair"]
    return [Table("conditions", caption, header, rows, 4, header, rows)]


def _missing(grid: Grid, found: Found) -> list[Block]:
    missing = missing_runs(grid, found.planned)
    if not missing:
        return []
    listing = [f"{each.cell}: seed {each.seed}" for each in missing]
    return [Items(listing), Text("These commands fill them:"), Code([each.command for each in missing])]


def _aside(found: Found) -> list[Block]:
    if not found.aside:
        return []
    return [
        Text("Not in any number above:"),
        Items([f"{each.source}: {each.status}{f', {each.reason}' if each.reason else ''}" for each in found.aside]),
    ]


def _costs(grid: Grid) -> list[Block]:
    rows, data = [], []
    for its in costs(grid):
        values = (its.seconds, its.memory, its.parameters, its.flops)
        if not any(values):
            continue
        shown = [
            "–" if value is None else f"{value:.{digits}f}" for value, digits in zip(values, (2, 0, 0, 0))
        ]  # fmt: skip
        ratios = ["–" if value is None else f"{value:.2f} ×" for value in its.relative]
        cells = [text for pair in zip(shown, ratios) for text in pair]
        rows.append([label_text(its.row), label_text(its.col), str(its.n), *cells])
        data.append([label_text(its.row), label_text(its.col), str(its.n), *map(_full, (*values, *its.relative))])
    if not rows:
        return []
    header = ["row", "column", "n", "s/epoch", "× CE", "peak MB", "× CE", "parameters", "× CE", "FLOPs", "× CE"]
    data_header = [
        "row",
        "column",
        "n",
        "seconds",
        "memory_mb",
        "parameters",
        "flops",
        "seconds_ratio",
        "memory_ratio",
        "parameters_ratio",
        "flops_ratio",
    ]
    caption = (
        "Means over runs: wall-clock time with measuring, peak memory of the accelerator or else of the whole process, trained "
        "parameters of all networks with auxiliary heads, floating-point operations of their forward pass for one image; × CE "
        "only on equal hardware"
    )
    return [Table("cost", caption, header, rows, 2, data_header, data)]


def _norms(grid: Grid) -> list[Block]:
    """Means over samples, then over runs, of what was measured on checkpoints."""
    rows, data = [], []
    for what in ("jacobian", "norms"):
        for name in measured_names(grid, what):
            for row in grid.rows:
                for col in grid.cols:
                    by_word: dict[str, list[float]] = {}
                    for its in measurements(grid, row, col, name):
                        for word, values in {"all": its.sample_values, **its.split_by_noise()}.items():
                            if values:
                                by_word.setdefault(word, []).append(sum(values) / len(values))
                    if not by_word:
                        continue
                    labels = [label_text(row), label_text(col), name, str(len(by_word["all"]))]
                    cells, full = [], []
                    for word in ("all", "clean", "noisy"):
                        mean, std = mean_and_std(by_word[word]) if word in by_word else (None, None)
                        cells.append("–" if mean is None else f"{mean:.4g}{'' if std is None else f' ± {std:.2g}'}")
                        full += [_full(mean), _full(std)]
                    rows.append([*labels, *cells])
                    data.append([*labels, *full])
    if not rows:
        return []
    header = ["row", "column", "measured", "n", "all samples", "clean", "noisy"]
    data_header = [*header[:4], "all", "all_std", "clean", "clean_std", "noisy", "noisy_std"]
    caption = "Norms that alasca-measure wrote: mean over samples, then mean ± standard deviation over n runs"
    return [Table("norms", caption, header, rows, 3, data_header, data)]


def _base_of(grid: Grid) -> Label:
    wanted = grid.question.against
    return next((row for row in grid.rows if tuple(_texts(row)) == wanted), grid.rows[0])


def _pairs(comparisons: Iterable[Comparison]) -> set[tuple[Label, Label, Label]]:
    return {(each.row, each.base, each.col) for each in comparisons}


def _texts(label: Label) -> list[str]:
    return [text_of(value) for value in label]


def _full(value: float | None) -> str:
    return "" if value is None else repr(value)


def _mean_std(mean: float, std: float | None, n: int, question: Question) -> str:
    return f"{_number(mean, question)}{'' if std is None else f' ± {_number(std, question)}'} ({n})"


def _number(value: float, question: Question) -> str:
    return f"{value:.2f}" if question.is_percent else f"{value:.4g}"


def _signed(value: float | None, question: Question | None = None) -> str:
    if value is None:
        return "–"
    text = f"{value:+.2f}" if question is None or question.is_percent else f"{value:+.4g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def _p(value: float | None) -> str:
    if value is None:
        return "–"
    text = f"{value:.4f}"
    return "< .0001" if text == "0.0000" else "1" if text == "1.0000" else text[1:]
