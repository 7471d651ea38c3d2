"""The paper's own numbers, and which cells of ours they belong to."""

import csv
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alasca_pl.report.keys import value_of
from alasca_pl.report.saved import SavedRun

FILE = Path(__file__).with_name("paper_results.csv")
CITATION = "Ko, Yi and Yun, A Gift from Label Smoothing, AAAI 2023"
_UNIT = "accuracy_percent"

_DATA = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "clothing1m": "Clothing1M"}
_NOISE = {"asymmetric_paper": "asymmetric"}
_METHODS = {
    "ce": "Standard", "gce": "GCE", "sce": "SCE", "elr": "ELR", "co_teaching": "Co-teaching", "crust": "CRUST", "fine": "FINE",
    "elr_plus": "ELR+", "dividemix": "DivideMix", "har": "HAR", "cdr": "CDR", "uls": "ULS", "als": "ALS", "als_ema": "ALS+EMA",
}  # fmt: skip
# Variants of our group alasca that are the paper's ALASCA with the constants of another length of run.
_ALASCA = ("paper", "short", "digits", "clothing1m")
# Rows of Table 4 in which the auxiliary classifiers are trained otherwise.
_COMPONENTS = {"uls": "ULS+AC", "als": "ALS+AC"}


@dataclass(frozen=True)
class PaperNumber:
    """A number that the paper prints.

    Attributes:
        table: Number of its table.
        method: What the paper calls the method.
        mean: Accuracy in percent.
        std: Its standard deviation, or None where the paper gives none.
        notes: Where the number is from.
    """

    table: int
    method: str
    mean: float
    std: float | None
    notes: str


@functools.cache
def paper_numbers() -> Mapping[tuple[int, str, str, str, str], PaperNumber]:
    """All accuracies by table, data set, noise, rate and method, in the paper's own words."""
    numbers = {}
    with FILE.open(newline="") as file:
        for row in csv.DictReader(file):
            if row["unit"] == _UNIT:
                key = (int(row["table"]), row["dataset"], row["noise_type"], row["noise_rate"], row["method"])
                std = float(row["std"]) if row["std"] else None
                numbers[key] = PaperNumber(key[0], row["method"], float(row["mean"]), std, row["notes"])
    return numbers


@functools.cache
def paper_costs() -> Mapping[str, tuple[float, float]]:
    """Time and memory over those of cross-entropy by the paper's names of methods (Table 3)."""
    ratios: dict[str, dict[str, float]] = {}
    with FILE.open(newline="") as file:
        for row in csv.DictReader(file):
            what, _, against = row["unit"].partition("_ratio_")
            if against == "vs_standard":
                ratios.setdefault(row["method"], {})[what] = float(row["mean"])
    return {method: (each["time"], each["memory"]) for method, each in ratios.items() if len(each) == 2}


def paper_number(run: SavedRun, rule: str | None) -> PaperNumber | None:
    """The paper's number for the method, data and noise of a run.

    Args:
        run: A run.
        rule: The rule of prediction by which it was measured; None for the run's own.

    Returns:
        The number, or None where the paper has none.
    """
    rule = rule or str(run.record.predict.get("rule", "main"))
    data = _DATA.get(str(value_of(run, "data")))
    noise = str(value_of(run, "noise"))
    noise = "real" if data == "Clothing1M" and noise == "none" else _NOISE.get(noise, noise)
    rate = value_of(run, "rate")
    rate_text = "" if noise == "real" or not isinstance(rate, int | float) else f"{rate:g}"
    for table, method in _names(run, rule):
        # Table 3 does not say its noise rates; the one that its numbers share with Table 1 is not known for all.
        known = paper_numbers().get((table, data or "", noise, rate_text, method))
        if known is not None:
            return known
    return None


def _names(run: SavedRun, rule: str) -> list[tuple[int, str]]:
    method, alasca = value_of(run, "method"), value_of(run, "alasca")
    alasca = "none" if alasca is None else alasca
    base = _METHODS.get(str(method))
    if base is None or rule not in ("main", "ensemble_all"):
        return []
    if alasca == "none":
        # Without auxiliary heads both rules are the main head.
        return [(table, base) for table in (1, 2, 4)]
    if base == "Standard" and alasca in _COMPONENTS:
        return [(4, _COMPONENTS[alasca])] if rule == "main" else []
    if alasca not in _ALASCA:
        return []
    if rule == "ensemble_all":
        return [(4, "ALASCA*")] if base == "Standard" else []
    return [(1, f"{base}+ALASCA"), (2, "ALASCA" if base == "Standard" else f"{base}+ALASCA"), (4, "ALASCA")][
        : 3 if base == "Standard" else 2
    ]


def settings_of(run: SavedRun) -> dict[str, Any]:
    """What a run shares with the paper's protocol or not: images, network, epochs."""
    record = run.record
    backbone = (
        record.config.get("model", {}).get("backbone", {}) if isinstance(record.config.get("model"), dict) else {}
    )
    target = str(backbone.get("name") or backbone.get("_target_", "").rpartition(".")[2]) if backbone else ""
    return {
        "training images": record.data.sizes.get("train"),
        "network": str(record.choices.get("model") or target or "not recorded"),
        "epochs": record.config.get("epochs"),
    }


PROTOCOL = {"training images": 45000, "network": "resnet34_cifar", "epochs": 120}
"""Settings of the paper's code for CIFAR."""
