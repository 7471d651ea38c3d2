"""What the runs of one report may not differ in."""

from collections.abc import Mapping, Sequence
from typing import Any

from alasca_pl.core.errors import UserError
from alasca_pl.core.experiment import identity
from alasca_pl.core.overrides import option_name
from alasca_pl.report.keys import ABSENT, RULE, belongs, comparable, homes, text_of, value_of
from alasca_pl.report.question import Question
from alasca_pl.report.saved import SavedRun

# More values than these are cut.
_MOST = 6
# What a method may set outside its own parts: a decay of its own takes the place of the optimiser's.
OF_METHODS = ("optim.weight_decay",)


def flat(run: SavedRun) -> dict[str, Any]:
    """What can change the result of a run, by dotted names; data and split as they turned out among them."""
    added: dict[str, Any] = {"data.sha256": run.record.data.sha256}
    settings = run.record.config.get("report")
    if isinstance(settings, Mapping) and "last_epochs" in settings:
        # Without effect on the training, but on what is reported of it.
        added["report.last_epochs"] = settings["last_epochs"]
    return identity(run.record.config) | added


def own_keys(question: Question) -> tuple[str, ...]:
    """Beginnings of names that may differ, because rows, columns and seed own them."""
    return homes((*question.keys, "seed"))


def constants_of(run: SavedRun) -> set[str]:
    """Names that the applied constants of a run's method set; those that they may set where the record does not say which."""
    record = run.record
    if record.constants and not record.constants_set:
        return {"suggested", "optim"}
    return set(record.constants_set)


def _column(name: str, configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Values of a name; a run of an earlier version that lacks an option is as one that has it off."""
    came_later = any(name not in config for config in configs)
    nothing: tuple[Any, ...] = (None, False, {}, []) if came_later else (None,)
    off = {comparable(value) for value in nothing}
    values = [comparable(config.get(name)) for config in configs]
    return [comparable(ABSENT) if value in off else value for value in values]


def check_differences(runs: Sequence[SavedRun], question: Question) -> list[tuple[str, str]]:
    """Refuse runs that differ outside rows, columns and seed.

    Returns:
        What was allowed to differ, with its values.

    Raises:
        UserError: With what differs and what can be done about it.
    """
    configs = [flat(run) for run in runs]
    names = sorted({name for config in configs for name in config})
    columns = {name: _column(name, configs) for name in names}
    differing = {name for name in names if len(set(columns[name])) > 1}
    owned = own_keys(question)
    fixed = set()
    if "method" in question.keys:
        typed = {option_name(item) for run in runs for item in run.record.overrides}
        fixed = set(OF_METHODS).difference(typed).union(*(constants_of(run) for run in runs))
    free = {name for name in differing if belongs(name, owned) or belongs(name, tuple(fixed))}
    # What follows a free value by interpolation, e.g. noise.seed the seed.
    values = [columns[name] for name in free]
    values += [[comparable(value_of(run, key)) for run in runs] for key in question.keys if key != RULE]
    outside = {name for name in differing - free if columns[name] not in values}
    allowed = _allowed(outside, columns, question.allow)
    rows = [" ".join(text_of(value_of(run, key)) for key in question.rows if key != RULE) for run in runs]
    _refuse(outside - allowed, columns, question, "outside rows, columns and seed", rows)
    cells: dict[str, list[int]] = {}
    keys = [key for key in question.keys if key != RULE]
    for place, run in enumerate(runs):
        cells.setdefault(comparable([value_of(run, key) for key in keys]), []).append(place)
    seeds = [comparable(run.record.seed) for run in runs]
    let_pass = set(allowed)
    for places in cells.values():
        inside = {
            name: [columns[name][place] for place in places]
            for name in sorted(differing)
            if len({columns[name][place] for place in places}) > 1
        }
        own = [seeds[place] for place in places]
        wrong = {name for name, column in inside.items() if column != own}
        let_pass |= _allowed(wrong, inside, question.allow)
        _refuse(wrong - let_pass, inside, question, "within one cell")
    return [(name, _values(columns[name])) for name in sorted(let_pass)]


def _allowed(names: set[str], columns: Mapping[str, Sequence[str]], allow: Sequence[str]) -> set[str]:
    """Those that are let pass, with those that follow one of them in all runs, as trainer.max_epochs follows epochs."""
    own = {name for name in names if belongs(name, allow)}
    values = [columns[name] for name in own]
    return {name for name in names if columns[name] in values}


def _refuse(
    names: set[str], columns: Mapping[str, Sequence[str]], question: Question, where: str, rows: Sequence[str] = ()
) -> None:
    """Refuse names that differ; with the rows' labels, say which row has which value."""
    if not names:
        return
    # Of those that follow each other the shortest.
    leading: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (len(name), name)):
        leading.setdefault(repr(columns[name]), name)
    listing = "; ".join(f"{name} ({_by_row(columns[name], rows) or _values(columns[name])})" for name in sorted(names))
    first, every = min(leading.values()), ",".join(sorted(leading.values()))
    value = min(columns[first]).strip('"')
    example = value if len(value) <= 20 and not set(value) & set(" ,=") else "VALUE"
    raise UserError(
        f"these runs differ {where}: {listing}; make it a row or column (e.g. rows={','.join(question.rows)},{every}), keep to "
        f"one value (e.g. where={first}={example}), or let it pass and be said on the page (allow={every})"
    )


def _by_row(column: Sequence[str], rows: Sequence[str]) -> str | None:
    """Which rows have which value, where each row has one and there are few."""
    pairs = sorted(set(zip(column, rows)))
    if not rows or len(pairs) != len(set(rows)) or len(pairs) > _MOST:
        return None
    by_value: dict[str, list[str]] = {}
    for value, row in pairs:
        by_value.setdefault(value.strip('"'), []).append(row)
    return "; ".join(f"{value} in {' and '.join(its)}" for value, its in by_value.items())


def _values(column: Sequence[str]) -> str:
    values = sorted(set(column))
    return ", ".join(value.strip('"') for value in values[:_MOST]) + (", ..." if len(values) > _MOST else "")
