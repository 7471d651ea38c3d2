"""Parts that changed nothing in a run are named in its record."""

from types import SimpleNamespace

import pytest
import torch

from alasca_pl.alasca.criterion import AdaptiveLabelSmoothing
from alasca_pl.alasca.regularizer import AlascaRegularizer
from alasca_pl.core.scan import ScanResult
from alasca_pl.core.types import Progress
from alasca_pl.methods.cdr import CriticalParameters
from alasca_pl.methods.co_teaching import SmallLossExchange
from alasca_pl.methods.cores2 import ConfidenceSieve, ConfidentCrossEntropy, GradientOverStrength
from alasca_pl.methods.crust import IntraClassMixer
from alasca_pl.methods.elr import EarlyLearningRegularization
from alasca_pl.methods.elr_plus import EarlyLearningPlus
from alasca_pl.methods.fine import FineSelector
from alasca_pl.methods.har import HeteroskedasticAdaptiveRegularizer
from alasca_pl.methods.loss_correction import LossCorrection
from alasca_pl.methods.mixup import Mixup
from alasca_pl.methods.negative_label_smoothing import GeneralisedLabelSmoothing
from alasca_pl.methods.peer_loss import PeerLoss
from alasca_pl.methods.sop import SparseOverParameterization
from alasca_pl.steps.supervised import SupervisedStep
from alasca_pl.training.callbacks.monitor import NoiseMonitor
from alasca_pl.training.inactive import inactive_parts
from alasca_pl.training.phases import Phase
from running import PHASES, SMALLER, assert_same_bits, checkpoint, method_overrides, train
from training.test_selection import make_labels, make_module


def at(epoch: int) -> Progress:
    return Progress(epoch, 10 * epoch + 9, 30, 10)


@pytest.mark.parametrize(
    ("part", "idle", "begins", "says"),
    [
        (AlascaRegularizer(4, 3, ramp_epochs=30), 0, 1, "ramp_epochs"),
        (AdaptiveLabelSmoothing(4, 3, ramp_epochs=30), 0, 1, "ramp_epochs"),
        (AlascaRegularizer(4, 3, ramp_epochs=0), None, 0, ""),
        (SmallLossExchange(2, 0.4, ramp_epochs=5), 0, 1, "ramp_epochs"),
        (SmallLossExchange(2, 0.0), 29, None, "noise_rate=0"),
        (SmallLossExchange(2, 0.4, rate_factor=0.0), 29, None, "rate_factor=0"),
        (SmallLossExchange(2, "estimated", estimate_epoch=7), 6, None, "before epoch 8 (estimate_epoch)"),
        (CriticalParameters(0.0), 29, None, "noise_rate=0"),
        (CriticalParameters(0.4, gradual=True, gradual_epochs=5), 0, 1, "gradual_epochs"),
        (CriticalParameters(0.4), None, 0, ""),
        (FineSelector(4, 3, 1, warmup_epochs=9, every=1, phase=0), 8, 9, "before epoch 10 (warmup_epochs)"),
        (LossCorrection(3, estimate_epoch=4), 3, None, "before epoch 5 (estimate_epoch)"),
        (LossCorrection(3, matrix=torch.eye(3).tolist()), 29, None, "no label is wrong"),
        (LossCorrection(2, matrix=[[0.9, 0.1], [0.2, 0.8]]), None, 0, ""),
        (ConfidentCrossEntropy((2, 2), start_epoch=3, ramp_epochs=4), 3, 4, "epoch 4 (start_epoch)"),
        (GradientOverStrength(start_epoch=3, ramp_epochs=0), 2, 3, "epoch 4 (start_epoch)"),
        (ConfidenceSieve(start_epoch=3), 2, 3, "epoch 4 (start_epoch)"),
        (IntraClassMixer(start_epoch=3), 2, 3, "epoch 4 (start_epoch)"),
        (GeneralisedLabelSmoothing(warmup_epochs=3), 2, 3, "3 epochs (warmup_epochs)"),
        (PeerLoss((2, 2), warmup_epochs=3), 2, 3, "3 epochs (warmup_epochs)"),
        (PeerLoss((2, 2), segments=[(0.0, 0.0, 2), (1.0, 0.0, 3)]), 1, 2, "0 in all epochs"),
        (EarlyLearningRegularization(4, 3, strength=0.0), 29, None, "strength=0"),
        (EarlyLearningPlus(4, 3, strength=0.0, sharpen_labels=True), None, 0, ""),
        (Mixup(alpha=0.0), 29, None, "alpha=0"),
        (Mixup(), None, 0, ""),
    ],
)  # fmt: skip
def test_parts_say_until_when_they_change_nothing(part, idle, begins, says):
    """``idle`` is the last epoch with which a run may end and ``begins`` the first one in which the part acts."""
    if idle is not None:
        assert says in (part.inactive_because(at(idle)) or "")
    if begins is not None:
        assert part.inactive_because(at(begins)) is None and part.inactive_because(at(29)) is None


