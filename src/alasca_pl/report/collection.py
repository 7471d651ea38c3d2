"""Finished runs in Python."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from alasca_pl.core.errors import Unchained, UserError
from alasca_pl.core.experiment import identity
from alasca_pl.core.metric_names import TEST, VAL, accuracy
from alasca_pl.core.terminal import aligned, printable
from alasca_pl.report.document import Document, Table
from alasca_pl.report.grid import Grid, build_grid
from alasca_pl.report.keys import SHORT, text_of, value_of
from alasca_pl.report.question import Question
from alasca_pl.report.saved import Found, SavedRun, SetAside, find_runs
from alasca_pl.report.write_up import results_table, write_report

if TYPE_CHECKING:
    import pandas as pd

# A longer list says how many more there are.
_SHOWN = 20


class Runs(Sequence[SavedRun]):
    """Finished runs, in the order of their sources.

    Args:
        found: What was found.

    Attributes:
        found: What was found, planned jobs of sweeps and notes included.
    """

    def __init__(self, found: Found) -> None:
        self.found = found

    @overload
    def __getitem__(self, index: int) -> SavedRun: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[SavedRun]: ...

    def __getitem__(self, index: int | slice) -> SavedRun | Sequence[SavedRun]:
        return self.found.runs[index]

    def __len__(self) -> int:
        return len(self.found.runs)

    def __repr__(self) -> str:
        return "\n".join((f"Runs: {self._counts()}", *map(printable, aligned(self._listing()))))

    def _repr_html_(self) -> str:
        head, *lines = ([escape(cell) for cell in line] for line in self._listing())
        rows = ["".join(f"<td>{cell}</td>" for cell in line) for line in lines]
        heads = "".join(f"<th>{cell}</th>" for cell in head)
        return (
            f"<p>Runs: {self._counts()}</p><table><tr>{heads}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
        )

    def _counts(self) -> str:
        return f"{len(self)} finished, {len(self.aside)} set aside"

    def _listing(self) -> list[list[str]]:
        """Rows of a short table: heads, then one line per run, the last one cut where there are many."""
        keys = [key for key in SHORT if key != "rule"]
        name = next((name for name in (accuracy(TEST), accuracy(VAL)) if any(name in _last(run) for run in self)), None)
        table = [[*keys, *([f"last:{name}"] if name else []), "source"]]
        for run in self.found.runs[:_SHOWN]:
            figures = [f"{_last(run)[name]:.4f}" if name in _last(run) else "–"] if name else []
            table.append([*(text_of(value_of(run, key)) for key in keys), *figures, run.source])
        more = len(self) - _SHOWN
        return [*table, [f"... {more} more", *[""] * (len(table[0]) - 1)]] if more > 0 else table

    @property
    def aside(self) -> Sequence[SetAside]:
        """Runs that failed, are not finished or are damaged; they are in no figure."""
        return self.found.aside

    def grid(self, **question: Any) -> Grid:
        """Put runs into rows and columns; takes the arguments of ``Question``.

        Raises:
            UserError: If the runs do not belong together, see ``build_grid``.
        """
        return build_grid(self.found, _question(question))

    def table(self, **question: Any) -> Table:
        """Means, standard deviations and numbers of runs; takes the arguments of ``Question``.

        ``rows`` and ``cols`` are sequences of keys or texts such as ``"method,alasca"``.
        """
        return results_table(self.grid(**question))

    def report(self, **question: Any) -> Document:
        """The whole report; takes the arguments of ``Question``."""
        return write_report(self.found, _question(question))

    def rows(self) -> list[dict[str, Any]]:
        """One mapping per run: short names, figures as ``select:metric``, and every value of the config that is not the same in
        all runs.
        """
        configs = [identity(run.record.config) for run in self]
        names = sorted({name for config in configs for name in config})
        varying = [name for name in names if len({repr(config.get(name)) for config in configs}) > 1]
        return [
            {
                "source": run.source,
                **{key: value_of(run, key) for key in SHORT if key != "rule"},
                "noise_sha256": run.record.noise.sha256,
                "duration_seconds": run.record.duration_seconds,
                **{
                    f"{select}:{name}": value
                    for select, values in run.record.metrics.items()
                    for name, value in values.items()
                },
                **{name: config.get(name) for name in varying},
            }
            for run, config in zip(self, configs)
        ]

    def frame(self) -> "pd.DataFrame":
        """``rows`` as a pandas frame.

        Raises:
            UserError: If pandas is not installed.
        """
        return _pandas().DataFrame(self.rows())

    def histories(self) -> "pd.DataFrame":
        """All epochs of all runs as a pandas frame, with the short names of each run.

        Raises:
            UserError: If pandas is not installed.
        """
        return _pandas().DataFrame(
            [
                {"source": run.source, **{key: value_of(run, key) for key in SHORT if key != "rule"}, **row}
                for run in self
                for row in run.history
            ]
        )


def load_runs(*places: str | Path) -> Runs:
    """Read finished runs.

    Args:
        places: Folders of runs or folders that hold some, sweeps by name, files of ``alasca-sweep export``, or patterns.

    Raises:
        UserError: If a place does not exist or holds no run.
    """
    with Unchained():
        return Runs(find_runs(places))


def _last(run: SavedRun) -> Mapping[str, float]:
    return run.record.metrics.get("last", {})


def _question(values: dict[str, Any]) -> Question:
    known = Question.__dataclass_fields__
    unknown = sorted(values.keys() - known.keys())
    if unknown:
        raise UserError(f"unknown {', '.join(unknown)}; choose from {', '.join(known)}")
    values = dict(values)
    for name in ("rows", "cols", "allow", "against"):
        if isinstance(values.get(name), str):
            values[name] = split_keys(values[name])
    where = values.get("where")
    if isinstance(where, dict):
        values["where"] = tuple((str(key), str(value)) for key, value in where.items())
    plain: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Question(**plain)


def split_keys(text: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _pandas() -> Any:
    try:
        import pandas as pd
    except ImportError as error:
        raise UserError(
            "frames need pandas, which is not installed: pip install pandas; .rows() does without"
        ) from error
    return pd
