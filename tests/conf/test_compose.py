"""Every yaml of every group composes and builds; the files are found by listing the folder."""

import copy
import functools
import importlib.util
import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf, open_dict

from alasca_pl.build.data import build_data
from alasca_pl.build.module import build_module
from alasca_pl.build.trainer import build_trainer
from alasca_pl.cli.composition import Composed, compose_config
from alasca_pl.cli.config_files import parsed_once
from alasca_pl.core.errors import UserError
from alasca_pl.core.parts import ScanningPart
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.scan import ScanRequest, ScanResult
from alasca_pl.core.types import Batch, DataFacts, Progress, Targets
from alasca_pl.training.module import NoisyLabelModule
from facts import METHODS, networks_of, noise_rates, one_of_each_kind, parts_of
from running import slow_unless

CONF = Path(__file__).parents[2] / "conf"
GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in CONF.iterdir() if folder.is_dir()
}
EVERY_YAML = [(group, name) for group in sorted(GROUPS) for name in GROUPS[group]]
ALASCAS = GROUPS["alasca"]
# Values without which a yaml does not compose.
NEEDED = {
    ("data", "npz"): ("data.path=x.npz",),
    ("data", "csv"): ("data.path=x.csv",),
    ("data", "folder"): ("data.root=x",),
    ("data", "huggingface"): ("data.path=x",),
    ("noise", "from_file"): ("noise.path=x.npz",),
    ("recipe", "quick"): ("data=folder", "data.root=x", "data.image_size=32"),
    ("recipe", "good"): ("data=folder", "data.root=x", "data.image_size=32"),
}
STAGES = {"none": [], "last": [2], "all": [1, 2]}
# Without extras installed these cannot be built.
NEEDS_TIMM = ("timm", "inception_resnet_v2")
COUNTS = (4, 4, 3, 3, 3, 3, 3, 3, 3, 3)
FACTS = DataFacts(
    "toy",
    10,
    32,
    (3, 16, 16),
    "0" * 64,
    tuple("0123456789"),
    (0.5,) * 3,
    (0.25,) * 3,
    realised_rate=0.4,
    class_counts=COUNTS,
)


@contextmanager
def hydra_values(config: Any) -> Iterator[None]:
    """Let interpolations of hydra's own values resolve as they do in a run."""
    singleton = HydraConfig.instance()
    before = singleton.cfg
    singleton.set_config(config)
    try:
        yield
    finally:
        singleton.cfg = before


@functools.cache
def _composed(overrides: tuple[str, ...], name: str) -> tuple[dict[str, Any], Composed | None]:
    with initialize_config_dir(str(CONF), version_base="1.3"), parsed_once():
        plain = compose(name, overrides=list(overrides), return_hydra_config=True)
        if name == "evaluate":
            with open_dict(plain):
                del plain["hydra"]
            return OmegaConf.to_container(plain, resolve=True, throw_on_missing=True), None
        with hydra_values(plain):
            composed = compose_config(name, overrides)
            return OmegaConf.to_container(composed.config, resolve=True, throw_on_missing=True), composed


def config_for(*overrides: str, name: str = "train") -> dict[str, Any]:
    return copy.deepcopy(_composed(overrides, name)[0])


def composed_for(*overrides: str) -> Composed:
    found = _composed(overrides, "train")[1]
    assert found is not None
    return found


def module_for(*overrides: str, facts: DataFacts = FACTS) -> NoisyLabelModule:
    return build_module(config_for(*overrides), facts)


def stages_of(module: NoisyLabelModule) -> list[int]:
    return [int(stage) for stage in module.method.networks[0].aux_heads]


def write_npz(path: Path, classes: int, shape: tuple[int, ...] = (8, 8, 3)) -> Path:
    rng = np.random.default_rng(0)
    content = {}
    for part, size in (("train", 4 * classes), ("test", classes)):
        content[f"{part}_images"] = rng.integers(0, 256, (size, *shape)).astype(np.uint8)
        content[f"{part}_labels"] = np.arange(size) % classes
    np.savez(path, **content)
    return path


@pytest.fixture(scope="module")
def digits():
    return build_data(config_for())


def test_the_listing_finds_the_groups():
    assert len(EVERY_YAML) > 50
    assert {
        "aux",
        "data",
        "model",
        "noise",
        "method",
        "alasca",
        "optim",
        "trainer",
        "logger",
    } <= GROUPS.keys()


@pytest.mark.parametrize(("group", "name"), EVERY_YAML)
def test_every_yaml_composes(group, name):
    config = config_for(f"{group}={name}", *NEEDED.get((group, name), ()))
    assert config["criterion"]["_target_"].startswith("alasca_pl.")
    assert config["trainer"]["max_epochs"] == (2 if name == "smoke" else config["epochs"])


