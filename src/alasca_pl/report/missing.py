"""Cells and seeds without a finished run, with the command that fills them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from alasca_pl.report.grid import Grid, Label, label_text
from alasca_pl.report.keys import ABSENT, RULE, belongs, groups_of, homes, text_of, value_of
from alasca_pl.report.saved import PlannedRun, SavedRun

_GROUPS = ("method", "alasca", "noise", "data")


@dataclass(frozen=True)
class Missing:
    """A run that a cell lacks.

    Attributes:
        cell: Labels of row and column.
        seed: Its seed.
        command: What trains it.
    """

    cell: str
    seed: int
    command: str


def missing_runs(grid: Grid, planned: Sequence[PlannedRun]) -> list[Missing]:
    """Runs that are needed for every cell to have every seed, and those that a sweep still plans."""
    question = grid.question
    found: dict[tuple[str, int], Missing] = {}
    for job in planned:
        seed = value_of(job, "seed")
        matches = all(text_of(value_of(job, key)) == value for key, value in question.where)
        if matches and isinstance(seed, int):
            keys = [key for key in question.keys if key != RULE]
            cell = label_text(tuple(_printable(value_of(job, key)) for key in keys))
            # Jobs of a sweep share their folders of configs, which their own options do not name.
            dirs = next((run.record.config_dirs for run in grid.runs() if run.sweep == job.sweep), [])
            words = [*dirs, *(item for item in job.overrides if not item.startswith("hydra."))]
            found.setdefault((cell, seed), Missing(cell, seed, _command(words, job.sweep)))
    for row in grid.rows:
        for col in grid.cols:
            have = grid.cell(row, col)
            for seed in grid.seeds:
                if seed in have or _is_there(grid, row, col, seed):
                    continue
                pairs = [(key, value) for key, value in zip(question.keys, (*row, *col)) if key != RULE]
                cell = label_text(tuple(value for _, value in pairs))
                if (cell, seed) not in found:
                    found[cell, seed] = Missing(cell, seed, _derived(grid, row, col, seed))
    return sorted(found.values(), key=lambda each: (each.cell, each.seed))


def _is_there(grid: Grid, row: Label, col: Label, seed: int) -> bool:
    """Whether the run exists and only lacks the cell's rule of prediction."""
    keys = grid.question.keys
    if RULE not in keys:
        return False
    place = keys.index(RULE)

    def without(labels: Label) -> Label:
        return tuple(value for number, value in enumerate(labels) if number != place)

    wanted = without((*row, *col))
    return any(seed in cell for (a, b), cell in grid.cells.items() if without((*a, *b)) == wanted)


def _derived(grid: Grid, row: Label, col: Label, seed: int) -> str:
    """Command of a run of this row, with what the columns own taken from a run of this column."""
    question = grid.question
    same_cell = grid.cell(row, col)
    here = _first(grid, row=row) if not same_cell else next(iter(same_cell.values())).run
    there = _first(grid, col=col) if not same_cell else here
    cols = [key for key in question.cols if key != RULE]
    owned = (*homes(cols), *groups_of(cols))
    words = [item for item in here.record.overrides if not belongs(_name(item), (*owned, "seed"))]
    added = [item for item in there.record.overrides if belongs(_name(item), owned)]
    for keys, run, where in ((question.rows, here, words), (cols, there, added)):
        for key in keys:
            # What the sweep's line leaves to the defaults is said here, so that the line stands alone.
            name = "noise.rate" if key == "rate" else key
            value = run.record.choices.get(key) if key in _GROUPS else value_of(run, key)
            chosen = {"noise": "setting", "rate": "setting", "method": "component", "alasca": "component"}.get(key)
            if key == RULE or value in (None, ABSENT) or {name, chosen} & {_name(item) for item in where}:
                continue
            where.append(f"{name}={text_of(value)}")
    seen = {_name(item) for item in added}
    words = [item for item in words if _name(item) not in seen]
    return _command([*here.record.config_dirs, *words, *added, f"seed={seed}"], here.sweep)


def _first(grid: Grid, row: Label | None = None, col: Label | None = None) -> SavedRun:
    """A run of a row or a column."""
    return next(
        entry.run
        for (a, b), cell in grid.cells.items()
        if row in (None, a) and col in (None, b)
        for entry in cell.values()
    )


def _command(overrides: Sequence[str], sweep: str | None) -> str:
    place = [f"sweep={sweep}"] if sweep else []
    return shlex.join(["alasca-train", *place, *overrides])


def _name(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def _printable(value: Any) -> Any:
    return text_of(value) if isinstance(value, list | dict) else value
