"""Claims about two rows of a grid, and whether their runs may be compared at all."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from alasca_pl.core.errors import UserError
from alasca_pl.report.differing import constants_of, flat
from alasca_pl.report.grid import Entry, Grid, Label, label_text
from alasca_pl.report.keys import ABSENT, RULE, belongs, comparable, homes, is_plain_ce, text_of
from alasca_pl.report.saved import SavedRun
from alasca_pl.report.statistics import Paired, Verdict, holm, paired, verdict

# What reaches a run's batches besides the data, the split and the seed.
_BATCHES = (
    "data.batch_size", "data.drop_last", "data.subset_size", "data.subset_redraw", "data.augment", "data.padding", "data.flip",
)  # fmt: skip
_TUNABLE = homes(("method", "alasca", "optim"))


@dataclass(frozen=True)
class Failure:
    """A condition of a fair comparison that two runs do not meet.

    Attributes:
        what: The condition.
        found: What was found.
        repair: What would make it hold.
    """

    what: str
    found: str
    repair: str


@dataclass(frozen=True)
class Comparison:
    """A row against another in one column, over the seeds that both have.

    Attributes:
        row: Label of the row.
        base: Label of the row that it is compared with.
        col: Label of the column.
        seeds: Seeds that both have and whose runs have the same noisy labels.
        result: Differences row - base; None without such a seed.
        failures: Conditions that do not hold, by seed.
        unpaired: Seeds that not both have.
        adjusted: p-value after Holm's correction over the family.
        verdict: What the differences say.
    """

    row: Label
    base: Label
    col: Label
    seeds: tuple[int, ...]
    result: Paired | None
    failures: tuple[tuple[int, Failure], ...]
    unpaired: tuple[int, ...]
    adjusted: float | None = None
    verdict: Verdict = "n too small to decide"

    @property
    def is_certified(self) -> bool:
        """Whether all conditions hold for all seeds that both have."""
        return self.result is not None and not self.failures

    @property
    def failed(self) -> list[str]:
        """Names of the conditions that do not hold, each once."""
        return list(dict.fromkeys(failure.what for _, failure in self.failures))

    @property
    def stated(self) -> str:
        """The verdict as a report may state it: none without a pair, or where a condition fails."""
        if self.result is None:
            return "no pair"
        return self.verdict if self.is_certified else "not comparable"


def certify(one: SavedRun, other: SavedRun) -> list[Failure]:
    """Conditions of a fair comparison that two runs of the same seed do not meet."""
    a, b = one.record, other.record
    failures = []

    def check(what: str, left: Any, right: Any, repair: str, has: Callable[[SavedRun], Any] = bool) -> None:
        if not (has(one) and has(other)):
            found = f"not in the record of {' and '.join(each.source for each in (one, other) if not has(each))}"
            failures.append(Failure(what, found, "repeat the run with this version of alasca_pl"))
        elif comparable(left) != comparable(right):
            failures.append(Failure(what, f"{_short(left)} and {_short(right)}", repair))

    check("data", a.data.sha256, b.data.sha256, "train both on the same files")
    check("split seed", a.split_seed, b.split_seed, f"give both data.split_seed={a.split_seed}")
    check(
        "split", a.train_split, b.train_split, "give both the same data.num_val, data.max_train_samples and data.split_seed",
        lambda run: run.record.train_split,
    )  # fmt: skip
    check(
        "noisy labels", a.noise.sha256, b.noise.sha256,
        "draw them once with alasca-noise make and train both with noise=from_file noise.path=FILE",
    )  # fmt: skip
    check(
        "noisy labels of the validation split",
        a.val_noise and a.val_noise.sha256,
        b.val_noise and b.val_noise.sha256,
        "give both the same noise.seed, data.num_val and data.noisy_val",
    )
    common = min(len(a.initial_weights), len(b.initial_weights))
    check(
        "initial weights", a.initial_weights[:common], b.initial_weights[:common],
        "give both the same seed, model and model.init", lambda run: run.record.initial_weights,
    )  # fmt: skip
    for name in _BATCHES:
        left, right = (flat(run).get(name, ABSENT) for run in (one, other))
        check(f"batches ({name})", left, right, f"give both the same {name}")
    check("epochs", _epochs(one), _epochs(other), "give both the same epochs")
    for name in ("report.last_epochs", "predict.rule", "predict.average"):
        left, right = (flat(run).get(name, ABSENT) for run in (one, other))
        check(f"selection ({name})", left, right, f"give both the same {name}")
    by_hand, other_by_hand = tuned(one), tuned(other)
    if len(by_hand) != len(other_by_hand):
        failures.append(
            Failure(
                "number of tuned settings",
                f"{len(by_hand)} ({', '.join(by_hand) or 'none'}) and {len(other_by_hand)} "
                f"({', '.join(other_by_hand) or 'none'})",
                "tune as many settings of both, or none",
            )
        )
    return failures


def tuned(run: SavedRun) -> list[str]:
    """Settings of the method, of ALASCA and of the optimiser that the command of a run gives by hand."""
    names = {item.split("=", 1)[0].lstrip("+~") for item in run.record.overrides}
    return sorted(name for name in names if "." in name and belongs(name, _TUNABLE))


def _epochs(run: SavedRun) -> Any:
    return len(run.history) or run.record.config.get("epochs")


def _short(value: Any) -> str:
    """A value as it is printed; of a hash the beginning."""
    if isinstance(value, list):
        return ", ".join(_short(item) for item in value)
    text = text_of(value)
    return f"{text[:10]}..." if len(text) > 40 else text


def gains(grid: Grid) -> list[Comparison]:
    """Rows and columns with ALASCA against those without it, where ``alasca`` is a key; one family."""
    found = [
        _compare(grid, one, other)
        for pairs in _of_alasca(grid).values()
        if _has_base(grid, pairs)
        for one, other in pairs
    ]
    return _judge(found, grid)


def without_base(grid: Grid) -> list[Label]:
    """Rows and columns with ALASCA for which there is no run without it."""
    return [label for label, pairs in _of_alasca(grid).items() if not _has_base(grid, pairs)]


_Cell = tuple[Label, Label]


def _of_alasca(grid: Grid) -> dict[Label, list[tuple[_Cell, _Cell]]]:
    """Cells of each row or column with ALASCA, and the cell of the same without it."""
    found: dict[Label, list[tuple[_Cell, _Cell]]] = {}
    for keys, in_rows in ((grid.question.rows, True), (grid.question.cols, False)):
        if "alasca" not in keys:
            continue
        labels = grid.rows if in_rows else grid.cols
        for label in labels:
            base = _without_alasca(label, keys, labels)
            if label == base:
                continue
            for other in grid.cols if in_rows else grid.rows:
                one, without = ((label, other), (base, other)) if in_rows else ((other, label), (other, base))
                if grid.cell(*one):
                    found.setdefault(label, []).append((one, _with_main(grid, without)))
    return found


def _without_alasca(label: Label, keys: Sequence[str], labels: Sequence[Label]) -> Label:
    """The same label without ALASCA; settings of its own, such as the kind of heads, are nothing that the two must share."""
    place, owned = keys.index("alasca"), homes(("alasca",))
    exact = (*label[:place], "none", *label[place + 1 :])

    def shared(one: Label) -> list[Any]:
        return [value for key, value in zip(keys, one) if not belongs(key, owned)]

    close = [other for other in labels if shared(other) == shared(exact)]
    return exact if exact in labels or len(close) != 1 else close[0]


def _has_base(grid: Grid, pairs: Sequence[tuple[_Cell, _Cell]]) -> bool:
    return any(grid.cell(*base) for _, base in pairs)


def _with_main(grid: Grid, cell: _Cell) -> _Cell:
    """The cell, or that of the main head where runs have no other rule of prediction, as without auxiliary heads."""
    keys, (row, col) = grid.question.keys, cell
    if RULE not in keys or grid.cell(row, col):
        return cell
    labels = tuple("main" if key == RULE else value for key, value in zip(keys, (*row, *col)))
    return labels[: len(row)], labels[len(row) :]


def overall_gains(grid: Grid) -> list[Comparison]:
    """Rows with ALASCA against those without it, by the mean over all columns that both have; a family of its own.

    The mean of a seed's differences over the columns is one pair: its columns share the seed and are not independent.
    """
    found = []
    by_rows: dict[tuple[Label, Label], list[Comparison]] = {}
    for each in gains(grid):
        # With ALASCA among the columns there is no mean over them.
        if each.row in grid.rows and each.result is not None:
            by_rows.setdefault((each.row, each.base), []).append(each)
    for (row, base), parts in by_rows.items():
        seeds = sorted(set.intersection(*(set(part.seeds) for part in parts)))
        if len(parts) < 2 or not seeds:
            continue
        differences = [
            sum(grid.cell(row, part.col)[seed].value - grid.cell(base, part.col)[seed].value for part in parts)
            / len(parts)
            for seed in seeds
        ]
        failures = tuple((seed, failure) for part in parts for seed, failure in part.failures if seed in seeds)
        left = sorted({seed for part in parts for seed in (*part.seeds, *part.unpaired)} - set(seeds))
        where = (f"mean of {len(parts)} columns",)
        result = paired(differences, grid.question.level)
        found.append(Comparison(row, base, where, tuple(seeds), result, failures, tuple(left)))
    return _judge(found, grid)


def against_one(grid: Grid) -> list[Comparison]:
    """All rows against one of them, in each column; one family. Empty if no row was asked for and none is plain cross-entropy.

    Raises:
        UserError: If no row has the label that was asked for.
    """
    base = base_row(grid)
    if base is None:
        return []
    pairs = [(row, col) for row in grid.rows if row != base for col in grid.cols if grid.cell(row, col)]
    return _judge([_compare(grid, (row, col), (base, col)) for row, col in pairs], grid)


def base_row(grid: Grid) -> Label | None:
    """The row with which the others are compared: the one that was asked for, else the only one of plain cross-entropy.

    Raises:
        UserError: If no row has the label that was asked for.
    """
    wanted = grid.question.against
    if wanted:
        by_text = {tuple(map(text_of, row)): row for row in grid.rows}
        if wanted not in by_text:
            raise UserError(
                f"no row is against={','.join(wanted)}; the rows are {'; '.join(','.join(text) for text in by_text)}"
            )
        return by_text[wanted]
    plain = [
        row
        for row in grid.rows
        if all(is_plain_ce(entry.run) for col in grid.cols for entry in grid.cell(row, col).values())
    ]
    return plain[0] if len(plain) == 1 else None


def _compare(grid: Grid, one: _Cell, other: _Cell) -> Comparison:
    a, b = grid.cell(*one), grid.cell(*other)
    both = sorted(a.keys() & b.keys())
    failures = [(seed, failure) for seed in both for failure in _failures(a[seed], b[seed], grid)]
    seeds = [seed for seed in both if a[seed].run.record.noise.sha256 == b[seed].run.record.noise.sha256]
    differences = [a[seed].value - b[seed].value for seed in seeds]
    result = paired(differences, grid.question.level) if differences else None
    # With ALASCA among the columns, the columns are what is compared.
    row, base, col = (one[0], other[0], one[1]) if one[0] != other[0] else (one[1], other[1], one[0])
    return Comparison(row, base, col, tuple(seeds), result, tuple(failures), tuple(sorted(a.keys() ^ b.keys())))


def _failures(one: Entry, other: Entry, grid: Grid) -> list[Failure]:
    if one.run is other.run:
        return []
    failures = certify(one.run, other.run)
    allowed = tuple(grid.question.allow)
    left, right = flat(one.run), flat(other.run)
    own = constants_of(one.run) | constants_of(other.run)
    differing = {
        name for name in left.keys() | right.keys() if comparable(left.get(name)) != comparable(right.get(name))
    }
    for name in sorted(differing):
        if belongs(name, allowed) and name not in own and not any(name in failure.what for failure in failures):
            values = f"{_short(left.get(name))} and {_short(right.get(name))}"
            failures.append(Failure(name, values, f"give both the same {name}"))
    return failures


def _judge(comparisons: Sequence[Comparison], grid: Grid) -> list[Comparison]:
    # Too few pairs decide nothing and therefore take no part in the correction.
    p_values = [each.result.p if each.result and each.result.effect is not None else None for each in comparisons]
    question = grid.question
    judged = []
    for each, adjusted in zip(comparisons, holm(p_values)):
        if each.result is not None:
            its = verdict(each.result, adjusted, question.smallest_gain, question.level)
            each = replace(each, adjusted=adjusted, verdict=its)
        judged.append(each)
    return judged


def claim(its: Comparison) -> str:
    """The sentence that a comparison allows; "A > B" only where it is certified and decided."""
    one, other, where = label_text(its.row), label_text(its.base), label_text(its.col)
    if its.result is None:
        return f"{where}: no seed has runs of both {one} and {other} with the same noisy labels"
    if not its.is_certified:
        return f"{where}: {one} and {other} are not comparable ({', '.join(its.failed)})"
    sign = {"gain": ">", "loss": "<"}.get(its.verdict)
    if sign:
        return f"{where}: {one} {sign} {other}"
    return f"{where}: {one} against {other}: {its.verdict}"


def repairs(comparisons: Sequence[Comparison]) -> list[tuple[str, str, str, str]]:
    """Conditions that fail, with where and for which seeds, what was found, and what would repair them; each once."""
    seeds: dict[tuple[str, str, str, str], dict[int, None]] = {}
    for its in comparisons:
        for seed, each in its.failures:
            seeds.setdefault((_where(its), each.what, each.found, each.repair), {})[seed] = None
    return [(f"{where}; seed {', '.join(map(str, its))}", *rest) for (where, *rest), its in seeds.items()]  # type: ignore[misc]


def _where(its: Comparison) -> str:
    return f"{label_text(its.row)} and {label_text(its.base)}; {label_text(its.col)}"
