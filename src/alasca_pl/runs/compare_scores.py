"""Compare scores of labels over runs whose clean labels are known. For measuring only."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alasca_pl.audit.measures import measure
from alasca_pl.audit.scores import DEFAULT, meaning_of, score_names, suspicion
from alasca_pl.audit.second import SecondScores
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import check_empty, write_atomically
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.sample_file import SampleFile
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.report.document import Document
from alasca_pl.report.grid import build_grid, selected
from alasca_pl.report.keys import RULE, text_of
from alasca_pl.report.question import Question
from alasca_pl.report.render import csv_table, markdown
from alasca_pl.report.saved import Found, SavedRun, find_runs
from alasca_pl.report.score_table import MEASURES, ScoreRow, ScoreRows, rows_file, write_comparison
from alasca_pl.runs.second import known_second

ROWS = "scores.csv"
"""File with one line per run and score, from which everything else is computed."""


@dataclass(frozen=True)
class ScoredRun:
    """What is known of a run's training labels.

    Attributes:
        samples: What its training showed.
        wrong: Which labels are wrong, (N,).
        counted: Which labels are ranked: those that were trained on and were not planted, (N,).
        second: Second scores that are known.
    """

    samples: SampleFile
    wrong: np.ndarray
    counted: np.ndarray
    second: SecondScores


@dataclass(frozen=True)
class Comparison:
    """Scores of many runs.

    Attributes:
        rows: One per run and score.
        left_out: Runs that are not among the rows, and why.
    """

    rows: ScoreRows
    left_out: Sequence[str] = ()

    def document(self, pictures: bool = True) -> Document:
        """Tables and pictures."""
        about = {name: meaning_of(name) for name in self.rows.scores}
        return write_comparison(self.rows, DEFAULT, about, self.left_out, pictures)

    def write(self, folder: Path) -> list[Path]:
        """Write rows, tables and pictures.

        Args:
            folder: A folder that does not exist or is empty.

        Raises:
            UserError: If the folder holds something.
        """
        check_empty(folder)
        document = self.document()
        measures = [table for table in document.tables if table.name in MEASURES]
        tables = csv_table(measures[0]) + "".join(csv_table(each).partition("\n")[2] for each in measures[1:])
        files = {
            ROWS: self.rows.to_csv().encode(),
            "comparison.md": markdown(document).encode(),
            "comparison.csv": tables.encode(),
            **{f"{figure.name}.png": figure.files["png"] for figure in document.figures},
        }
        for name, content in files.items():
            write_atomically(folder / name, lambda file, content=content: file.write(content))  # type: ignore[misc]
        return [folder / name for name in files]


def compare_scores(
    places: Sequence[str | Path], question: Question, prepare: Callable[[RunFolder], None] | None = None
) -> Comparison:
    """Measure every score of every run.

    Args:
        places: See ``find_runs``; or one file that ``Comparison.write`` wrote with one line per run and score.
        question: Rows, columns and which runs; its metric is not used.
        prepare: Called with the folder of each run before it is measured.

    Raises:
        UserError: If no run is left, or they do not belong together, see ``build_grid``.

    Example:
        With the folder of a finished run on 8 x 8 digits as ``folder``:

        >>> compared = compare_scores([folder], Question(rows=("noise",), cols=("rate",)))
        >>> {"margin", "last_loss"} <= set(compared.rows.scores)
        True
    """
    file = rows_file(places)
    if file is not None:
        return Comparison(ScoreRows.from_csv(file))
    if RULE in question.keys:
        raise UserError(f"{RULE} can be neither a row nor a column here: scores of labels have no rule of prediction")
    found = find_runs(places)
    known: dict[int, ScoredRun] = {}
    left_out = [f"{each.source}: {each.status} {each.reason}".strip() for each in found.aside]
    kept = []
    for run in selected(found.runs, question) if found.runs else []:
        try:
            known[id(run)] = read_scored(run)
            kept.append(run)
        except ValueError as error:
            left_out.append(f"{run.source}: {error}")
    if not kept:
        raise UserError(f"no run is left whose scores can be measured ({'; '.join(left_out[:10])})")
    grid = build_grid(Found(kept), question, value=lambda *_: math.nan)
    rows: list[ScoreRow] = []
    for row in grid.rows:
        for col in grid.cols:
            for seed, entry in sorted(grid.cell(row, col).items()):
                if prepare is not None:
                    assert entry.run.folder is not None
                    prepare(RunFolder(entry.run.folder))
                    known[id(entry.run)] = read_scored(entry.run)
                labels = tuple(map(text_of, row)), tuple(map(text_of, col))
                rows += _rows_of(entry.run, known[id(entry.run)], *labels, seed)
    return Comparison(ScoreRows(question.rows, question.cols, rows), left_out)


def read_scored(run: SavedRun) -> ScoredRun:
    """Read scores and clean labels of a run.

    Raises:
        ValueError: If it has none; the message says what is missing.
    """
    if run.folder is None:
        raise ValueError("only its record was kept")
    folder = RunFolder(run.folder)
    for file in (folder.samples, folder.noise):
        if not file.is_file():
            raise ValueError(f"it has no {file.name}")
    samples, noise = SampleFile.load(folder.samples), NoisyLabels.load(folder.noise)
    if noise.clean_label is None:
        raise ValueError("clean labels are unknown")
    if not (np.array_equal(samples.label, noise.label) and np.array_equal(samples.index, noise.index)):
        raise ValueError(f"{folder.samples.name} and {folder.noise.name} are for different labels")
    wrong, counted = noise.label != noise.clean_label, samples.visits > 0
    if noise.planted_from is not None:
        counted &= noise.planted_from < 0
    if not 0 < wrong[counted].sum() < counted.sum():
        raise ValueError(f"{int(wrong[counted].sum())} of its {int(counted.sum())} labels are wrong")
    return ScoredRun(samples, wrong, counted, known_second(folder))


def _rows_of(
    run: SavedRun, scored: ScoredRun, row: tuple[str, ...], col: tuple[str, ...], seed: int
) -> Iterator[ScoreRow]:
    wrong = scored.wrong[scored.counted]
    scores = {name: suspicion(scored.samples, name) for name in score_names(scored.samples)}
    for name, score in (scores | scored.second.scores.get("train", {})).items():
        measures = measure(score[scored.counted], wrong)
        yield ScoreRow(row, col, seed, name, len(wrong), int(wrong.sum()), *measures, run.source)
