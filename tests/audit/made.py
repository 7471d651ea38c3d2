"""Audits made from known labels, without training."""

from pathlib import Path

import numpy as np

from alasca_pl.audit.audit import Audit, LabelledSplit
from alasca_pl.audit.count import estimate, total
from alasca_pl.audit.sample import draw_sample
from alasca_pl.audit.suspects import HEADS, find_suspects
from alasca_pl.core.sample_file import SampleFile

NAMES = ("cat", "dog", "owl")


def sample_file(label: np.ndarray, true: np.ndarray, classes: int = 3, seed: int = 0, skill: float = 3.0) -> SampleFile:
    """Evidence of a training whose networks know the true label with some skill."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 1, (len(label), classes))
    logits[np.arange(len(label)), true] += skill
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    rows = np.arange(len(label))
    given = probs[rows, label]
    without = logits.copy()
    without[rows, label] = -np.inf
    wrong = probs.argmax(1) != label
    evidence = {
        "margin": logits[rows, label] - without.max(1),
        "confidence": given,
        "loss": -np.log(given),
        "last_loss": -np.log(given),
        "wrong_events": np.where(wrong, 9, 1),
        "suggested": probs.argmax(1),
        "suggested_prob": probs.max(1),
    }
    arrays = {name: values[None] for name, values in evidence.items()}
    arrays[HEADS] = np.stack([probs.argmax(1), label])
    visits = np.full(len(label), 10)
    return SampleFile(label, np.arange(len(label)) + 5, visits, None, arrays)


def noisy(true: np.ndarray, rate: float, classes: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed + 1000)
    wrong = rng.random(len(true)) < rate
    return np.where(wrong, (true + rng.integers(1, classes, len(true))) % classes, true)


def make_audit(
    count: int = 300,
    rate: float = 0.2,
    names: tuple[str, ...] = NAMES,
    paths: bool = True,
    seed: int = 0,
    sample: int = 60,
) -> tuple[Audit, np.ndarray]:
    """An audit of a training and a test split, and the true training labels."""
    classes = len(names)
    true = np.random.default_rng(seed).integers(0, classes, count)
    label = noisy(true, rate, classes, seed)
    file = sample_file(label, true, classes, seed)
    suspects = find_suspects({"train": file}, classes)
    counts = {"train": estimate(file, classes)}
    of_files = np.array([f"images/{row}.png" for row in range(count)]) if paths else None
    test = LabelledSplit(
        np.arange(4) % classes, np.arange(4), np.array([f"t/{row}.png" for row in range(4)]) if paths else None
    )
    audit = Audit(
        splits={"train": LabelledSplit(label, file.index, of_files), "test": test},
        class_names=names,
        suspects=suspects,
        counts={**counts, "all": total(counts.values())},
        sample=draw_sample(suspects.probability, sample, seed),
        planted=None,
        run="runs/first",
        root=str(Path("/images")) if paths else None,
        score="margin",
    )
    return audit, true
