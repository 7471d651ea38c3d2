"""Types of values by annotations that are read from source."""

import ast
import inspect
import subprocess
import sys

import pytest

from alasca_pl.build.signatures import describe, fits, signature
from alasca_pl.build.sources import Module, read_module

NAN = float("nan")


def _expression(text):
    return ast.parse(text, mode="eval").body


@pytest.mark.parametrize(
    ("annotation", "good", "bad", "words"),
    [
        ("int", [0, -3, 2**62], [True, 1.5, 1.0, "1", None, 10**22, [1]], "a whole number"),
        ("float", [0, 1.5], [float("inf"), True, "abc", None, NAN, [1.0]], "a number"),
        ("bool", [True, False], [0, 1, "true", None], "true or false"),
        ("str", ["", "a"], [1, None, ["a"]], "text"),
        ("int | None", [1, None], [1.5, False], "a whole number or null"),
        ("Optional[int]", [1, None], [1.5, "None"], "a whole number or null"),
        ("Union[list[int], str]", [[1, 2], "auto"], [1, [1.5], [True]], "a list of whole numbers or text"),
        ("Literal['a', 'b']", ["a", "b"], ["c", None, 1], "one of a, b"),
        ("Literal[1]", [1], [True, 1.0, "1"], "1"),
        ("float | Literal['estimated']", [0.5, "estimated"], ["oracle", None], "a number or estimated"),
        ("Sequence[float]", [[], [1, 2.5]], ["ab", 1, [None], {"a": 1}], "a list of numbers"),
        ("tuple[int, int]", [[1, 2]], [[1], [1, 2, 3], [1, 2.5]], "a list of 2 whole numbers"),
        ("tuple[int, ...]", [[], [1, 2, 3]], [[1.5]], "a list of whole numbers"),
        ("Sequence[Sequence[float]]", [[[1]]], [[1]], "a list of entries, each a list of numbers"),
        ("Mapping[int, int]", [{1: 2}, {}], [{1: "a"}, {"a": 1}, [1]], "a mapping"),
        ("dict[str, Any]", [{"a": None}], [[1]], "a mapping"),
        ("str | Path", ["x"], [1], "text or a path"),
        ("Callable[[int], int]", [{"_target_": "x"}], ["wek", 1, None], "a node with _target_"),
        ("Any", [1, None, "x"], [], "a node with _target_ (Any)"),
        ("'int | None'", [None, 2], ["2"], "a whole number or null"),
    ],
)
def test_values_of_a_config_fit_their_annotations(annotation, good, bad, words):
    parsed, module = _expression(annotation), Module("here")
    assert [value for value in good if not fits(value, parsed, module)] == []
    assert [value for value in bad if fits(value, parsed, module)] == []
    assert describe(parsed, module) == words


def test_without_an_annotation_everything_fits():
    assert fits(object(), None, Module("here"))


def test_an_alias_is_followed_to_the_module_that_defines_it():
    function = signature("alasca_pl.alasca.criterion.AdaptiveLabelSmoothing")
    assert fits("paper_omega", function.arguments["target"], function.module)
    assert not fits("paper", function.arguments["target"], function.module)
    assert describe(function.arguments["target"], function.module) == "one of others, uniform, paper_omega"


def test_a_part_is_a_node_that_names_its_class():
    function = signature("alasca_pl.noise.matrix.MatrixNoise")
    assert fits({"_target_": "a.b"}, function.arguments["like"], function.module)
    assert fits(None, function.arguments["like"], function.module)
    assert not fits("human", function.arguments["like"], function.module)


@pytest.mark.parametrize(
    "target",
    [
        "alasca_pl.methods.gce.GeneralisedCrossEntropy",
        "alasca_pl.methods.elr_plus.EarlyLearningPlus",
        "alasca_pl.noise.model.NoiseModel",
        "alasca_pl.data.prepared.PreparedData",
        "alasca_pl.models.backbones.torchvision_resnet",
        "alasca_pl.data.folder.read_folder",
        "lightning.pytorch.trainer.trainer.Trainer",
    ],
)
def test_names_and_defaults_are_those_of_the_class_itself(target):
    import importlib

    module, _, name = target.rpartition(".")
    real = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    function = signature(target)
    assert list(function.arguments) == list(real)
    assert set(function.defaults) == {one.name for one in real.values() if one.default is not inspect.Parameter.empty}


def test_a_constructor_is_inherited():
    assert "rate" in signature("alasca_pl.noise.model.NoiseModel").arguments
    assert "strength" in signature("alasca_pl.steps.mixmatch.ConfidencePenalty").arguments


@pytest.mark.parametrize("target", ["nowhere.at.all", "alasca_pl.no_file.X", "alasca_pl.methods.gce.No", "print", ""])
def test_what_does_not_exist_has_no_signature(target):
    assert signature(target) is None


def test_reading_imports_nothing():
    code = (
        "import sys\n"
        "from alasca_pl.build.signatures import signature\n"
        "assert signature('alasca_pl.methods.gce.GeneralisedCrossEntropy')\n"
        "assert signature('lightning.pytorch.trainer.trainer.Trainer')\n"
        "print([name for name in ('torch', 'lightning', 'numpy', 'alasca_pl.methods.gce') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_module_is_read_once():
    assert read_module("alasca_pl.methods.gce") is read_module("alasca_pl.methods.gce")
