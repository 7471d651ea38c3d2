"""Trees of runs that nobody trained."""

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from alasca_pl.core.experiment import job_digest
from alasca_pl.core.record import DataRecord, NoiseRecord, RunRecord
from alasca_pl.core.rows import write_rows
from alasca_pl.report.summary import summarise

CRITERIA = {"ce": "CrossEntropy", "gce": "GeneralizedCrossEntropy", "elr": "EarlyLearningRegularization"}


def config_of(method: str, alasca: str, noise: str, rate: float, seed: int) -> dict[str, Any]:
    penalty = {} if alasca == "none" else {"alasca": {"strength": 2.0, "momentum": 0.7}}
    return {
        "seed": seed,
        "epochs": 6,
        "criterion": {"_target_": CRITERIA[method], **({"strength": 3.0} if method == "elr" else {})},
        "regularizers": penalty,
        "aux": {"stages": [] if alasca == "none" else "all"},
        "num_networks": 1,
        "noise": {"_target_": noise, "rate": rate, "seed": seed},
        "suggested": {"lr": 0.1, "noise_rate": 0.5},
        "optim": {"lr": 0.1},
        "model": {"backbone": {"width": 16}},
        "data": {"name": "cifar10", "batch_size": 64, "split_seed": seed},
        "predict": {"rule": "main", "average": "logits"},
        "report": {"last_epochs": 3},
        "trainer": {"max_epochs": 6},
    }


def history_of(rng: np.random.Generator, alasca: str, level: float, epochs: int = 6) -> list[dict[str, float]]:
    rows = []
    for epoch in range(epochs):
        values = rng.normal(level + 0.02 * epoch, 0.01, 4).tolist()
        row = {"epoch": epoch, "step": 10 * (epoch + 1), "test/acc": values[0], "test/acc_main": values[0]}
        if alasca != "none":
            row["test/acc_ensemble_all"] = values[1]
        rows.append(row | {"val/acc": values[2], "train/loss": 1 - values[3]})
    return rows


def make_run(
    folder: Path,
    method: str = "ce",
    alasca: str = "none",
    kind: str = "symmetric",
    rate: float = 0.5,
    seed: int = 0,
    level: float = 0.5,
    config: dict[str, Any] | None = None,
    rng: np.random.Generator | None = None,
    rows: Sequence[dict[str, float]] | None = None,
    **record: Any,
) -> RunRecord:
    """Write a finished run; ``config`` holds changes by dotted names."""
    rng = rng or np.random.default_rng([seed, len(folder.name), *map(ord, folder.name)])
    resolved = copy.deepcopy(config_of(method, alasca, kind, rate, seed))
    for name, value in (config or {}).items():
        node = resolved
        *above, last = name.split(".")
        for part in above:
            node = node.setdefault(part, {})
        node[last] = value
    rows = list(rows if rows is not None else history_of(rng, alasca, level))
    noise_hash = f"{kind}{rate}{seed}".ljust(64, "0")
    values: dict[str, Any] = {
        "status": "finished",
        "folder": str(folder),
        "started": "2026-01-01T00:00:00+00:00",
        "seed": seed,
        "split_seed": seed,
        "data": DataRecord(
            "cifar10", {"train": 4000, "val": 1000, "test": 10000}, 10, [3, 32, 32], ["a"] * 10, "d" * 64
        ),
        "noise": NoiseRecord(kind, rate, None if rate is None else rate * 0.9, seed, noise_hash),
        "val_noise": None,
        "oracle": [],
        "predict": resolved["predict"],
        "versions": {"torch": "2"},
        "git": {"revision": "abc", "changed": False},
        "hardware": {"cpu": "X", "threads": 1, "gpus": []},
        "processes": 1,
        "precision": "32-true",
        "overrides": [f"method={method}", f"alasca={alasca}", f"noise={kind}", f"noise.rate={rate}", f"seed={seed}"],
        "choices": {"method": method, "alasca": alasca, "noise": kind, "data": "cifar10", "model": "small"},
        "config": resolved,
        "digest": job_digest(resolved),
        "duration_seconds": 60.0 if alasca == "none" else 90.0,
        "peak_memory_mb": {"process": 1000},
        "metrics": summarise(rows, resolved["report"]["last_epochs"]) if rows else {},
        "initial_weights": [f"{seed}".ljust(64, "f")],
        "train_split": f"{seed}".ljust(64, "e"),
        "parameters": {"main": 1000, "aux_heads": 0 if alasca == "none" else 500},
        "flops": {"main": 400, "aux_heads": 0 if alasca == "none" else 100},
    }
    made = RunRecord(**(values | record))
    made.write(folder / "record.json")
    if rows:
        write_rows(folder / "metrics.csv", rows)
    return made


def make_tree(
    top: Path,
    methods: Sequence[str] = ("ce", "elr"),
    alascas: Sequence[str] = ("none", "paper"),
    noises: Sequence[tuple[str, float]] = (("symmetric", 0.5), ("asymmetric", 0.4)),
    seeds: Sequence[int] = (0, 1, 2),
    start: int = 0,
) -> Path:
    """Write a sweep's worth of runs with figures from a seeded generator."""
    rng = np.random.default_rng(start)
    for method in methods:
        for alasca in alascas:
            for noise, rate in noises:
                for seed in seeds:
                    level = rng.uniform(0.4, 0.6) + (0.1 if alasca != "none" else 0.0)
                    folder = top / f"{method}_{alasca}_{noise}{rate}_seed{seed}"
                    make_run(folder, method, alasca, noise, rate, seed, level, rng=rng)
    return top


def export_of(folder: Path, file: Path) -> Path:
    """Write runs as ``alasca-sweep export`` does."""
    jobs = [
        {
            "folder": path.parent.name,
            "job": {},
            "record": asdict(RunRecord.read(path)),
            "files": {"metrics.csv": (path.parent / "metrics.csv").read_text()},
        }
        for path in sorted(folder.glob("*/record.json"))
    ]
    file.write_text(json.dumps({"format": "alasca_pl sweep 1", "sweep": folder.name, "jobs": jobs}))
    return file
