"""How well scores find wrong labels, over many runs: one row per run and score, and what is computed from these rows."""

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from alasca_pl.core.errors import UserError
from alasca_pl.report.document import Document, Figure, Items, Section, Table, Text
from alasca_pl.report.statistics import mean_and_std
from alasca_pl.report.style import file_of, legend_below, line_style, panels, plain, svg_of, y_label

MEASURES = {
    "average_precision": "average precision",
    "auroc": "AUROC",
    "precision": "precision at the true number of wrong labels",
    "missed": "false negatives when exactly the true number is flagged",
}
_LESS_IS_BETTER = ("missed",)
_DRAWN = ("average_precision", "auroc")
_ROW, _COL = "row:", "column:"


@dataclass(frozen=True)
class ScoreRow:
    """One score of one run.

    Attributes:
        row: Labels of the table's row, one text per key.
        col: Labels of the column.
        seed: The run's seed.
        score: Name of the score.
        labels: Number of labels that were ranked.
        wrong: How many of them are wrong.
        auroc: See ``audit.measures.Measures``, also for the following.
        average_precision: Likewise.
        precision: Likewise.
        missed: Likewise.
        run: Where the run was found.
    """

    row: tuple[str, ...]
    col: tuple[str, ...]
    seed: int
    score: str
    labels: int
    wrong: int
    auroc: float
    average_precision: float
    precision: float
    missed: float
    run: str


@dataclass(frozen=True)
class ScoreRows:
    """Scores of many runs.

    Attributes:
        row_keys: Keys of the rows.
        col_keys: Keys of the columns.
        rows: One per run and score, in the order of the table.
    """

    row_keys: tuple[str, ...]
    col_keys: tuple[str, ...]
    rows: Sequence[ScoreRow]

    @property
    def scores(self) -> list[str]:
        """Names of all scores."""
        return list(dict.fromkeys(each.score for each in self.rows))

    @property
    def row_labels(self) -> list[tuple[str, ...]]:
        """Labels of all rows."""
        return list(dict.fromkeys(each.row for each in self.rows))

    @property
    def col_labels(self) -> list[tuple[str, ...]]:
        """Labels of all columns."""
        return list(dict.fromkeys(each.col for each in self.rows))

    def values(self, measure: str, score: str, row: tuple[str, ...], col: tuple[str, ...]) -> dict[int, float]:
        """A measure of a cell by seed."""
        chosen = (each for each in self.rows if (each.score, each.row, each.col) == (score, row, col))
        return {each.seed: getattr(each, measure) for each in chosen}

    def to_csv(self) -> str:
        """All rows as text, numbers in full; ``from_csv`` reads it."""
        numbers = [field.name for field in fields(ScoreRow) if field.name not in ("row", "col")]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(
            [*(f"{_ROW}{key}" for key in self.row_keys), *(f"{_COL}{key}" for key in self.col_keys), *numbers]
        )
        for each in self.rows:
            writer.writerow([*each.row, *each.col, *(getattr(each, name) for name in numbers)])
        return text.getvalue()

    @classmethod
    def from_csv(cls, path: Path) -> "ScoreRows":
        """Read what ``to_csv`` wrote.

        Raises:
            UserError: If the file holds anything else.
        """
        try:
            with path.open(encoding="utf-8", newline="") as file:
                lines = list(csv.DictReader(file, strict=True))
            heads = list(lines[0])
            row_keys, col_keys = ([head for head in heads if head.startswith(mark)] for mark in (_ROW, _COL))
            readers = {field.name: field.type for field in fields(ScoreRow) if field.type in (str, int, float)}
            rows = [
                ScoreRow(
                    row=tuple(line[key] for key in row_keys),
                    col=tuple(line[key] for key in col_keys),
                    **{name: read(line[name]) for name, read in readers.items()},  # type: ignore[arg-type]
                )
                for line in lines
            ]
        except (OSError, ValueError, KeyError, TypeError, IndexError, csv.Error) as error:
            raise UserError(f"{path} is no scores.csv of alasca-audit compare: {error!r}") from error
        return cls(tuple(map(_without_mark, row_keys)), tuple(map(_without_mark, col_keys)), rows)