@pytest.mark.parametrize(("group", "name"), sorted(NEEDED))
def test_a_yaml_without_its_path_asks_for_it(group, name):
    missing = NEEDED[group, name][0].split("=")[0].replace(".", r"\.")
    with pytest.raises(Exception, match=missing):
        config_for(f"{group}={name}")


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_an_unknown_choice_is_refused_with_the_valid_ones(group):
    with pytest.raises(HydraException) as caught:
        config_for(f"{group}=no_such_thing")
    assert "no_such_thing" in str(caught.value)
    assert all(name in str(caught.value) for name in GROUPS[group])


@pytest.mark.parametrize(
    ("overrides", "key", "expected"),
    [
        # Nothing is stated for these.
        (["method=ce", "data=cifar10"], "epochs", 120),
        (["method=elr", "data=cifar10"], "criterion.strength", 3.0),
        # By noise, on top of by data.
        (["method=elr", "data=cifar10", "noise=asymmetric"], "criterion.strength", 1.0),
        (["method=elr", "data=cifar10", "noise=asymmetric_paper"], "criterion.momentum", 0.9),
        (["method=elr", "data=cifar100", "noise=asymmetric"], "criterion.strength", 7.0),
        (["method=elr", "data=cifar10", "noise=instance"], "criterion.strength", 3.0),
        (["method=elr", "data=npz", "data.path=x", "data.name=cifar100"], "criterion.strength", 7.0),
        (["method=dividemix", "data=cifar100"], "step.warmup_epochs", 30),
        # By rate, where the nearest stated one applies.
        (["method=dividemix", "data=cifar10", "noise.rate=0.2"], "step.strength_unlabelled", 0.0),
        (["method=dividemix", "data=cifar10", "noise.rate=0.4"], "step.strength_unlabelled", 25.0),
        (["method=dividemix", "data=cifar10", "noise.rate=0.8"], "selector.threshold", 0.5),
        (["method=dividemix", "data=cifar10", "noise.rate=0.9"], "step.strength_unlabelled", 50.0),
        (["method=dividemix", "data=cifar10", "noise.rate=0.9"], "selector.threshold", 0.6),
        (["method=dividemix", "data=cifar10", "noise.rate=0.9"], "selector.memory_epochs", 5),
        (
            ["method=dividemix", "data=cifar10", "noise.rate=0.9", "selector.memory_epochs=1"],
            "selector.memory_epochs",
            1,
        ),
        (["method=dividemix", "data=cifar100", "noise.rate=0.2"], "step.strength_unlabelled", 25.0),
        (["method=dividemix", "data=cifar100", "noise.rate=0.5"], "step.strength_unlabelled", 150.0),
        (["method=dividemix", "data=cifar100", "noise.rate=0.9"], "step.strength_unlabelled", 150.0),
        (["method=dividemix", "data=cifar100", "constants=null"], "step.strength_unlabelled", 25.0),
        (["method=dividemix", "data=cifar100", "constants.cifar100=null"], "selector.warmup_epochs", 10),
        (["method=dividemix", "data=cifar10", "noise=asymmetric"], "step.strength_unlabelled", 0.0),
        (["method=f_coteaching", "data=cifar10"], "optim.optimizer.weight_decay", 1e-3),
        (["method=f_coteaching", "data=clothing1m"], "selector.warmup_epochs", 1),
        (["method=co_teaching", "data=clothing1m"], "data.subset_size", 192_000),
        (["method=elr_plus", "data=clothing1m"], "data.subset_redraw", False),
        (["method=dividemix", "data=clothing1m"], "data.subset_size", 32_000),
        # They reach the optimiser, and both experiments and the command line overrule them.
        (["method=gce", "data=cifar100"], "optim.optimizer.lr", 0.01),
        (["method=gce", "data=cifar100", "optim.lr=0.3"], "optim.optimizer.lr", 0.3),
        (["method=elr", "data=cifar100", "criterion.strength=2"], "criterion.strength", 2),
        (["method=elr_plus", "experiment=cifar10_small"], "trainer.max_epochs", 30),
        (["method=elr_plus", "experiment=cifar10_small"], "data.batch_size", 64),
    ],
)
def test_constants_take_their_place_between_method_and_user(overrides, key, expected):
    value = config_for(*overrides)
    for name in key.split("."):
        value = value[name]
    assert value == expected


def test_the_evaluation_config_composes():
    config = config_for("ckpt_path=run/checkpoints/last.ckpt", name="evaluate")
    assert (config["split"], config["trust"], config["ckpt_path"]) == ("test", False, "run/checkpoints/last.ckpt")


