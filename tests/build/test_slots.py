"""What fills a slot follows the slot's contract, and nothing that each run needs can be removed."""

import pytest

from alasca_pl.build.make import absorb_files, make
from alasca_pl.build.module import build_module
from alasca_pl.build.schema import check_complete, check_values
from alasca_pl.core.errors import UserError
from alasca_pl.core.types import DataFacts
from running import config_for


@pytest.fixture
def facts():
    return DataFacts("toy", 10, 64, (1, 8, 8), "x", tuple("0123456789"), (0.5,), (0.5,))


@pytest.mark.parametrize(
    "slot",
    ["criterion", "selector", "mixer", "gradient_transform", "teacher", "step", "model.backbone", "regularizers.mine"],
)
def test_a_slot_refuses_what_does_not_follow_its_contract(facts, slot):
    config = config_for("alasca=none")
    *groups, last = slot.split(".")
    node = config
    for group in groups:
        node = node[group]
    node[last] = {"_target_": "os.getcwd"} if slot != "teacher" else {"_target_": "builtins.repr"}
    with pytest.raises(UserError, match=rf"^({slot}: )?.*(os\.getcwd|builtins\.repr)"):
        build_module(config, facts)


@pytest.mark.parametrize(
    "target", [[], {}, True, 5, None, "", "abc", "..", "a.b.c", "math.pi", "builtins.dict", "ä.ö"], ids=repr
)
def test_a_target_that_cannot_be_called_is_refused_with_its_name(target):
    node = {"_target_": target, "a": 1}
    assert absorb_files({"noise": node}) == {"noise": node}
    with pytest.raises(UserError) as refused:
        make(node)
    assert repr(target) in str(refused.value) or "builtins.dict" in str(refused.value)


@pytest.mark.parametrize("target", [[], {}, True, 5, None])
def test_a_target_is_text(target):
    config = config_for()
    config["criterion"]["_target_"] = target
    with pytest.raises(UserError, match=r"criterion\._target_ must be the dotted name"):
        check_values(config)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("optim.scheduler.gamma", "tru"),
        ("optim.scheduler.gamma", -0.25),
        ("optim.optimizer.lr", float("inf")),
        ("optim.optimizer.momentum", "fast"),
        ("optim.optimizer.weight_decay", 10**40),
        ("optim.optimizer.nesterov", "yes"),
        ("optim.optimizer.momentumm", 0.9),
    ],
)
def test_values_of_optimizers_and_schedules_have_the_types_of_their_signatures(name, value):
    config = config_for()
    node = config["optim"][name.split(".")[1]]
    check_values(config)
    node[name.split(".")[2]] = value
    with pytest.raises(UserError, match=name.rpartition(".")[2]):
        check_values(config)


@pytest.mark.parametrize(
    "name",
    ["seed", "epochs", "criterion", "selector", "step", "regularizers", "trainer", "aux", "aux.kind", "predict.average",
     "optim.scheduler", "model.init", "checkpoint.every_n_steps", "report.last_epochs", "early_end", "audit.plant"],
)  # fmt: skip
def test_what_each_run_needs_cannot_be_removed(name):
    config = config_for()
    check_complete(config)
    group, _, last = name.rpartition(".")
    del (config[group] if group else config)[last]
    with pytest.raises(UserError, match=f"^{name} is missing"):
        check_complete(config)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("method=gjs", "step.views=[default]"), "compares views of each sample; set step.views"),
        (("method=gjs", "criterion.several_views=false"), None),
    ],
)
def test_a_criterion_that_compares_predictions_needs_them(facts, overrides, words):
    config = config_for("alasca=none", *overrides)
    if words is None:
        assert build_module(config, facts).method.criteria[0].others == "none"
    else:
        with pytest.raises(UserError, match=words):
            build_module(config, facts)
