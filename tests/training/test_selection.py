"""When parts look at the training set, how good a selection is, and what the monitor keeps."""

import io
import logging
import math
import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any
from unittest import mock

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics.functional.classification import binary_auroc

from alasca_pl.core.parts import GradientTransform, SampleSelector
from alasca_pl.core.quality import auroc, selection_quality
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Batch, DataFacts, Progress, Targets
from alasca_pl.methods.cross_entropy import CrossEntropy
from alasca_pl.models.network import Network
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.steps.method import Method
from alasca_pl.steps.supervised import SupervisedStep
from alasca_pl.training.callbacks.monitor import NoiseMonitor
from alasca_pl.training.callbacks.scans import ScanCallback
from alasca_pl.training.callbacks.selection_counts import SelectionCounts
from alasca_pl.training.module import NoisyLabelModule
from alasca_pl.training.optim import OptimConfig

MakeNetwork = Callable[..., Network]
N, K = 20, 4


def make_labels(known: bool = True) -> NoisyLabels:
    clean = np.arange(N) % K
    label = np.where(np.arange(N) % 3 == 0, (clean + 1) % K, clean)
    return NoisyLabels(label, clean if known else None, np.arange(N), K, "toy", None, None)


def images() -> Tensor:
    return torch.randn(N, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def deal(order: Sequence[int], size: int = 6) -> list[Batch]:
    label = torch.from_numpy(make_labels().label)
    return [Batch(images()[index], label[index], index) for index in torch.tensor(order).split(size)]


class Data(L.LightningDataModule):
    def __init__(self) -> None:
        super().__init__()
        self.noisy_labels = make_labels()
        self.looks = 0

    def train_dataloader(self) -> DataLoader:
        return DataLoader(deal(range(N)), batch_size=None)  # type: ignore[arg-type]

    def eval_batches(self, part: str) -> Iterable[Batch]:
        assert part == "train"
        self.looks += 1
        return deal(range(N), 7)


class Looker(SampleSelector):
    """Asks in some epochs and keeps what it got and in which state the network was."""

    def __init__(self, epochs: Sequence[int], request: ScanRequest) -> None:
        super().__init__()
        self.epochs, self.request = epochs, request
        self.seen: list[tuple[Progress, ScanResult]] = []

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        return self.request if progress.epoch in self.epochs else None

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        self.seen.append((progress, result))

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        return torch.ones_like(losses)


class LookingTransform(GradientTransform):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ScanResult]] = []

    def scan_request(self, progress: Progress) -> ScanRequest | None:
        return ScanRequest(features=True) if progress.epoch == 2 else None

    def receive_scan(self, result: ScanResult, progress: Progress) -> None:
        self.seen.append((progress.epoch, result))

    def forward(self, parameters: Iterable[nn.Parameter], progress: Progress) -> None:
        pass