def rows_file(places: Sequence[str | Path]) -> Path | None:
    """The one file with rows, if places name that and no runs."""
    file = Path(places[0]) if len(places) == 1 else None
    return file if file is not None and file.suffix == ".csv" and file.is_file() else None


def write_comparison(
    scores: ScoreRows, default: str, about: Mapping[str, str], left_out: Sequence[str] = (), pictures: bool = True
) -> Document:
    """Tables of all measures, what is best in each column, and pictures.

    Args:
        scores: The rows.
        default: Name of the score that others are compared with.
        about: What scores are, by name.
        left_out: Runs that are not among the rows, and why.
        pictures: Whether to draw.
    """
    seeds = sorted({each.seed for each in scores.rows})
    runs = len({each.run for each in scores.rows})
    known = [f"{name}: {about[name]}" for name in scores.scores if about.get(name)]
    sections = [
        Section(
            "Wrong labels",
            [
                Text(f"{runs} runs, seeds {', '.join(map(str, seeds))}. Clean labels are used for measuring only."),
                _noise_table(scores),
            ],
        ),
        *(Section(text[0].upper() + text[1:], [_measure_table(scores, name)]) for name, text in MEASURES.items()),
        Section(f"The score {default} against the best other one", [_against_default(scores, default)]),
        Section("Scores", [Text("Each is larger for a label that is more suspicious."), Items(known)] if known else []),
        Section("Runs left out", [Items(left_out)] if left_out else []),
        Section("Pictures", [_picture(scores, name) for name in _DRAWN] if pictures else []),
    ]
    return Document("Scores of labels", [section for section in sections if section.blocks])


def _without_mark(head: str) -> str:
    return head.partition(":")[2]


def _mean_std(values: Iterable[float], digits: int) -> str:
    known = list(values)
    if not known:
        return "missing"
    mean, std = mean_and_std(known)
    spread = "" if std is None else f" ± {std:.{digits}f}"
    return f"{mean:.{digits}f}{spread} ({len(known)})"


def _digits(measure: str) -> int:
    return 1 if measure == "missed" else 3


def _noise_table(scores: ScoreRows) -> Table:
    rows, data = [], []
    for col in scores.col_labels:
        by_run = {each.run: each for each in scores.rows if each.col == col}
        fractions = [each.wrong / each.labels for each in by_run.values()]
        labels = ", ".join(f"{number:,}" for number in sorted({each.labels for each in by_run.values()}))
        rows.append([", ".join(col) or "all", labels, _mean_std(fractions, 3)])
        data.append(
            [*col, labels, repr(mean_and_std(fractions)[0]), _full(mean_and_std(fractions)[1]), str(len(fractions))]
        )
    header = [", ".join(scores.col_keys) or "column", "labels", "fraction wrong"]
    caption = "Labels and fraction of them that is wrong: mean ± standard deviation over runs (n runs)"
    return Table(
        "noise", caption, header, rows, 1, [*scores.col_keys, "labels", "fraction_wrong", "std", "n"], data
    )  # fmt: skip


def _measure_table(scores: ScoreRows, measure: str) -> Table:
    best = {col: _best(scores, measure, col) for col in scores.col_labels}
    rows, data = [], []
    for name in scores.scores:
        for row in scores.row_labels:
            found = {col: scores.values(measure, name, row, col) for col in scores.col_labels}
            if not any(found.values()):
                continue
            cells = []
            for col, values in found.items():
                mark = " *" if best[col] == (name, row) else ""
                cells.append(_mean_std(values.values(), _digits(measure)) + mark)
                if values:
                    mean, std = mean_and_std(list(values.values()))
                    data.append([measure, name, *row, *col, repr(mean), _full(std), str(len(values))])
            rows.append([name, *row, *cells])
    caption = f"{MEASURES[measure]}: mean ± standard deviation over seeds (n runs); * the best of its column"
    header = ["score", *scores.row_keys, *(", ".join(col) or "all" for col in scores.col_labels)]
    data_header = ["measure", "score", *scores.row_keys, *scores.col_keys, "mean", "std", "n"]
    return Table(measure, caption, header, rows, 1 + len(scores.row_keys), data_header, data)