def test_the_paper_s_constants():
    """Section 4.1 of the paper and the settings of its lineage for CIFAR-10."""
    config = config_for("data=cifar10")
    alasca = config["regularizers"]["alasca"]
    assert (alasca["strength"], alasca["momentum"], alasca["ramp_epochs"], alasca["target"]) == (2.0, 0.7, 30, "others")
    assert alasca["temperature"] == pytest.approx(1 / 3, abs=1e-15)
    data = config["data"]
    assert (data["num_samples"], data["num_val"], data["batch_size"]) == (45_000, 5_000, 128)
    assert data["mean"] == [0.4914, 0.4822, 0.4465]
    assert data["std"] == [0.2023, 0.1994, 0.2010]
    assert data["class_map"] == {9: 1, 2: 0, 3: 5, 5: 3, 4: 7}
    assert config["optim"]["milestones"] == [40, 80]
    assert config_for("data=cifar100")["data"]["mean"] == [0.5071, 0.4867, 0.4408]
    assert config_for("data=cifar100")["data"]["std"] == [0.2675, 0.2565, 0.2761]


@pytest.mark.parametrize(
    ("overrides", "key", "expected"),
    [
        (["data=cifar10"], "model.backbone.name", "resnet34"),
        (["data=cifar10", "model=small"], "model.backbone.num_stages", 3),
        (["data=digits", "alasca=none"], "regularizers", {}),
        (["data=digits"], "regularizers.alasca.strength", 6.0),
        # Stated in train.yaml only.
        (["data=cifar10"], "regularizers.alasca.strength", 2.0),
        (["data=npz", "data.path=x"], "model.backbone.num_stages", 3),
        (["data=cifar10", "data.subset_size=100"], "data.subset_size", 100),
        (["data=digits", "data.subset_redraw=false"], "data.subset_redraw", False),
        (["aux=last"], "aux.stages", "last"),
        (["alasca=none"], "aux.stages", []),
        (["method=als_ema"], "criterion.momentum", 0.7),
        (["experiment=cifar10_small"], "data.name", "cifar10"),
        (["experiment=cifar10_small"], "regularizers.alasca.ramp_epochs", 8),
        # The README of jongwooko/ALASCA.
        (["experiment=a_coteaching"], "optim.optimizer.lr", 0.02),
        (["experiment=a_coteaching"], "optim.optimizer.weight_decay", 5e-4),
        (["experiment=a_coteaching"], "selector.ramp_epochs", 30),
        # ELR/config_cifar10.json of shengliu66/ELR.
        (["experiment=elr_cosine"], "epochs", 150),
        (["experiment=elr_cosine"], "optim.scheduler.T_0", 10),
        (["experiment=elr_cosine"], "optim.scheduler.eta_min", 1e-3),
        (["experiment=elr_cosine"], "optim.optimizer.lr", 0.02),
        (["experiment=elr_cosine"], "optim.optimizer.weight_decay", 1e-3),
        (["experiment=cifar10_small"], "model.backbone.width", 32),
        (["experiment=cifar10_small", "alasca=none"], "regularizers", {}),
        (["experiment=cifar10_small", "epochs=3"], "trainer.max_epochs", 3),
        (["debug=overfit"], "data.max_train_samples", 64),
        (["seed=7"], "noise.seed", 7),
        (["seed=7"], "data.split_seed", 7),
        (["seed=7", "noise.seed=1"], "noise.seed", 1),
    ],
)
def test_later_groups_overrule_earlier_ones_and_the_command_line_all(overrides, key, expected):
    value = config_for(*overrides)
    for name in key.split("."):
        value = value[name]
    assert value == expected


def test_wandb_is_told_the_choices():
    logger = config_for("logger=wandb_offline", "method=gce", "alasca=none", "seed=4")["logger"]["wandb"]
    assert (logger["job_type"], logger["name"], logger["offline"]) == ("gce_none", "gce_none_seed4", True)
    assert logger["tags"] == ["digits", "symmetric", "gce", "none"]


# All warm-ups have ended at the one epoch, counted from 0, and all ramps at the other.
LOOK, LATER = 40, 100
LABEL = torch.arange(32) % 10
# One label of each class is wrong.
WRONG = (torch.arange(32) % 3 == 0) & (torch.arange(32) < 30)