def make_module(networks: Sequence[Network], selector: SampleSelector | None = None, **parts: Any) -> NoisyLabelModule:
    facts = DataFacts("toy", K, N, (1, 8, 8), "", tuple("abcd"), (0.5,), (0.25,))
    criteria = [CrossEntropy() for _ in networks]
    optim = OptimConfig(lambda p: torch.optim.SGD(p, 0.1))
    return NoisyLabelModule(Method(networks, criteria, selector=selector, **parts), SupervisedStep(), optim, facts)


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::lightning.fabric.utilities.rank_zero.LightningDeprecationWarning"
)
def test_parts_that_ask_share_one_look_before_the_epoch(make_network: MakeNetwork, caplog: pytest.LogCaptureFixture):
    network = make_network(heads=(), norm="group")
    selector, transform, data = Looker([1, 2], ScanRequest(losses=True)), LookingTransform(), Data()
    module = make_module([network], selector, gradient_transform=transform)
    before: list[Tensor] = []

    class Reference(L.Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            label = torch.from_numpy(make_labels().label)
            assert network.training
            before.append(F.cross_entropy(network(images()).logits, label, reduction="none").detach())

    refresh = ScanCallback()
    options: dict[str, Any] = {"accelerator": "cpu", "devices": 1, "logger": False, "enable_checkpointing": False}
    options |= {"enable_progress_bar": False, "enable_model_summary": False, "callbacks": [refresh, Reference()]}
    with caplog.at_level(logging.INFO, "alasca_pl"):
        L.Trainer(max_epochs=4, **options).fit(module, data)
    assert data.looks == 2
    assert [(p.epoch, p.step, p.steps_per_epoch) for p, _ in selector.seen] == [(1, 4, 4), (2, 8, 4)]
    assert [epoch for epoch, _ in transform.seen] == [2]
    for progress, result in selector.seen:
        torch.testing.assert_close(result.losses[0], before[progress.epoch], rtol=1e-4, atol=1e-5)
    assert selector.seen[0][1].features is None
    assert transform.seen[0][1] is selector.seen[1][1] and transform.seen[0][1].features is not None
    assert refresh.seconds > 0
    lines = [record.getMessage() for record in caplog.records if "scanned" in record.getMessage()]
    assert [line.split(":")[0] for line in lines] == ["epoch 2", "epoch 3"]
    assert not [name for name in module.trainer.callback_metrics if "seconds" in name]


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::lightning.fabric.utilities.rank_zero.LightningDeprecationWarning"
)
@pytest.mark.parametrize(("epochs", "said"), [([2, 5], True), ([1, 5], False), ([], False)])
def test_a_part_that_would_first_look_after_the_end_is_named(make_network: MakeNetwork, caplog, epochs, said):
    module = make_module([make_network(heads=())], Looker(epochs, ScanRequest(losses=True)))
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    options |= {"enable_progress_bar": False, "enable_model_summary": False, "callbacks": [ScanCallback()]}
    L.Trainer(max_epochs=2, **options).fit(module, Data())
    lines = [record.getMessage() for record in caplog.records if "first scans" in record.getMessage()]
    assert bool(lines) == said
    assert all("Looker" in line and "before epoch 3, but the run ends after epoch 2" in line for line in lines)


class FromThirdEpoch(SampleSelector):
    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        return torch.full_like(losses, float(progress.epoch == 2))


@pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::lightning.fabric.utilities.rank_zero.LightningDeprecationWarning"
)
@pytest.mark.parametrize("selects", [True, False])
def test_an_epoch_without_any_base_loss_is_told_once(make_network: MakeNetwork, caplog, selects):
    module = make_module([make_network(heads=())], FromThirdEpoch() if selects else None)
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    options |= {"enable_progress_bar": False, "enable_model_summary": False, "callbacks": [NoiseMonitor(make_labels())]}
    L.Trainer(max_epochs=3, **options).fit(module, Data())
    lines = [record.getMessage() for record in caplog.records if "base loss was 0" in record.getMessage()]
    assert [line.split(":")[0] for line in lines] == ["epoch 1"] * selects
    assert all("train/selected" in line for line in lines)


# Quality of selections


def quality_by_hand(selected: Sequence[bool], clean: Sequence[bool]) -> dict[str, float]:
    values = {"rate": sum(selected) / len(selected)}
    for prefix, positive in (("", True), ("noisy_", False)):
        hits = sum(s == positive and c == positive for s, c in zip(selected, clean))
        found = sum(s == positive for s in selected)
        wanted = sum(c == positive for c in clean)
        precision = hits / found if found else 0.0
        recall = hits / wanted if wanted else 0.0
        values[f"{prefix}precision"], values[f"{prefix}recall"] = precision, recall
        values[f"{prefix}f1"] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return values


@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("clean_share", [0.0, 0.4, 1.0])
def test_quality_equals_loops_also_for_empty_sets(share: float, clean_share: float):
    draws = random.Random(1)
    selected = [draws.random() < share for _ in range(30)]
    clean = [draws.random() < clean_share for _ in range(30)]
    both = sum(s and c for s, c in zip(selected, clean))
    quality = selection_quality(both, sum(selected), sum(clean), 30)
    assert quality == pytest.approx(quality_by_hand(selected, clean))


def test_counts_add_up_over_batches_and_networks_are_averaged():
    counts, draws = SelectionCounts(), torch.Generator().manual_seed(0)
    clean = torch.rand(25, generator=draws) < 0.6
    selected = torch.rand(2, 25, generator=draws) < torch.tensor([[0.5], [0.8]])
    for part in (slice(0, 10), slice(10, 25)):
        counts.add(selected[:, part], clean[part])
    metrics = counts.take()
    each = [quality_by_hand(row.tolist(), clean.tolist()) for row in selected]
    for name in each[0]:
        assert metrics[f"select/{name}"] == pytest.approx((each[0][name] + each[1][name]) / 2)
        assert [metrics[f"select/{name}/{m}"] for m in (0, 1)] == pytest.approx([each[0][name], each[1][name]])
    assert counts.take() == {}


