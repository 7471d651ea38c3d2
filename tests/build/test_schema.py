"""Values that the whole package takes, and values that it refuses before anything is loaded."""

import ast
import copy
import functools
from unittest import mock

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from alasca_pl.build.rules import RULES
from alasca_pl.build.schema import check_values, oracle_slots
from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.composition import compose_config
from alasca_pl.core.errors import UserError, did_you_mean
from alasca_pl.models.network import _MEMORY_FORMATS
from alasca_pl.models.network import _RULES as INITS
from alasca_pl.models.norms import _NORMS
from running import slow_unless

# What a group's file leaves open.
NEEDED = {
    "data/folder": ["data.root=x"],
    "data/csv": ["data.path=x"],
    "data/npz": ["data.path=x"],
    "data/huggingface": ["data.path=x"],
    "noise/from_file": ["noise.path=x"],
    "recipe/quick": ["data=folder", "data.root=x", "data.image_size=32"],
    "recipe/good": ["data=folder", "data.root=x", "data.image_size=200"],
    "noise/matrix": ["noise.matrix=[[0.9,0.1],[0.1,0.9]]"],
}
GROUPS = [
    "alasca", "aux", "callbacks", "component", "data", "debug", "experiment", "logger", "method", "model", "noise", "optim",
    "recipe", "scale", "setting", "trainer",
]  # fmt: skip
FILES = [f"{group}/{file.stem}" for group in GROUPS for file in sorted((CONF_DIR / group).glob("*.yaml"))]


@functools.cache
def _composed(choices):
    with (
        initialize_config_dir(str(CONF_DIR), version_base="1.3"),
        mock.patch.object(HydraConfig.instance(), "cfg", None),
    ):
        # Names of loggers refer to the choices.
        HydraConfig.instance().set_config(compose("train", return_hydra_config=True))
        return OmegaConf.to_container(compose_config("train", choices).config, resolve=True, throw_on_missing=True)


def config_for(*overrides):
    """The resolved config of a command; only choices of files are composed, values are set."""
    choices = [item for item in overrides if (CONF_DIR / item.replace("=", "/")).with_suffix(".yaml").is_file()]
    needed = [item for choice in choices for item in NEEDED.get(choice.replace("=", "/"), ())]
    config = copy.deepcopy(_composed((*choices, *needed)))
    for item in overrides:
        if item not in choices:
            name, _, text = item.lstrip("+").partition("=")
            *path, last = name.split(".")
            node = config
            for word in path:
                node = node[word]
            node[last] = yaml.safe_load(text)
    return config


def test_every_group_is_tested():
    known = {folder.name for folder in CONF_DIR.iterdir() if folder.is_dir() and folder.name != "hydra"}
    assert known == set(GROUPS)


@pytest.mark.parametrize("file", FILES)
def test_everything_that_is_shipped_passes(file):
    check_values(config_for(file.replace("/", "=")))