def look(request: ScanRequest, networks: int) -> ScanResult:
    """What a look might find of 32 samples: wrong labels cost more, are less probable and lie elsewhere."""
    rng = torch.Generator().manual_seed(0)
    true = torch.where(WRONG, (LABEL + 1) % 10, LABEL)
    losses = torch.where(WRONG, 3.0, 0.2) + 0.05 * torch.rand(networks, 32, generator=rng)
    logits = 4.0 * torch.nn.functional.one_hot(true, 10) + 0.1 * torch.randn(networks, 32, 10, generator=rng)
    features = torch.nn.functional.one_hot(true, 16).float() + 0.05 * torch.rand(networks, 32, 16, generator=rng)
    return ScanResult(
        LABEL,
        losses if request.losses else None,
        logits.softmax(dim=2) if request.probs else None,
        features if request.features else None,
        torch.randn(networks, 10, 16, generator=rng) if request.probs else None,
        features[0] if request.encoder is not None else None,
    )


def scan_for(part: ScanningPart | None, networks: int) -> bool:
    """Give a part its first look from epoch 40 on, or at the start, if it ever wants one."""
    for epoch in (*range(LOOK, LATER), 0) if part is not None else ():
        progress = Progress(epoch, 4 * epoch, 120, 4)
        request = part.scan_request(progress)
        if request is not None:
            part.receive_scan(look(request, networks), progress)
            return True
    return False


def batch_for(module: NoisyLabelModule, size: int = 12) -> Batch:
    """A batch with all that the method asks for; every third label is wrong."""
    rng = torch.Generator().manual_seed(0)
    index = torch.arange(size)
    images = [torch.randn(size, 3, 16, 16, generator=rng) for _ in range(len(module.step.views) + 1)]
    batch = Batch(images[0], LABEL[index], index, tuple(images[1:-1]))
    if module.method.mixer is not None and module.method.mixer.partners == "same_label":
        # Ten classes in turn: 10 further on lies one of the same class.
        batch = batch._replace(partner=index + 10, partner_image=images[-1])
    return batch


def gradients(module: NoisyLabelModule) -> list[torch.Tensor]:
    found = []
    for network in module.method.networks:
        for name, weight in network.named_parameters():
            assert weight.grad is not None, name
            assert torch.isfinite(weight.grad).all(), name
            found.append(weight.grad)
    return found


def take_step(module: NoisyLabelModule, epoch: int, step: int = 0) -> Any:
    batch = batch_for(module)
    module.train()
    module.zero_grad()
    progress = Progress(epoch, step, max_epochs=120, steps_per_epoch=4)
    result = module.step(module.method, batch, progress)
    assert torch.isfinite(result.loss)
    assert all(torch.isfinite(term) for term in result.terms.values())
    result.loss.backward()
    before = [gradient.clone() for gradient in gradients(module)]
    assert float(module.method.networks[0].head.weight.grad.abs().sum()) > 0
    if module.method.gradient_transform is not None:
        for network in module.method.networks:
            module.method.gradient_transform(network.parameters(), progress)
        after = gradients(module)
        acts = any(not torch.equal(one, other) for one, other in zip(before, after))
        # What scans cannot act before; what does not may begin at once or after a ramp.
        scans = type(module.method.gradient_transform).scan_request is not ScanningPart.scan_request
        assert acts if epoch == LATER else not (acts and scans)
    return result


# Every method with and without ALASCA, and every variant of ALASCA with every kind of method.
FEW = ("none", "paper")
KINDS = one_of_each_kind()
CASES = [
    pytest.param(method, alasca, marks=() if alasca in FEW or method in ("ce", "elr_plus") else pytest.mark.slow)
    for method in METHODS
    for alasca in ALASCAS
    if alasca in FEW or method in ("ce", "elr_plus", *KINDS)
]


@pytest.mark.parametrize(("method", "alasca"), CASES)
def test_every_method_takes_a_step_with_alasca(method, alasca):
    overrides = (f"method={method}", "model.backbone.width=4")
    module, plain = module_for(*overrides, f"alasca={alasca}"), module_for(*overrides, "alasca=none")
    # Heads only if a part asks for them.
    own = any("aux_logits" in part.needs for part in plain.method.regularizers[0].values())
    assert stages_of(module) == ([] if alasca == "none" and not own else [1, 2])
    assert stages_of(plain) == ([1, 2] if own else [])
    start = dict(module.method.networks[0].named_parameters())
    for name, weight in plain.method.networks[0].named_parameters():
        assert torch.equal(weight, start[name]), name

    for step in range(2):
        early = take_step(module, epoch=0, step=step)
    assert bool((early.weight == 1).all()), "before it acts a selector takes all"

    for part in (module.method.selector, module.method.gradient_transform):
        # Who overrides the request must make one some time.
        asks = part is not None and type(part).scan_request is not ScanningPart.scan_request
        assert scan_for(part, len(module.method.networks)) == asks
    for part in module.method.criteria:
        # Each is told of its own network only.
        assert not isinstance(part, ScanningPart) or scan_for(part, 1)
    late = take_step(module, epoch=LATER, step=4 * LATER)
    if module.method.selector is not None:
        weight = late.weight
        assert bool((weight >= 0).all()) and bool((weight > 0).any())
        # DISC divides the samples at the end of an epoch.
        assert bool((weight == 0).any()) == (method != "disc")


