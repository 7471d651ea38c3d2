"""Every yaml of every group composes and builds; the files are found by listing the folder."""

import copy
import functools
import importlib.util
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
from omegaconf import OmegaConf

from alasca_pl.build import build_data, build_module, build_trainer
from alasca_pl.core.errors import UserError
from alasca_pl.core.types import Batch, DataFacts, Progress
from alasca_pl.training.module import NoisyLabelModule

CONF = Path(__file__).parents[2] / "conf"
GROUPS = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml")) for folder in CONF.iterdir() if folder.is_dir()
}
EVERY_YAML = [(group, name) for group in sorted(GROUPS) for name in GROUPS[group]]
METHODS, ALASCAS = GROUPS["method"], GROUPS["alasca"]
STAGES = {"none": [], "last": [2], "all": [1, 2]}
FACTS = DataFacts("toy", 10, 32, (3, 16, 16), "0" * 64, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3)


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
def _composed(overrides: tuple[str, ...], name: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose(name, overrides=list(overrides), return_hydra_config=True)
    with hydra_values(config):
        own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
        return OmegaConf.to_container(own, resolve=True, throw_on_missing=True)


def config_for(*overrides: str, name: str = "train") -> dict[str, Any]:
    return copy.deepcopy(_composed(overrides, name))


def module_for(*overrides: str, facts: DataFacts = FACTS) -> NoisyLabelModule:
    return build_module(config_for(*overrides), facts)


def stages_of(module: NoisyLabelModule) -> list[int]:
    return [int(stage) for stage in module.parts.networks[0].aux_heads]


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
    assert len(EVERY_YAML) > 30
    assert {"aux", "data", "model", "noise", "method", "alasca", "optim", "trainer", "logger"} <= GROUPS.keys()


@pytest.mark.parametrize(("group", "name"), EVERY_YAML)
def test_every_yaml_composes(group, name):
    path = ["data.path=x.npz"] if (group, name) == ("data", "npz") else []
    config = config_for(f"{group}={name}", *path)
    assert config["criterion"]["_target_"].startswith("alasca_pl.")
    assert config["trainer"]["max_epochs"] == (2 if name == "smoke" else config["epochs"])


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_an_unknown_choice_is_refused_with_the_valid_ones(group):
    with pytest.raises(HydraException) as caught:
        config_for(f"{group}=no_such_thing")
    assert "no_such_thing" in str(caught.value)
    assert all(name in str(caught.value) for name in GROUPS[group])


def test_the_evaluation_config_composes():
    config = config_for("ckpt_path=run/checkpoints/last.ckpt", name="evaluate")
    assert (config["part"], config["trust"], config["ckpt_path"]) == ("test", False, "run/checkpoints/last.ckpt")


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
        (["aux=last"], "aux.stages", "last"),
        (["alasca=none"], "aux.stages", []),
        (["method=als_ema"], "criterion.momentum", 0.7),
        (["experiment=cifar10_small"], "data.name", "cifar10"),
        (["experiment=cifar10_small"], "regularizers.alasca.ramp_epochs", 8),
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
    assert (logger["group"], logger["name"], logger["offline"]) == ("digits_symmetric", "gce_none_seed4", True)


@pytest.mark.parametrize("alasca", ALASCAS)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_with_every_alasca_takes_a_step(method, alasca):
    overrides = (f"method={method}", "model.backbone.width=4")
    module, plain = module_for(*overrides, f"alasca={alasca}"), module_for(*overrides, "alasca=none")
    # Heads only if a part asks for them.
    assert stages_of(module) == ([] if alasca == "none" else [1, 2])
    assert stages_of(plain) == []
    start = dict(module.parts.networks[0].named_parameters())
    for name, weight in plain.parts.networks[0].named_parameters():
        assert torch.equal(weight, start[name]), name

    rng = torch.Generator().manual_seed(0)
    batch = Batch(torch.randn(8, 3, 16, 16, generator=rng), torch.arange(8) % 10, torch.arange(8) * 4)
    module.train()
    for step in range(2):
        result = module.step(module.parts, batch, Progress(epoch=40, step=step, max_epochs=60, steps_per_epoch=4))
        assert torch.isfinite(result.loss)
        assert all(torch.isfinite(term) for term in result.terms.values())
    result.loss.backward()
    for name, weight in module.parts.networks[0].named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
    assert float(module.parts.networks[0].head.weight.grad.abs().sum()) > 0


@pytest.mark.parametrize("aux", GROUPS["aux"])
def test_without_a_part_that_asks_no_head_is_built(aux):
    assert stages_of(module_for("alasca=none", f"aux={aux}")) == []


@pytest.mark.parametrize("aux", sorted(set(GROUPS["aux"]) - {"none"}))
@pytest.mark.parametrize("kind", ["bottleneck", "mlp", "mlp_gap_first", "residual", "depthwise"])
def test_every_head_kind_and_stage_choice_builds(kind, aux):
    module = module_for("alasca=paper", f"aux={aux}", f"aux.kind={kind}", "model.backbone.width=4")
    assert stages_of(module) == STAGES[aux]
    output = module.parts.networks[0](torch.randn(2, 3, 16, 16))
    assert [tuple(logits.shape) for logits in output.aux_logits] == [(2, 10)] * len(STAGES[aux])


def test_listed_stages_and_width_reach_the_heads():
    module = module_for("alasca=paper", "aux.stages=[1]", "aux.width=7")
    assert stages_of(module) == [1]
    assert module.parts.networks[0].aux_heads["1"].linear.in_features == 7


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["aux=none"], "aux.stages is empty.*aux=all"),
        (["aux.stages=[7]"], "stage 7.*1, 2"),
        (["aux.stages=[3]"], "stage 3 carries the main head"),
        (["aux.stages=middle"], "'middle'.*all, last"),
        (["aux.kind=foo"], "'foo'.*bottleneck, mlp, mlp_gap_first, residual, depthwise"),
        (["model.init=zeros"], "'zeros'.*library, kaiming"),
        (["model.norm=layer"], "'layer'.*batch, group"),
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


