"""From a question and the runs that were found to a report."""

from collections.abc import Iterable

from alasca_pl.core.metric_names import VAL, MetricName
from alasca_pl.report.compare import Comparison, against_one, base_row, gains, overall_gains, without_base
from alasca_pl.report.comparison_tables import CONDITIONS, differences, failed_conditions, how_to_read
from alasca_pl.report.costs import costs
from alasca_pl.report.document import Block, Code, Document, Items, Section, Table, Text
from alasca_pl.report.grid import Grid, Label, build_grid, label_text
from alasca_pl.report.keys import text_of
from alasca_pl.report.missing import missing_runs
from alasca_pl.report.numbers import counted, full, mean_std, signed, texts
from alasca_pl.report.origin import what_was_run
from alasca_pl.report.paper import CITATION, PROTOCOL, paper_number, settings_of
from alasca_pl.report.pictures import against, confidence, curves, norms
from alasca_pl.report.question import SELECTS, Question
from alasca_pl.report.sample_plots import measured_names, measurements
from alasca_pl.report.saved import Found
from alasca_pl.report.statistics import mean_and_std
from alasca_pl.report.summary import measured

_ASIDE = "Runs set aside"


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
    of_alasca, overall, others = gains(grid), overall_gains(grid), against_one(grid)
    if _pairs(others) <= _pairs(of_alasca):
        others = []
    base = base_row(grid)
    sections = [
        Section("What was run", [Items(what_was_run(grid))]),
        Section("Results", _results(grid, len(found.aside))),
        Section("Beside the paper's numbers", _beside_paper(grid)),
        Section("How to read the comparisons", how_to_read(question, (of_alasca, overall, others))),
        Section("Gain of ALASCA", [*differences(grid, of_alasca, "gains", pictures), *_alone(grid)]),
        Section("Gain of ALASCA over all columns", differences(grid, overall, "gains_overall", pictures)),
        Section(f"Against {label_text(base or ())}", differences(grid, others, "comparisons", pictures)),
        Section(CONDITIONS, failed_conditions([*of_alasca, *others])),
        Section("Missing runs", _missing(grid, found)),
        Section(_ASIDE, _aside(found)),
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
            cells.append("missing" if summary is None else mean_std(*summary, question))
            if summary is not None:
                mean, std, n = summary
                seeds = " ".join(map(str, sorted(grid.cell(row, col))))
                data.append([*texts(row), *texts(col), repr(mean), full(std), str(n), seeds])
        rows.append([*texts(row), *cells])
    unit = "percent, " if question.is_percent else ""
    by = f" by {', '.join(question.cols)}" if question.cols else ""
    caption = f"{question.metric} ({unit}{SELECTS[question.select]}){by}: mean ± standard deviation over seeds (n runs)"
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
                f"{counted(partly, 'run')} did not measure accuracies in every epoch; figures are of the epochs in which they "
                "were measured."
            )
        )
    if question.is_percent:
        group = MetricName.parse(question.metric).group
        known = [run.record.data.clean_splits for run in grid.runs()]
        if group == VAL or any(splits is not None and group not in splits for splits in known):
            blocks.append(Text(f"Labels of the split {group} are used as given; some of them may be wrong."))
    seeds = f"seed{'' if len(grid.seeds) == 1 else 's'} {', '.join(map(str, grid.seeds))}"
    left_out = f"; {aside} set aside, see “{_ASIDE}”" if aside else ""
    blocks += [Text(f"{counted(len(grid.runs()), 'finished run')}, {seeds}{left_out}."), results_table(grid)]
    if len(grid.rows) > 1 and base_row(grid) is None:
        row = ",".join(texts(grid.rows[0]))
        blocks.append(
            Text(f"No row is plain cross-entropy; against={row} (or another row) compares the others with it.")
        )
    return blocks


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
                    mean_std(mean, std, n, question),
                    paper,
                    signed(mean - known.mean),
                    where,
                ]
            )
            data.append(
                [*texts(row), *texts(col), repr(mean), full(std), str(n), f"{known.mean:g}", full(known.std),
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
    blocks: list[Block] = []
    if differing:
        blocks += [
            Text("These runs are not the paper's experiment; the difference is not a check of it:"),
            Items(list(differing)),
        ]
    return [*blocks, Table("paper", caption, header, rows, 2, data_header, data)]


def _alone(grid: Grid) -> list[Block]:
    """Rows and columns with ALASCA that have nothing to be compared with."""
    labels = "; ".join(map(label_text, without_base(grid)))
    if not labels:
        return []
    return [
        Text(f"There is no run without ALASCA to compare with: {labels}. The same command with alasca=none trains one.")
    ]


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
    found = [its for its in costs(grid) if any((its.seconds, its.memory, its.parameters, its.flops))]
    if not found:
        return []
    has_ratios = any(ratio is not None for its in found for ratio in its.relative)
    rows, data = [], []
    for its in found:
        values = (its.seconds, its.memory, its.parameters, its.flops)
        shown = ["–" if value is None else f"{value:,.{digits}f}" for value, digits in zip(values, (2, 0, 0, 0))]
        ratios = ["–" if value is None else f"{value:.2f} ×" for value in its.relative]
        cells = [text for pair in zip(shown, ratios) for text in pair] if has_ratios else shown
        rows.append([label_text(its.row), label_text(its.col), str(its.n), *cells])
        data.append([label_text(its.row), label_text(its.col), str(its.n), *map(full, (*values, *its.relative))])
    measured_in = ("s/epoch", "peak MB", "parameters", "FLOPs")
    heads = [head for name in measured_in for head in ((name, "× CE") if has_ratios else (name,))]
    header = ["row", "column", "n", *heads]
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
        "parameters of all networks with auxiliary heads, floating-point operations of their forward pass for one image"
    )
    if has_ratios:
        caption += "; × CE: relative to plain cross-entropy in the same column, if it ran on equal hardware"
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
                    cells: list[str] = []
                    data_cells: list[str] = []
                    for word in ("all", "clean", "noisy"):
                        mean, std = mean_and_std(by_word[word]) if word in by_word else (None, None)
                        cells.append("–" if mean is None else f"{mean:.4g}{'' if std is None else f' ± {std:.2g}'}")
                        data_cells += [full(mean), full(std)]
                    rows.append([*labels, *cells])
                    data.append([*labels, *data_cells])
    if not rows:
        return []
    header = ["row", "column", "measured", "n", "all samples", "clean", "noisy"]
    data_header = [*header[:4], "all", "all_std", "clean", "clean_std", "noisy", "noisy_std"]
    caption = "Norms that alasca-measure wrote: mean over samples, then mean ± standard deviation over n runs"
    return [Table("norms", caption, header, rows, 3, data_header, data)]


def _pairs(comparisons: Iterable[Comparison]) -> set[tuple[Label, Label, Label]]:
    return {(each.row, each.base, each.col) for each in comparisons}