@pytest.mark.parametrize("method", [name for name in METHODS if "selector" in parts_of(name)])
def test_selections_after_a_clear_look_are_the_right_ones(method):
    # Of the ten neighbours that are usual most would be of other classes, which have three or four samples here.
    options = parts_of(method)["selector"]
    few = (f"selector.count={3 if options['self_vote'] else 2}",) if "count" in options else ()
    module = module_for(f"method={method}", "model.backbone.width=4", "alasca=none", "num_networks=2", *few)
    selector = module.method.selector
    scan_for(selector, 2)
    result = take_step(module, epoch=LATER, step=4 * LATER)
    scores = selector.confidence(LABEL)
    if scores is None and not hasattr(selector, "forget_rate"):
        # It judges by the predictions of the moment, here of networks that know nothing.
        assert ((result.weight == 0) | (result.weight == 1)).all()
        return
    if scores is None:
        # It has only learnt how many are wrong.
        assert (result.weight > 0).sum(dim=1).tolist() == [int((1 - float(WRONG.float().mean())) * 12)] * 2
        return
    for row in scores:
        assert row[WRONG].mean() < row[~WRONG].mean()
    every = selector(torch.zeros(2, 32), [], Targets.unmixed(LABEL, torch.arange(32)), Progress(LATER, 0, 120, 4))
    if "divisor" in options:
        # Equally many of each class: a tenth of the 22 right ones.
        for row in every:
            assert torch.bincount(LABEL[row > 0], minlength=10).tolist() == [2] * 10
            assert not (row[WRONG] > 0).any()
    elif "greedy" in options:
        # A coreset of given size, whose samples stand for others: 1 or 2 of the 3 or 4 of each class.
        sizes = torch.bincount(LABEL)
        for row in every:
            assert torch.bincount(LABEL[row > 0], minlength=10).tolist() == (sizes // 2).tolist()
    elif few:
        # Of a correct sample's two neighbours one is wrong, so that only wrong ones are clear cases.
        assert not (result.weight[:, WRONG[:12]] > 0).any()
        assert (result.weight > 0).any(dim=1).all()
    else:
        # Classes may count differently.
        assert torch.equal(result.weight > 0, (~WRONG[:12]).expand(2, -1))


@pytest.mark.parametrize("rate", ["oracle", "estimated", "0.3"])
@pytest.mark.parametrize(("method", "slot"), noise_rates())
def test_the_noise_rate_may_be_true_estimated_or_given(method, slot, rate):
    module = module_for(f"method={method}", f"{slot}.noise_rate={rate}", "model.backbone.width=4")
    part = getattr(module.method, slot)
    assert scan_for(part, len(module.method.networks)) == (rate == "estimated")
    used = part.forget_rate(LATER) if slot == "selector" else 1.0 - part.kept_fraction(LATER)
    expected = {"oracle": FACTS.realised_rate, "estimated": float(WRONG.float().mean()), "0.3": 0.3}[rate]
    assert used == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(("method", "slot"), noise_rates())
def test_an_oracle_needs_clean_labels(method, slot):
    config = config_for(f"method={method}", f"{slot}.noise_rate=oracle")
    with pytest.raises(UserError, match=f"{slot}.noise_rate is oracle.*toy.*{slot}.noise_rate=estimated"):
        build_module(config, FACTS._replace(realised_rate=None))


@pytest.mark.parametrize("method", [name for name in METHODS if networks_of(name) == 2])
def test_methods_of_two_networks_refuse_one_or_train_it(method):
    overrides = (f"method={method}", "num_networks=1", "model.backbone.width=4", "alasca=none")
    try:
        module = module_for(*overrides)
    except UserError as refused:
        assert re.search(r"num_networks=1\b.*(num_networks=2|sets it to 2)", str(refused))
    else:
        assert take_step(module, epoch=0).weight.shape == (1, 12)


@pytest.mark.parametrize("method", slow_unless(("elr", "fine"), METHODS))
def test_every_method_takes_two_networks(method):
    module = module_for(f"method={method}", "num_networks=2", "model.backbone.width=4")
    result = take_step(module, epoch=0)
    assert result.weight.shape == (2, 12)
    assert {"loss_base/0", "loss_base/1"} <= result.terms.keys()


@pytest.mark.parametrize("shared", ["true", "false"])
def test_two_networks_have_one_table_of_confidence_or_two(shared):
    overrides = ("method=co_teaching", "alasca=paper", f"regularizers.alasca.shared_ema={shared}")
    one, other = (mapping["alasca"] for mapping in module_for(*overrides, "model.backbone.width=4").method.regularizers)
    assert (one is other) == (shared == "true")


@pytest.mark.parametrize("aux", GROUPS["aux"])
def test_without_a_part_that_asks_no_head_is_built(aux):
    assert stages_of(module_for("alasca=none", f"aux={aux}")) == []


@pytest.mark.parametrize("aux", sorted(set(GROUPS["aux"]) - {"none"}))
@pytest.mark.parametrize("kind", ["bottleneck", "mlp", "mlp_gap_first", "residual", "depthwise"])
def test_every_head_kind_and_stage_choice_builds(kind, aux):
    module = module_for("alasca=paper", f"aux={aux}", f"aux.kind={kind}", "model.backbone.width=4")
    assert stages_of(module) == STAGES[aux]
    output = module.method.networks[0](torch.randn(2, 3, 16, 16))
    assert [tuple(logits.shape) for logits in output.aux_logits] == [(2, 10)] * len(STAGES[aux])


def test_listed_stages_and_width_reach_the_heads():
    module = module_for("alasca=paper", "aux.stages=[1]", "aux.width=7")
    assert stages_of(module) == [1]
    assert module.method.networks[0].aux_heads["1"].linear.in_features == 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["aux=none"], "aux.stages is empty.*aux=all"),
        (["aux.stages=[7]"], "stage 7.*1, 2"),
        (["aux.stages=[3]"], "stage 3 carries the main head"),
        (["aux.stages=middle"], "all, last or null, got 'middle'"),
        (["method=byot", "aux.width=7"], r"byot compares features.*aux\.width=7.*aux\.width=null"),
        (["aux.kind=foo"], "bottleneck, mlp, mlp_gap_first, residual, depthwise, got 'foo'"),
        (["model.init=zeros"], "library, kaiming, torch, got 'zeros'"),
        (["model.norm=layer"], "batch, group, got 'layer'"),
        (["criterion=null"], "method=ce"),
        (["num_networks=0"], "num_networks.*0"),
        (["+criterion.foo=1"], "foo"),
        (["criterion._target_=alasca_pl.methods.no_such_file.Loss"], "no_such_file"),
        (["regularizers.alasca.strength=-1"], "got -1"),
    ],
)
def test_values_that_fit_no_network_are_refused(overrides, message):
    with pytest.raises(UserError, match=message):
        module_for("alasca=paper", *overrides)