@pytest.mark.parametrize("init", ["library", "kaiming"])
@pytest.mark.parametrize("model", GROUPS["model"])
def test_every_model_builds_with_heads(model, init):
    if model == "timm" and importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    facts = FACTS._replace(image_shape=(3, 32, 32))
    module = module_for(f"model={model}", f"model.init={init}", "alasca=paper", facts=facts).eval()
    network = module.parts.networks[0]
    assert stages_of(module) == list(range(1, len(network.backbone.channels)))
    with torch.no_grad():
        output = network(torch.randn(1, 3, 32, 32))
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
    networks = module_for("num_networks=2").parts.networks
    assert not torch.equal(networks[0].head.weight, networks[1].head.weight)
    alone = module_for("num_networks=1").parts.networks[0]
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
    assert rates == sorted(rates, reverse=True)
    if optim == "sgd_steps":
        # The digits drop by 0.1 after 40 and 50 epochs.
        assert rates == pytest.approx([0.5] * 40 + [0.05] * 10 + [0.005] * 10)
    else:
        assert rates[30] == pytest.approx(0.25)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)
    group = optimizer.param_groups[0]
    assert (group["momentum"], group["weight_decay"]) == (0.9, 1e-3)


def test_no_schedule_keeps_the_rate():
    assert module_for("optim.scheduler=null").configure_optimizers().param_groups[0]["lr"] == 0.05


@pytest.mark.parametrize(("name", "classes"), [("cifar10", 10), ("cifar100", 100)])
@pytest.mark.parametrize("noise", GROUPS["noise"])
def test_cifar_is_built_with_every_noise(tmp_path, name, classes, noise):
    write_npz(tmp_path / f"{name}.npz", classes)
    sizes = (f"data.num_val={classes}", f"data.num_samples={3 * classes}")
    data = build_data(config_for(f"data={name}", f"noise={noise}", f"data.root={tmp_path}", *sizes))
    assert data.facts.num_classes == classes
    assert data.facts.image_shape == (3, 8, 8)
    assert data.sizes == {"train": 3 * classes, "val": classes, "test": classes}
    rate = data.noisy_labels.realised_rate
    assert rate == 0.0 if noise == "none" else 0.0 < rate < 1.0


def test_cifar_of_another_size_than_declared_is_refused(tmp_path):
    write_npz(tmp_path / "cifar10.npz", 10)
    with pytest.raises(UserError, match="num_samples says 45000, but cifar10 has 30"):
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


def test_a_file_without_path_asks_for_it():
    with pytest.raises(Exception, match=r"data\.path"):
        config_for("data=npz")


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


@pytest.mark.parametrize("callbacks", GROUPS["callbacks"])
@pytest.mark.parametrize("trainer", sorted(set(GROUPS["trainer"]) - {"gpu"}))
def test_every_trainer_builds(tmp_path, digits, trainer, callbacks):
    config = config_for(f"trainer={trainer}", "trainer.accelerator=cpu", f"callbacks={callbacks}")
    made = build_trainer(config, digits, tmp_path)
    assert made.num_devices == (2 if trainer == "ddp" else 1)
    assert made.max_epochs == (2 if trainer == "smoke" else 60)
    names = [type(callback).__name__ for callback in made.callbacks]
    assert ("RunProgress" in names) == (callbacks == "default")
    assert {"NoiseMonitor", "History", "RankRng", "ParallelGuard"} <= set(names)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_trainer_on_gpus_says_that_there_is_none(tmp_path, digits):
    with pytest.raises(UserError, match=r"trainer: .*"):
        build_trainer(config_for("trainer=gpu"), digits, tmp_path)


@pytest.mark.parametrize("logger", GROUPS["logger"])
def test_every_logger_builds(tmp_path, digits, logger):
    if "wandb" in logger and importlib.util.find_spec("wandb") is None:
        pytest.skip("wandb is not installed")
    made = build_trainer(config_for(f"logger={logger}", "trainer.accelerator=cpu"), digits, tmp_path)
    kinds = [type(one).__name__ for one in made.loggers]
    assert kinds == {"none": [], "csv": ["CSVLogger"]}.get(logger, ["WandbLogger"])


@pytest.mark.parametrize("debug", GROUPS["debug"])
def test_every_debug_overlay_builds(tmp_path, debug):
    config = config_for(f"debug={debug}")
    data = build_data(config)
    build_module(config, data.facts).configure_optimizers()
    made = build_trainer(config, data, tmp_path)
    assert made.max_epochs == {"one_batch": 1, "overfit": 50, "profile": 2}[debug]
