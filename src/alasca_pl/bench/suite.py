"""What there is to measure, and with which options."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from alasca_pl.bench.fits import WARM_UP, Fit, steps_in_epoch, use_threads
from alasca_pl.bench.plain import Floor, Loading, LoadingPlain, PlainLoop
from alasca_pl.bench.start import starts
from alasca_pl.bench.turns import Case, Result, take_turns
from alasca_pl.build.make import Config
from alasca_pl.core.errors import UserError
from alasca_pl.core.overrides import option_name
from alasca_pl.report.paper import paper_costs

LAYOUTS = ("contiguous", "channels_last")
WHATS = ("loading", "step", "heads", "methods", "epoch", "peers", "startup")
CE = "ce"
_KINDS = {
    "mlp": "ALASCA-MLP", "mlp_gap_first": None, "bottleneck": "ALASCA-Bottleneck", "residual": "ALASCA-Residual",
    "depthwise": None,
}  # fmt: skip
_PLAIN_CE = ("method=ce", "alasca=none")
_OF_METHODS = {"har": "HAR", "cdr": "CDR"}

# From overrides to the resolved config.
Compose = Callable[[Sequence[str]], Config]


@dataclass(frozen=True)
class Measured:
    """What came out.

    Attributes:
        results: By what was measured, in the order of measurement.
        threads: Number of threads and why.
        precision: Precision of training.
        remark: What is to be said of the precision, or None.
    """

    results: Mapping[str, list[Result]]
    threads: str
    precision: str
    remark: str | None


def measure(
    whats: Sequence[str],
    methods: Sequence[str],
    words: Sequence[str],
    compose: Compose,
    steps: int,
    rounds: int,
    workers: int,
    say: Callable[[str], None],
) -> Measured:
    """Measure all that is asked for.

    Args:
        whats: Some of ``WHATS``.
        methods: Methods for ``methods``.
        words: Options of the command line, which hold for all cases.
        compose: Composes a config.
        steps: Steps in each turn of ``step``, ``heads`` and ``methods``.
        rounds: Rounds that count.
        workers: Processes of a plain loop.
        say: Called with what is about to be measured.

    Raises:
        UserError: If an option is wrong.
    """
    suite = _Suite(words, compose, steps, workers)
    results = {}
    for what in whats:
        unit = {"loading": "epoch", "epoch": "epoch", "peers": "epoch", "startup": "start"}.get(what, "step")
        cases, paper = suite.cases(what, methods)
        results[what] = take_turns(cases, unit, rounds, lambda text, what=what: say(f"{what}, {text}"))  # type: ignore[misc]
        for result in results[what]:
            result.paper = paper.get(result.name)
    base = suite.base
    return Measured(results, suite.threads, str(base.config["trainer"]["precision"]), base.remark)


class _Suite:
    def __init__(self, words: Sequence[str], compose: Compose, steps: int, workers: int) -> None:
        self._words, self._compose, self._steps, self._workers = words, compose, steps, workers
        self.base = Fit(CE, self._config(_PLAIN_CE), None, steps)
        available = steps_in_epoch(self.base.data)
        if available < WARM_UP + steps:
            raise UserError(
                f"an epoch of {self.base.data.sizes['train']} images has {available} whole batches, but {WARM_UP} + {steps} "
                "are needed; choose fewer steps=, a smaller data.batch_size or more images"
            )
        self.threads = use_threads(self.base.config, self.base.data)

    def cases(self, what: str, methods: Sequence[str]) -> tuple[list[Case], dict[str, tuple[float, float]]]:
        """Cases, and the paper's ratios of time and memory by name."""
        paper = paper_costs()
        if what == "loading":
            return [Loading(self.base), *(LoadingPlain(self.base, count) for count in (0, self._workers))], {}
        if what == "startup":
            return list(starts(self._words)), {}
        steps = None if what in ("epoch", "peers") else self._steps
        base = Fit(CE, self.base.config, self.base.data, steps)
        floors: list[Case] = [Floor(base, layout) for layout in LAYOUTS]
        named: dict[str, tuple[tuple[str, ...], tuple[float, float] | None]]
        if what == "peers":
            return [base, *(PlainLoop(base, layout, self._workers) for layout in LAYOUTS)], {}
        if what == "heads":
            named = {
                f"ce+alasca, {kind} {place}": (
                    ("method=ce", "alasca=paper", f"aux={place}", f"aux.kind={kind}"),
                    paper.get(f"{_KINDS[kind]}{'*' if place == 'all' else ''}"),
                )
                for place in ("last", "all")
                for kind in _KINDS
            }
        elif what == "methods":
            named = {
                method: (self._of_method(method), paper.get(_OF_METHODS.get(method, "")))
                for method in methods
                if method != CE
            }
        else:
            named = {"ce+alasca": (("method=ce", "alasca=paper"), paper.get("ALASCA-Bottleneck*"))}
            if what == "step":
                named["als_ema (table and loss, no heads)"] = (("method=als_ema", "alasca=none"), None)
        fits = [Fit(name, self._config(words), self.base.data, steps) for name, (words, _) in named.items()]
        return [*floors, base, *fits], {name: ratios for name, (_, ratios) in named.items() if ratios is not None}

    def _of_method(self, method: str) -> tuple[str, ...]:
        words = (f"method={method}", "alasca=none")
        if method != "backward":
            return words
        # A matrix that is estimated from random images cannot be inverted.
        count = self.base.data.facts.num_classes
        rows = [[0.8 * (row == column) + 0.2 / count for column in range(count)] for row in range(count)]
        return (*words, f"criterion.matrix={rows}")

    def _config(self, words: Sequence[str]) -> Config:
        """The config of one case, whose own options take the place of those of the command line."""
        names = {option_name(word) for word in words}
        return self._compose([*(word for word in self._words if option_name(word) not in names), *words])