LARGE = ("inception_resnet_v2", "resnet50")


@pytest.mark.parametrize(
    ("model", "init"),
    [
        pytest.param(model, init, marks=pytest.mark.slow if model in LARGE and init != "library" else ())
        for model in GROUPS["model"]
        for init in ("library", "kaiming", "torch")
    ],
)
def test_every_model_builds_with_heads(model, init):
    if model in NEEDS_TIMM and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    # Its stem divides smaller images away.
    size = 96 if model == "inception_resnet_v2" else 32
    facts = FACTS._replace(image_shape=(3, size, size))
    module = module_for(f"model={model}", f"model.init={init}", "alasca=paper", facts=facts).eval()
    network = module.method.networks[0]
    assert stages_of(module) == list(range(1, len(network.backbone.channels)))
    with torch.no_grad():
        output = network(torch.randn(1, 3, size, size))
    assert output.logits.shape == (1, 10)
    assert all(logits.shape == (1, 10) and torch.isfinite(logits).all() for logits in output.aux_logits)


@pytest.mark.parametrize("channels", [1, 3])
def test_weights_follow_the_seed_and_not_the_global_random_state(channels):
    facts = FACTS._replace(image_shape=(channels, 8, 8))
    torch.manual_seed(1)
    one = module_for("seed=3", facts=facts).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, other = module_for("seed=3", facts=facts).state_dict(), module_for("seed=4", facts=facts).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    tensors = [name for name, value in one.items() if isinstance(value, torch.Tensor)]
    assert all(torch.equal(one[name], again[name]) for name in tensors)
    weights = [name for name in tensors if name.endswith(("head.weight", "linear.weight"))]
    assert len(weights) == 3
    assert not any(torch.equal(one[name], other[name]) for name in weights)