@pytest.mark.parametrize("part", [SmallLossExchange(2, estimate_epoch=2), CriticalParameters(estimate_epoch=2)])
def test_a_rate_that_was_estimated_to_be_0_is_named(part):
    part.receive_scan(ScanResult(torch.zeros(4, dtype=torch.int64), torch.ones(1, 4), torch.eye(4)[None]), at(2))
    assert part.inactive_because(at(29)) == "the noise rate was estimated to be 0 before epoch 3"


def test_noise_terms_of_sop_act_once_they_reach_what_the_loss_tells_apart():
    part = SparseOverParameterization(num_samples=2, num_classes=3)
    assert "lr_u" in (part.inactive_because(at(29)) or "")
    part.noise.fill(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.009, 0.0, 0.0]]))
    assert "lr_u" in (part.inactive_because(at(29)) or "")
    part.noise.fill(torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, -0.011, 0.0]]))
    assert part.inactive_because(at(29)) is None
    plus = SparseOverParameterization(2, 3, strength_balance=0.1)
    assert plus.inactive_because(at(29)) is None


def found(module, selector_acted=False, rows=1, **metrics):
    monitor = NoiseMonitor(make_labels())
    monitor.selector_acted = selector_acted
    trainer = SimpleNamespace(callbacks=[monitor], max_epochs=30)
    return inactive_parts(trainer, module, [{"epoch": each, "step": 10 * each + 10, **metrics} for each in range(rows)])


class Keeps(ConfidenceSieve):
    """Somebody's own part, which says nothing of itself."""

    def inactive_because(self, last):
        return None


def test_a_selector_is_named_if_all_its_weights_were_1(make_network):
    module = make_module([make_network(heads=())], Keeps(start_epoch=0))
    assert found(module) == {"selector": "it gave every sample the weight 1 in every step"}
    assert found(module, selector_acted=True) == {}
    # A resume of a run that an earlier version began.
    assert found(module, selector_acted=None) == {}


def test_a_part_that_acts_on_one_network_acts(make_network):
    networks = [make_network(heads=()), make_network(heads=())]
    module = make_module(networks)
    module.method.criteria[0] = EarlyLearningRegularization(4, 3, strength=0.0)
    assert found(module) == {}
    module.method.criteria[1] = EarlyLearningRegularization(4, 3, strength=0.0)
    assert found(module) == {"criterion": "strength=0"}


def test_penalties_of_0_phases_and_warm_ups_are_named(make_network):
    har = HeteroskedasticAdaptiveRegularizer(4, class_strengths=[1.0] * 4)
    module = make_module([make_network(heads=())], regularizers=[{"har": har}])
    assert found(module, **{"train/loss_har": 0.5}) == {}
    assert found(module, **{"train/loss_har": 0.0}) == {"regularizers.har": "its penalty was 0 in every step"}
    module.phases = (Phase(start=2),)
    assert "epoch 3" in found(module, **{"train/loss_har": 0.5})["phases"]
    assert found(module, rows=3, **{"train/loss_har": 0.5}) == {}
    module.step = SupervisedStep()
    module.step.warmup_epochs = 3
    assert "3 epochs (step.warmup_epochs)" in found(module, **{"train/loss_har": 0.5})["step"]
    assert found(module, rows=4, **{"train/loss_har": 0.5}) == {}


# Methods that are cross-entropy until they begin, with the number of networks.
_BEGIN_LATER = {"cdr": 1, "co_teaching": 2, "fine": 1, "forward": 1, "nls": 1}


@pytest.mark.parametrize(
    "method", [name if name == "cdr" else pytest.param(name, marks=pytest.mark.slow) for name in _BEGIN_LATER]
)
def test_a_run_in_which_the_method_did_not_act_is_one_of_cross_entropy(tmp_path, method):
    assert PHASES[method]
    count = _BEGIN_LATER[method]
    record = train(tmp_path / method, *SMALLER, *method_overrides(method), "epochs=1")
    assert len(record.inactive) == 1
    train(tmp_path / "ce", *SMALLER, "alasca=none", f"num_networks={count}", "epochs=1")
    mine, plain = (
        {name: value for name, value in checkpoint(tmp_path / each)["state_dict"].items() if "networks" in name}
        for each in (method, "ce")
    )
    assert mine
    assert_same_bits(mine, plain)