@pytest.mark.parametrize("data", ["cifar10", "cifar100", "clothing1m", "webvision"])
@pytest.mark.parametrize(
    "method", slow_unless(["gce", "dividemix"], [file[7:] for file in FILES if file.startswith("method/")])
)
def test_methods_pass_with_the_constants_of_all_data(method, data):
    check_values(config_for(f"method={method}", f"data={data}"))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["epochs=abc"], ["epochs", "whole number", "at least 1", "'abc'"]),
        (["epochs=1.5"], ["epochs", "1.5"]),
        (["epochs=0"], ["epochs", "at least 1"]),
        (["epochs=true"], ["epochs", "True"]),
        (["epochs=null"], ["epochs", "None"]),
        (["seed=-1"], ["seed", "at least 0", "-1"]),
        (["seed=12345678901234567890123"], ["seed", "64 bits"]),
        (["num_networks=true"], ["num_networks", "True"]),
        (["num_networks=0"], ["num_networks", "at least 1"]),
        (["noise.seed=1.5"], ["noise.seed", "whole number", "1.5"]),
        (["noise.seed=12345678901234567890123"], ["noise.seed", "64 bits"]),
        (["noise.seed=-1"], ["noise", "seed", "at least 0"]),
        (["noise.rate=1.5"], ["rate", "[0, 1]", "1.5"]),
        (["noise.rate=half"], ["noise.rate", "number", "'half'"]),
        (["noise.variant=inclusve"], ["noise.variant", "did you mean inclusive?", "exclusive"]),
        (["+noise.rat=0.4"], ["SymmetricNoise", "no argument rat", "did you mean rate?", "variant"]),
        (["optim.milestones=abc"], ["optim.milestones", "list of whole numbers"]),
        (["suggested.milestones=abc"], ["suggested.milestones", "list of whole numbers"]),
        (["optim.milestones=[1.5]"], ["optim.milestones", "1.5"]),
        (["optim.gamma=abc"], ["optim.gamma", "number", "'abc'"]),
        (["optim.lr=true"], ["optim.lr", "number", "True"]),
        (["optim.lr=-1"], ["optim.lr", "at least 0", "-1"]),
        (["optim.momentum=1"], ["optim.momentum must be a number of at least 0 and below 1, got 1"]),
        (["optim=sgd_cosine", "optim.scheduler.T_max=0"], ["optim.scheduler.T_max", "at least 1", "got 0"]),
        (["+optim.optimizer.dampening=-1"], ["optim.optimizer.dampening", "at least 0", "-1"]),
        (["method=pes", "phases.refine_head.optimizer.lr=-1"], ["phases.refine_head.optimizer.lr", "at least 0", "-1"]),
        (
            ["method=pes", "phases.refine_head.optimizer.lr=fast"],
            ["phases.refine_head.optimizer.lr", "number", "'fast'"],
        ),
        (["method=pes", "+phases.refine_head.optimizer.eps=-1"], ["phases.refine_head.optimizer.eps", "at least 0"]),
        (
            ["method=pes", "phases.refine_head.optimizer._target_=torch.optim.Adm"],
            ["torch.optim.Adm", "did you mean Adam?"],
        ),
        (
            ["method=pes", "+phases.refine_head.scheduler={_target_: torch.optim.lr_scheduler.StepLR, step_size: 0}"],
            ["phases.refine_head.scheduler.step_size", "at least 1", "got 0"],
        ),
        (["optim.optimizer=null"], ["optim.optimizer", "_target_", "None"]),
        (["+optim.mometum=0.8"], ["optim", "mometum", "did you mean momentum?"]),
        (["model.backbone=null"], ["model.backbone", "_target_"]),
        (["model.init=kaimng"], ["model.init", "did you mean kaiming?", "library"]),
        (["model.norm=layer"], ["model.norm", "batch", "group"]),
        (["model.backbone.width=0"], ["model.backbone", "width", "at least 1"]),
        (["model.backbone.width=4.5"], ["model.backbone.width", "whole number"]),
        (["criterion=null"], ["no criterion", "method=ce", "criterion: {_target_: alasca_pl.methods.cross_entropy"]),
        (["step=null"], ["step", "_target_"]),
        (["noise=symmetric", "regularizers=null"], ["regularizers", "mapping"]),
        (["predict=null"], ["predict", "mapping"]),
        (["method=gce", "criterion.q=abc"], ["criterion.q", "number", "'abc'"]),
        (["method=gce", "criterion.q=2"], ["criterion", "q must lie in (0, 1]", "2"]),
        (["method=gce", "criterion.q=null"], ["criterion.q", "None"]),
        (["method=gce", "criterion.truncate_from=2.5"], ["criterion.truncate_from", "whole number"]),
        (["method=gce", "+criterion.epss=1"], ["GeneralisedCrossEntropy", "epss", "did you mean eps?", "q, eps"]),
        (["criterion._target_=alasca_pl.methods.gce.Generalised"], ["criterion", "Generalised"]),
        (["criterion._target_=alasca_pl.methods.gc.GeneralisedCrossEntropy"], ["criterion", "methods.gc."]),
        (["regularizers.alasca.momentum=1.0"], ["regularizers.alasca", "momentum", "[0, 1)"]),
        (["regularizers.alasca.target=uniforn"], ["regularizers.alasca.target", "did you mean uniform?"]),
        (["regularizers.alasca.shared_ema=1"], ["regularizers.alasca.shared_ema", "true or false"]),
        (["method=co_teaching_plus", "num_networks=1"], ["selector", "leave num_networks out", "2"]),
        (["method=co_teaching", "selector.noise_rate=estimate"], ["selector.noise_rate", "did you mean estimated?"]),
        (["aux.stages=[true]"], ["aux.stages", "True", "all, last"]),
        (["aux.stages=deep"], ["aux.stages", "'deep'", "all, last"]),
        (["aux.width=true"], ["aux.width", "True", "null"]),
        (["aux.width=0"], ["aux.width", "at least 1"]),
        (["aux.kind=mpl"], ["aux.kind", "did you mean mlp?", "bottleneck"]),
        (["+aux.stage=1"], ["aux", "stage", "did you mean stages?"]),
        (["predict.rule=foo"], ["predict.rule", "main, ensemble_all, main_last", "'foo'"]),
        (["predict.average=median"], ["predict.average", "logits, probs"]),
        (["+predict.rules=main"], ["predict", "rules", "did you mean rule?"]),
        (["checkpoint.every_n_steps=1.5"], ["checkpoint.every_n_steps", "1.5", "null"]),
        (["checkpoint.every_n_steps=0"], ["checkpoint.every_n_steps", "at least 1"]),
        (["report.last_epochs=abc"], ["report.last_epochs", "'abc'"]),
        (["report.last_epochs=0"], ["report.last_epochs", "at least 1"]),
        (["report.last_epochs=-1"], ["report.last_epochs", "-1"]),
        (["report.last_epochs=1.5"], ["report.last_epochs", "1.5"]),
        (["trainer.max_epochs=-1"], ["trainer.max_epochs", "at least 1", "-1"]),
        (["trainer.max_epochs=0"], ["trainer.max_epochs", "at least 1"]),
        (["threads=0"], ["threads", "auto", "at least 1"]),
        (["audit.plant=0.7"], ["audit.plant", "at most 0.5"]),
        (["trainer.devices=1.5"], ["trainer.devices", "1.5"]),
        (["trainer.precision=7"], ["trainer.precision", "bf16-mixed", "7"]),
        (["trainer.limit_train_batches=0"], ["trainer.limit_train_batches", "above 0"]),
        (["+trainer.max_epoch=3"], ["trainer", "max_epoch", "did you mean max_epochs?"]),
        (["+trainer.accumulate_grad_batches=2"], ["trainer.accumulate_grad_batches", "2", "data.batch_size"]),
        (["data.batch_size=0"], ["data.batch_size", "at least 1"]),
        (["data.batch_size=64.5"], ["data.batch_size", "whole number"]),
        (["data.noisy_val=1"], ["data.noisy_val", "true or false"]),
        (["data.flip=1"], ["data.flip", "true or false"]),
        (["+data.labels_are_clean=maybe"], ["data.labels_are_clean", "true or false", "'maybe'"]),
        (["+data.loader=file"], ["data.loader", "did you mean files?", "arrays"]),
        (["data.augment=wek"], ["data.augment", "did you mean weak?", "strong"]),
        (["data.mean=[a]"], ["data.mean", "list of numbers"]),
        (["data.reader=null"], ["data.reader", "_target_"]),
        (["data.reader.num_test=abc"], ["data.reader.num_test", "whole number"]),
        (["+data.reader.num_tests=3"], ["data.reader", "num_tests", "did you mean num_test?"]),
        (["+data.bach_size=3"], ["data", "bach_size", "did you mean batch_size?"]),
        (["+epoch=3"], ["epoch", "did you mean epochs?"]),
        (["+regularisers={}"], ["regularisers", "did you mean regularizers?"]),
        (["callbacks.progress.bar=7"], ["callbacks.progress.bar", "true or false", "null"]),
        (["+callbacks.x=7"], ["callbacks.x", "_target_"]),
    ],
    ids=lambda value: " ".join(value) if value and "=" in value[0] else "",
)
def test_a_wrong_value_is_named_with_what_it_may_be(overrides, words):
    with pytest.raises(UserError) as refused:
        check_values(config_for(*overrides))
    message = str(refused.value)
    assert not [word for word in words if word not in message], message
    assert "\n" not in message