def test_a_single_network_has_no_number():
    counts = SelectionCounts()
    counts.add(torch.tensor([[True, False]]), torch.tensor([True, True]))
    metrics = counts.take()
    assert not [name for name in metrics if name.endswith("/0")]
    assert (metrics["select/precision"], metrics["select/recall"], metrics["select/noisy_f1"]) == (1.0, 0.5, 0.0)


# The monitor


def test_auroc_equals_pairs_and_survives_large_scores():
    draws = random.Random(0)
    score = torch.tensor([float(draws.randint(0, 6)) for _ in range(40)])
    positive = torch.tensor([draws.random() < 0.4 for _ in range(40)])
    pairs = [(a > b) + 0.5 * (a == b) for a in score[positive].tolist() for b in score[~positive].tolist()]
    assert auroc(score, positive) == pytest.approx(sum(pairs) / len(pairs))
    assert auroc(score / 7, positive) == pytest.approx(float(binary_auroc(score / 7, positive.long())), abs=1e-6)
    assert auroc(torch.tensor([50.0, 60.0, 70.0]), torch.tensor([False, True, True])) == 1.0


class Half(SampleSelector):
    """Keeps every other sample of a batch, differently for each network."""

    trust: Tensor | None = None

    def forward(self, losses: Tensor, logits: Sequence[Tensor], targets: Targets, progress: Progress) -> Tensor:
        place = torch.arange(losses.shape[1]) + torch.arange(len(losses)).unsqueeze(1)
        return (place % 2 == 0).to(losses.dtype)

    def confidence(self, label: Tensor) -> Tensor | None:
        return self.trust


class Epoch:
    """Feeds a monitor with a module's steps, without a trainer."""

    def __init__(self, module: NoisyLabelModule, known: bool = True) -> None:
        self.module, self.monitor = module, NoiseMonitor(make_labels(known))

    def feed(self, batches: Iterable[Batch], epoch: int = 0) -> list[dict[str, Any]]:
        outputs = []
        for batch in batches:
            result = self.module.step(self.module.method, batch, Progress(epoch, 0, 10, 4))
            output = {"terms": result.terms, "weight": result.weight, "losses": result.losses}
            outputs.append(output | {"logits": torch.stack(result.logits)})
            self.monitor.on_train_batch_end(mock.Mock(), self.module, outputs[-1], batch, 0)
        return outputs

    def end(self) -> dict[str, float]:
        logged: dict[str, float] = {}
        with mock.patch.object(self.module, "log", lambda name, value, **_: logged.update({name: value})):
            self.monitor.on_train_epoch_end(mock.Mock(), self.module)
        return logged


def two_networks(make_network: MakeNetwork, selector: SampleSelector | None = None) -> Epoch:
    return Epoch(make_module([make_network(seed, heads=(), norm="group") for seed in (0, 1)], selector))


def test_an_epoch_measures_selections_and_how_losses_rank(make_network: MakeNetwork):
    selector = Half()
    selector.trust = torch.rand(2, N, generator=torch.Generator().manual_seed(4))
    epoch, batches = two_networks(make_network, selector), deal(torch.randperm(N).tolist())
    outputs = epoch.feed(batches)
    metrics = epoch.end()
    labels = make_labels()
    wrong = torch.from_numpy(labels.label != labels.clean_label)
    index = torch.cat([batch.index for batch in batches])
    for m in range(2):
        selected = torch.cat([output["weight"][m] > 0 for output in outputs]).tolist()
        expected = quality_by_hand(selected, (~wrong[index]).tolist())
        for name, value in expected.items():
            assert metrics[f"select/{name}/{m}"] == pytest.approx(value), name
        losses = torch.cat([output["losses"][m] for output in outputs]).tolist()
        pairs = [
            (a > b) + 0.5 * (a == b)
            for a, i in zip(losses, index.tolist())
            for b, j in zip(losses, index.tolist())
            if wrong[i] and not wrong[j]
        ]
        assert metrics[f"train/auroc_loss/{m}"] == pytest.approx(sum(pairs) / len(pairs))
        assert metrics[f"select/auroc/{m}"] == pytest.approx(
            float(binary_auroc(1 - selector.trust[m], wrong.long())), abs=1e-6
        )