def _worth(scores: ScoreRows, measure: str, name: str, row: tuple[str, ...], col: tuple[str, ...]) -> float:
    """Mean of a cell, with the sign that makes more better; minus infinity for an empty one."""
    values = scores.values(measure, name, row, col)
    if not values:
        return -math.inf
    mean = mean_and_std(list(values.values()))[0]
    return -mean if measure in _LESS_IS_BETTER else mean


def _best(scores: ScoreRows, measure: str, col: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    cells = [(name, row) for name in scores.scores for row in scores.row_labels]
    return max(cells, key=lambda cell: _worth(scores, measure, cell[0], cell[1], col))


def _against_default(scores: ScoreRows, default: str) -> Table:
    rows, data = [], []
    for measure, text in MEASURES.items():
        for col in scores.col_labels:
            for row in scores.row_labels:
                others = [name for name in scores.scores if name != default and scores.values(measure, name, row, col)]
                own = scores.values(measure, default, row, col)
                if not others or not own:
                    continue
                worth = {name: _worth(scores, measure, name, row, col) for name in (default, *others)}
                best = max(others, key=lambda name: worth[name])
                theirs = scores.values(measure, best, row, col)
                sign = -1.0 if measure in _LESS_IS_BETTER else 1.0
                gains = [sign * (own[seed] - theirs[seed]) for seed in own.keys() & theirs.keys()]
                mean, std = mean_and_std(gains) if gains else (math.nan, None)
                ahead = sum(worth[default] >= worth[name] for name in others)
                rows.append(
                    [text, ", ".join(col) or "all", ", ".join(row), best, _mean_std(gains, _digits(measure)),
                     f"{ahead} of {len(others)}"]
                )  # fmt: skip
                data.append(
                    [measure, *col, *row, best, repr(mean), _full(std), str(len(gains)), str(ahead), str(len(others))]
                )
    header = ["measure", ", ".join(scores.col_keys) or "column", ", ".join(scores.row_keys), "best other score",
              f"gain of {default}", "scores not ahead of it"]  # fmt: skip
    data_header = [
        "measure",
        *scores.col_keys,
        *scores.row_keys,
        "best_other",
        "gain",
        "std",
        "n",
        "not_ahead",
        "others",
    ]
    caption = (
        f"{default} less the best other score of the same runs, paired over the seeds: mean ± standard deviation (n pairs); "
        "positive where it is better"
    )
    return Table("against_default", caption, header, rows, 4, data_header, data)


def _full(value: float | None) -> str:
    return "" if value is None else repr(value)


def _picture(scores: ScoreRows, measure: str) -> Figure:
    names = scores.scores
    figure, axes = panels(len(scores.col_labels), width=3.6, height=0.9 + 0.2 * len(names))
    for axis, col in zip(axes, scores.col_labels):
        for number, row in enumerate(scores.row_labels):
            style = line_style(number) | {"linestyle": "none", "markersize": 6}
            # Filled and open marks of different forms differ on grey paper, too.
            style |= {"markerfacecolor": "white"} if number % 2 else {}
            shift = (number - (len(scores.row_labels) - 1) / 2) * 0.2
            points = [
                (place + shift, *mean_and_std(list(values.values())))
                for place, name in enumerate(names)
                if (values := scores.values(measure, name, row, col))
            ]
            axis.errorbar(
                [mean for _, mean, _ in points],
                [place for place, _, _ in points],
                xerr=[std or 0.0 for _, _, std in points],
                label=plain(", ".join(row)),
                **style,
            )
        axis.set_title(plain(", ".join(col) or "all"), fontsize="medium")
        axis.set_yticks(range(len(names)), [plain(name) for name in names], fontsize="small")
        axis.set_xlabel(MEASURES[measure])
        axis.grid(alpha=0.3)
    axes[0].invert_yaxis()
    y_label(axes[0], "score")
    legend_below(figure, axes)
    caption = f"{MEASURES[measure]} of each score, mean over seeds with bars of one standard deviation"
    return Figure(measure, caption, svg_of(figure), {"png": file_of(figure, "png")})
