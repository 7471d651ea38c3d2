"""Accuracy by class, where classes differ in size."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from alasca_pl.core.types import NetworkOutput
from alasca_pl.report.summary import render
from alasca_pl.training.accuracy import SplitAccuracy
from running import train


def measured(predicted: list[int], label: list[int], num_classes: int, times: int = 20) -> dict[str, float]:
    accuracy = SplitAccuracy(["main"], "logits", num_classes, num_networks=1)
    for batch in (slice(0, 3), slice(3, None)):
        logits = F.one_hot(torch.tensor(predicted[batch] * times), num_classes).float()
        accuracy.update([NetworkOutput(logits, aux_logits=(), features=logits)], torch.tensor(label[batch] * times))
    first = accuracy.take_by_class()
    assert accuracy.take_by_class() == {}
    return first


def test_classes_count_alike_whatever_their_size():
    # Five of class 0, of which four are right; two of class 1, of which one is; none of class 2.
    assert measured([0, 0, 0, 0, 1, 1, 2], [0, 0, 0, 0, 0, 1, 1], 3) == pytest.approx(
        {"balanced_acc": (4 / 5 + 1 / 2) / 2, "majority_acc": 5 / 7}
    )


def test_it_is_left_out_where_accuracy_says_the_same():
    assert measured([0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1], 2) == {}
    five_and_one = [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 1], 2
    assert measured(*five_and_one) != {}
    # Six samples of two classes are so by chance.
    assert measured(*five_and_one, times=1) == {}


def test_a_run_on_classes_of_different_sizes_says_so(tmp_path):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 8, 8)).astype(np.uint8), np.arange(60) % 6 // 5
    np.savez(tmp_path / "own.npz", train_images=images, train_labels=labels, test_images=images, test_labels=labels)
    record = train(tmp_path / "run", "data=npz", f"data.path={tmp_path / 'own.npz'}", "noise=none", "epochs=1")
    last = record.metrics["last"]
    assert last["test/majority_acc"] == pytest.approx(50 / 60) and 0 <= last["test/balanced_acc"] <= 1
    console = Console(record=True, width=200, file=io.StringIO())
    console.print(render(record, None))
    shown = console.export_text()
    assert f"balanced accuracy {last['test/balanced_acc']:.2%}" in shown
    assert "would give an accuracy of 83.33%" in shown