def test_confidences_have_the_mean_and_spread_of_the_samples(make_network: MakeNetwork):
    epoch, labels = two_networks(make_network), make_labels()
    table = torch.rand(N, generator=torch.Generator().manual_seed(6))
    part = mock.Mock(confidence=lambda label: table)
    # The last batch is smaller, so that a mean over batches would be another number.
    outputs = epoch.feed(deal(range(N)))
    with mock.patch.object(Method, "of_network", lambda self, number: [("part", part)]):
        metrics = epoch.end()
    logits = torch.cat([output["logits"] for output in outputs], dim=1).double()
    for network in range(2):
        own: dict[bool, list[float]] = {True: [], False: []}
        kept: dict[bool, list[float]] = {True: [], False: []}
        for i in range(N):
            weights = [math.exp(value) for value in logits[network, i].tolist()]
            is_wrong = bool(labels.label[i] != labels.clean_label[i])
            own[is_wrong].append(weights[labels.label[i]] / sum(weights))
            kept[is_wrong].append(float(table[i]))
        for group, values in (("train", own), ("part", kept)):
            for word, is_wrong in (("clean", False), ("wrong", True)):
                its = values[is_wrong]
                assert metrics[f"{group}/confidence_{word}/{network}"] == pytest.approx(statistics.fmean(its))
                assert metrics[f"{group}/confidence_{word}_std/{network}"] == pytest.approx(statistics.pstdev(its))
    assert not [name for name in metrics if "square" in name]


def test_samples_that_the_epoch_did_not_meet_do_not_count(make_network: MakeNetwork):
    epoch = two_networks(make_network)
    epoch.feed(deal(range(N)))
    epoch.end()
    (output,) = epoch.feed(deal([3, 0, 7, 8]))
    losses = output["losses"][0].tolist()  # samples 3 and 0 are wrong
    pairs = [float(a > b) for a in losses[:2] for b in losses[2:]]
    assert epoch.end()["train/auroc_loss/0"] == pytest.approx(sum(pairs) / 4)


@pytest.mark.parametrize("known", [True, False])
def test_without_a_selector_or_clean_labels_nothing_is_said_of_selections(known: bool, make_network: MakeNetwork):
    selector = None if known else Half()
    module = make_module([make_network(heads=(), norm="group")], selector)
    epoch = Epoch(module, known)
    epoch.feed(deal(range(N)))
    metrics = epoch.end()
    assert not [name for name in metrics if name.startswith("select/")]
    assert ("train/auroc_loss" in metrics) is known and ("train/memorised" in metrics) is known


def test_a_step_without_base_losses_is_measured_without_them(make_network: MakeNetwork):
    epoch = two_networks(make_network)
    (batch,) = deal([0, 1, 2, 3])
    result = epoch.module.step(epoch.module.method, batch, Progress(0, 0, 10, 4))
    output = {"terms": result.terms, "weight": result.weight, "logits": torch.stack(result.logits), "losses": None}
    epoch.monitor.on_train_batch_end(mock.Mock(), epoch.module, output, batch, 0)
    metrics = epoch.end()
    assert "train/loss" in metrics and not [name for name in metrics if "auroc_loss" in name]


def test_the_monitor_goes_on_within_an_epoch_as_if_never_stopped(make_network: MakeNetwork):
    batches = deal(range(N))
    whole, first, second = (two_networks(make_network, Half()) for _ in range(3))
    for epoch in (whole, first):
        epoch.feed(batches)
        epoch.end()
    whole.feed(batches)
    first.feed(batches[:2])
    file = io.BytesIO()
    torch.save(first.monitor.state_dict(), file)
    file.seek(0)
    second.monitor.load_state_dict(torch.load(file, weights_only=True))
    second.feed(batches[2:])
    expected, metrics = whole.end(), second.end()
    assert {"select/f1/1", "train/auroc_loss/0", "train/loss"} <= expected.keys()
    assert metrics == expected


def test_a_fresh_monitor_can_be_saved_and_loaded():
    monitor = NoiseMonitor(make_labels())
    file = io.BytesIO()
    torch.save(monitor.state_dict(), file)
    file.seek(0)
    NoiseMonitor(make_labels()).load_state_dict(torch.load(file, weights_only=True))
