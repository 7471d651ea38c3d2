"""Errors foreseen from source are those that the classes raise."""

import importlib
import math
import random

import pytest

from alasca_pl.build.guards import refusal
from alasca_pl.build.signatures import Function, describe, fits, signature
from alasca_pl.build.sources import Module

GIVEN = {"num_samples": 12, "num_classes": 3, "num_networks": 2, "class_counts": (4, 4, 4), "in_channels": 3}
NUMBERS = [-1, 0, 1, 2, 5, -0.5, 0.0, 0.3, 0.5, 1.0, 1.5, 2.0]
TARGETS = [
    "alasca_pl.alasca.criterion.AdaptiveLabelSmoothing",
    "alasca_pl.alasca.criterion.UniformLabelSmoothing",
    "alasca_pl.alasca.regularizer.AlascaRegularizer",
    "alasca_pl.alasca.regularizer.UniformSmoothingOnHeads",
    "alasca_pl.methods.cdr.CriticalParameters",
    "alasca_pl.methods.co_teaching.SmallLossExchange",
    "alasca_pl.methods.cross_entropy.CrossEntropy",
    "alasca_pl.methods.crust.CrustSelector",
    "alasca_pl.methods.crust.IntraClassMixer",
    "alasca_pl.methods.dividemix.MixtureFilter",
    "alasca_pl.methods.elr.EarlyLearningRegularization",
    "alasca_pl.methods.elr_plus.EarlyLearningPlus",
    "alasca_pl.methods.fine.FineSelector",
    "alasca_pl.methods.gce.GeneralisedCrossEntropy",
    "alasca_pl.methods.mixup.Mixup",
    "alasca_pl.methods.sce.SymmetricCrossEntropy",
    "alasca_pl.methods.self_distillation.SelfDistillation",
    "alasca_pl.methods.unicon.UniformSelector",
    "alasca_pl.models.backbones.small_resnet",
    "alasca_pl.noise.instance.InstanceNoise",
    "alasca_pl.noise.pairflip.PairFlip",
    "alasca_pl.noise.symmetric.SymmetricNoise",
    "alasca_pl.steps.contrast.ContrastiveLoss",
    "alasca_pl.steps.mixmatch.MixMatchStep",
]


def _real_error(target, values):
    module, _, name = target.rpartition(".")
    try:
        getattr(importlib.import_module(module), name)(**values)
    except ValueError as error:
        return str(error)
    return None


def _draw(rng, function):
    """Values of the right types, at the edges of ranges and beyond."""
    values = {name: value for name, value in GIVEN.items() if name in function.arguments}
    for name, annotation in function.arguments.items():
        fitting = [one for one in NUMBERS if fits(one, annotation, function.module)]
        if name not in values and fitting and (name not in function.defaults or rng.random() < 0.5):
            values[name] = rng.choice(fitting)
    return values


def _one_by_one(function):
    """Each argument with each number, the others as they are by default."""
    given = {name: value for name, value in GIVEN.items() if name in function.arguments}
    given |= {name: 0.5 for name in function.arguments if name not in given and name not in function.defaults}
    given |= {"seed": 0} if "seed" in given else {}
    for name, annotation in function.arguments.items():
        if name not in GIVEN:
            yield from ({**given, name: one} for one in NUMBERS if fits(one, annotation, function.module))


@pytest.mark.parametrize("target", TARGETS)
def test_foreseen_errors_are_those_that_are_raised(target):
    rng, function = random.Random(0), signature(target)
    foreseen, raised = [], []
    for values in [*_one_by_one(function), *(_draw(rng, function) for _ in range(60))]:
        foreseen.append(refusal(function, values))
        raised.append(_real_error(target, values))
    assert foreseen == raised
    assert any(raised), "no value was outside of a range"


def _function(source, name="f"):
    import ast

    module = Module("here")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef):
            module.names[node.name] = node
        elif isinstance(node, ast.Assign):
            module.names[node.targets[0].id] = node.value
    return Function(module, module.names[name])


@pytest.mark.parametrize(
    ("body", "values", "message"),
    [
        ("if x > 1: raise ValueError(f'{x} is large')", {"x": 2}, "2 is large"),
        ("if x > 1: raise ValueError('no')", {"x": 1}, None),
        ("if y > 1: raise ValueError('default')", {}, "default"),
        ("if x > LIMIT: raise ValueError(f'above {LIMIT}')", {"x": 9}, "above 5"),
        ("if open(x): raise ValueError('never')", {"x": "file"}, None),
        ("x = read(x)\n    if x > 1: raise ValueError('stale')", {"x": 2}, None),
        ("x = x + 1\n    if x > 2: raise ValueError('next')", {"x": 2}, "next"),
        ("if read(x): return\n    if x > 1: raise ValueError('perhaps')", {"x": 2}, None),
        ("if x == 2: return\n    raise ValueError('other')", {"x": 2}, None),
        ("check('x', x)", {"x": -1}, "x is negative"),
        ("z = check('x', x)", {"x": -1}, "x is negative"),
        (
            "for name, value in (('x', x), ('y', y)):\n        if value < 1: raise ValueError(name)",
            {"x": 1, "y": 0},
            "y",
        ),
        ("for one in read(x):\n        x = one\n    if x > 1: raise ValueError('stale')", {"x": 2}, None),
        (
            "try:\n        x = read(x)\n    except OSError:\n        pass\n    if x > 1: raise ValueError('stale')",
            {"x": 2},
            None,
        ),
        ("if x > 1: raise ValueError(f'{read(x)}')", {"x": 2}, None),
        ("if x > 1: raise", {"x": 2}, None),
        ("if not math.isfinite(x): raise ValueError('not finite')", {"x": math.inf}, "not finite"),
        ("if x < 'a': raise ValueError('types')", {"x": 2}, None),
        ("f(x)", {"x": 2}, None),
    ],
)
def test_statements_are_followed_as_far_as_they_are_known(body, values, message):
    source = (
        f"LIMIT = 5\n"
        f"def check(name, value):\n    if value < 0: raise ValueError(f'{{name}} is negative')\n"
        f"def f(x, y=3):\n    '''Text.'''\n    {body}\n"
    )
    assert refusal(_function(source), values) == message


def test_an_argument_that_is_given_later_is_unknown():
    function = _function("def f(x, y=None):\n    if y is None: raise ValueError('y is missing')\n")
    assert refusal(function, {"x": 1}) == "y is missing"
    assert refusal(function, {"x": 1}, unknown=["y"]) is None


def test_what_a_config_names_is_not_run(tmp_path):
    # Values are data; only expressions of the source are evaluated.
    function = _function("def f(x):\n    if x == 1: raise ValueError(x)\n")
    assert refusal(function, {"x": f"open({str(tmp_path / 'made')!r}, 'w')"}) is None
    assert list(tmp_path.iterdir()) == []
    assert describe(None, Module("here")) == ""