@pytest.mark.parametrize(
    "overrides",
    [
        ["+my_rate=0.3", "+plot=auto", "+label=x"],
        ["+optim.nesterov=true", "+optim.optimizer.nesterov=true"],
        ["optim.scheduler=null"],
        ["+regularizers.none=null"],
        ["aux.stages=1"],
        ["aux.stages=[1,2]"],
        ["data.augment={_target_: alasca_pl.data.augment.CropFlip}"],
        ["trainer.devices=auto"],
        ["trainer.devices=[0,1]"],
        ["trainer.precision=16"],
        ["trainer.precision=auto"],
        ["+trainer.max_time='00:01:00:00'"],
        ["method=cdr", "gradient_transform.noise_rate=oracle"],
        ["method=co_teaching", "selector.noise_rate=oracle"],
        ["optim.lr=1"],
        ["criterion._target_=torch.nn.CrossEntropyLoss"],
        ["criterion={_target_: mine.Loss, weight: anything}"],
        ["data.reader={_target_: mine.read, more: 1}", "+data.of_mine=1"],
        [
            "criterion={_target_: mine.Sum, first: {_target_: alasca_pl.methods.gce.GeneralisedCrossEntropy}}",
        ],
    ],
    ids=" ".join,
)
def test_what_is_unusual_but_right_passes(overrides, mine):
    check_values(config_for(*overrides))


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file of the user's, with parts that take anything."""
    text = "def Loss(**rest): ...\ndef read(more, of_mine, **rest): ...\ndef Sum(**rest): ...\n"
    (tmp_path / "mine.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_part_within_a_foreign_part_is_checked(mine):
    inner = "{_target_: alasca_pl.methods.gce.GeneralisedCrossEntropy, q: 2}"
    with pytest.raises(UserError, match=r"criterion\.parts\[0\].*\(0, 1\]"):
        check_values(config_for(f"criterion={{_target_: mine.Sum, parts: [{inner}]}}"))


def test_a_lacking_argument_is_named():
    config = config_for()
    del config["noise"]["rate"]
    with pytest.raises(UserError, match=r"noise: .*SymmetricNoise needs rate"):
        check_values(config)


def test_some_groups_can_be_checked_alone():
    check_values({})
    check_values({"epochs": 2, "aux": {"width": None}})


def test_lists_of_choices_are_those_of_the_code():
    def words(name):
        return {part.value for part in ast.parse(RULES["model"][name].type, mode="eval").body.slice.elts}

    assert words("init") == set(INITS)
    assert words("norm") == set(_NORMS)
    assert words("memory_format") == set(_MEMORY_FORMATS)


def test_every_rule_is_of_a_value_that_a_shipped_config_has():
    every = [config_for(file.replace("/", "=")) for file in FILES if file.startswith("optim/")]
    # The second one is set by alasca-audit alone, for runs on folds of another run's labels; the third is Lightning's.
    not_shipped = (("trainer", "accumulate_grad_batches"), ("audit", "fold"), ("trainer", "max_steps"))
    for group, rules in RULES.items():
        for name in rules:
            nodes = [config if group is None else config[group] for config in every]
            assert any(name in node for node in nodes) or (group, name) in not_shipped


def test_every_value_of_the_groups_that_are_always_there_has_a_rule():
    config = config_for()
    for group in ("aux", "predict", "checkpoint", "report", "audit", "suggested"):
        assert config[group].keys() <= RULES[group].keys(), f"give what is new in {group} a rule in build/rules.py"


def test_names_that_are_close():
    assert did_you_mean("metod", ["model", "method"]) == " (did you mean method?)"
    assert did_you_mean("zzz", ["model", "method"]) == ""


def test_slots_that_are_told_the_rate():
    assert oracle_slots({"selector": {"noise_rate": "oracle"}, "gradient_transform": None}) == ["selector"]