def test_networks_of_a_pair_start_apart():
    networks = module_for("num_networks=2").method.networks
    assert not torch.equal(networks[0].head.weight, networks[1].head.weight)
    alone = module_for("num_networks=1").method.networks[0]
    assert torch.equal(networks[0].head.weight, alone.head.weight)


@pytest.mark.parametrize("optim", GROUPS["optim"])
def test_every_optimiser_follows_its_schedule(optim):
    made = module_for(f"optim={optim}", "optim.lr=0.5", "epochs=60").configure_optimizers()
    optimizer, scheduler = made["optimizer"], made["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(60):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == 0.5
    if optim == "sgd_cosine_restarts":
        # Every ten epochs from the start to 1e-3 along half a cosine.
        expected = [1e-3 + 0.499 * (1 + math.cos(math.pi * epoch / 10)) / 2 for epoch in range(10)]
        assert rates == pytest.approx(expected * 6)
        return
    assert rates == sorted(rates, reverse=True)
    if optim == "sgd_steps":
        # The digits drop by 0.1 after 40 and 50 epochs.
        assert rates == pytest.approx([0.5] * 40 + [0.05] * 10 + [0.005] * 10)
    else:
        assert rates[30] == pytest.approx(0.25)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)
    group = optimizer.param_groups[0]
    if optim == "adamw":
        assert type(optimizer).__name__ == "AdamW" and group["weight_decay"] == 0.01
    else:
        assert (group["momentum"], group["weight_decay"]) == (0.9, 1e-3)


def test_no_schedule_keeps_the_rate():
    assert module_for("optim.scheduler=null").configure_optimizers().param_groups[0]["lr"] == 0.05


def noise_needs(noise: str, folder: Path, classes: int) -> list[str]:
    """Write the file that a noise model reads, if it does, and say so."""
    clean = np.arange(4 * classes) % classes
    noisy = np.where(np.arange(4 * classes) % 3 == 0, (clean + 1) % classes, clean)
    if noise == "from_file":
        np.savez(folder / "labels.npz", label=noisy, clean_label=clean)
        return [f"noise.path={folder}/labels.npz"]
    if noise == "human":
        observed = {10: "worse_label", 100: "noisy_label"}[classes]
        torch.save({"clean_label": clean, observed: noisy}, folder / f"CIFAR-{classes}_human.pt")
        return ["noise.check_md5=false"]
    if noise == "matrix":
        np.save(folder / "matrix.npy", 0.7 * np.eye(classes) + 0.3 / classes)
        return [f"noise.matrix={folder}/matrix.npy"]
    return []


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
@pytest.mark.parametrize("noise", GROUPS["noise"])
def test_cifar_is_built_with_every_noise(tmp_path, name, classes, noise):
    write_npz(tmp_path / f"{name}.npz", classes)
    sizes = (f"data.num_val={classes}", f"data.num_samples={3 * classes}")
    needs = noise_needs(noise, tmp_path, classes)
    data = build_data(config_for(f"data={name}", f"noise={noise}", f"data.root={tmp_path}", *sizes, *needs))
    assert data.facts.num_classes == classes
    assert data.facts.image_shape == (3, 8, 8)
    assert data.sizes == {"train": 3 * classes, "val": classes, "test": classes}
    rate = data.noisy_labels.realised_rate
    assert rate == 0.0 if noise == "none" else 0.0 < rate < 1.0
    assert data.facts.realised_rate == rate
    assert data.facts.class_counts == tuple(np.bincount(data.noisy_labels.label, minlength=classes))


def test_cifar_of_another_size_than_declared_is_refused(tmp_path):
    write_npz(tmp_path / "cifar10.npz", 10)
    with pytest.raises(UserError, match="num_samples is 45000, but cifar10 has 30"):
        build_data(config_for("data=cifar10", f"data.root={tmp_path}", "data.num_val=10"))


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 1), (8, 8, 3), (8, 8, 4)])
def test_an_array_file_is_built(tmp_path, shape):
    path = write_npz(tmp_path / "own.npz", 6, shape)
    config = config_for("data=npz", f"data.path={path}", "noise=none", "data.num_val=6")
    data = build_data(config)
    channels = {2: 1}.get(len(shape)) or min(shape[-1], 3)
    assert data.facts.image_shape == (channels, 8, 8)
    assert data.facts.num_classes == 6
    assert data.noisy_labels.clean_label is None
    module = build_module(config, data.facts)
    batch = next(iter(data.eval_batches("test")))
    assert module.eval()(batch.image).shape == (6, 6)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        (["noise=matrix"], "needs one of matrix and like, got neither"),
        (["noise=human"], r"noise\.path=FILE, or noise\.root=FOLDER"),
        (["noise=from_file", "noise.path=there_is_none.npz"], "no noise file .*there_is_none.npz"),
    ],
)
def test_noise_without_its_file_asks_for_it(noise, message):
    with pytest.raises(UserError, match=message):
        build_data(config_for(*noise))


def test_a_matrix_may_be_like_recorded_labels(tmp_path):
    write_npz(tmp_path / "cifar10.npz", 10)
    noise_needs("human", tmp_path, 10)
    like = ("noise=matrix", "noise@noise.like=human", "noise.like.check_md5=false")
    sizes = ("data.num_val=10", "data.num_samples=30")
    labels = build_data(config_for("data=cifar10", f"data.root={tmp_path}", *sizes, *like)).noisy_labels
    # People's errors were from a class to the next one.
    assert set(((labels.label - labels.clean_label) % 10).tolist()) == {0, 1}


def test_asymmetric_noise_without_a_map_says_how_to_give_one(tmp_path):
    path = write_npz(tmp_path / "own.npz", 6)
    with pytest.raises(UserError, match=r"noise\.class_map=\{0:1,1:0\}"):
        build_data(config_for("data=npz", f"data.path={path}", "noise=asymmetric"))


def test_a_class_map_of_the_command_line_reaches_the_noise(tmp_path):
    path = write_npz(tmp_path / "own.npz", 6)
    config = config_for(
        "data=npz", f"data.path={path}", "noise=asymmetric", "noise.class_map={0:1,1:0}", "noise.rate=1"
    )
    labels = build_data(config).noisy_labels
    expected = [{0: 1, 1: 0}.get(k, k) for k in (np.arange(24) % 6).tolist()]
    assert labels.label.tolist() == expected


def test_groups_of_the_command_line_take_the_place_of_the_usual_map():
    labels = build_data(config_for("noise=asymmetric", "noise.groups=[[0,9]]", "noise.rate=1")).noisy_labels
    expected = [{0: 9, 9: 0}.get(k, k) for k in labels.clean_label.tolist()]
    assert labels.label.tolist() == expected
    usual = build_data(config_for("noise=asymmetric", "noise.rate=1")).noisy_labels
    assert usual.label.tolist() == [{2: 7, 3: 8, 5: 6, 6: 5, 7: 1}.get(k, k) for k in usual.clean_label.tolist()]


@pytest.mark.parametrize("callbacks", GROUPS["callbacks"])
@pytest.mark.parametrize("trainer", sorted(set(GROUPS["trainer"]) - {"gpu"}))
def test_every_trainer_builds(tmp_path, digits, trainer, callbacks):
    config = config_for(f"trainer={trainer}", "trainer.accelerator=cpu", f"callbacks={callbacks}")
    made = build_trainer(config, digits, RunFolder(tmp_path))
    assert made.num_devices == (2 if trainer == "ddp" else 1)
    assert made.max_epochs == (2 if trainer == "smoke" else 60)
    names = [type(callback).__name__ for callback in made.callbacks]
    assert ("RunProgress" in names) == (callbacks != "quiet")
    assert {"NoiseMonitor", "History", "RankRng", "ParallelGuard"} <= set(names)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_trainer_on_gpus_says_that_there_is_none(tmp_path, digits):
    with pytest.raises(UserError, match=r"trainer: .*"):
        build_trainer(config_for("trainer=gpu"), digits, RunFolder(tmp_path))


@pytest.mark.parametrize("logger", GROUPS["logger"])
def test_every_logger_builds(tmp_path, digits, logger, monkeypatch):
    # Where MLflow puts its database.
    monkeypatch.chdir(tmp_path)
    module = {"wandb_offline": "wandb"}.get(logger, logger)
    if module in ("wandb", "tensorboard", "mlflow") and importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    made = build_trainer(config_for(f"logger={logger}", "trainer.accelerator=cpu"), digits, RunFolder(tmp_path))
    kinds = [type(one).__name__ for one in made.loggers]
    others = {"none": [], "csv": ["CSVLogger"], "tensorboard": ["TensorBoardLogger"], "mlflow": ["MLFlowLogger"]}
    assert kinds == others.get(logger, ["WandbRunLogger"])


@pytest.mark.parametrize("debug", GROUPS["debug"])
def test_every_debug_overlay_builds(tmp_path, debug):
    config = config_for(f"debug={debug}")
    data = build_data(config)
    build_module(config, data.facts).configure_optimizers()
    made = build_trainer(config, data, RunFolder(tmp_path))
    assert made.max_epochs == {"one_batch": 1, "overfit": 50, "profile": 2}[debug]
