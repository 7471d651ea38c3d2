"""Options of classes in files of the user's own are checked from their source, which is never imported."""

import sys

import pytest

from alasca_pl.build.schema import check_values
from alasca_pl.core.errors import UserError

LOSS = """
import functools
import math

import torch.nn.functional as F
from torch import nn

import alasca_pl.core.parts as parts
from alasca_pl.alasca.heads import HeadKind
from alasca_pl.core.parts import Criterion
from alasca_pl.methods.gce import GeneralisedCrossEntropy
from checked_base import LIMIT, Checked

imported = open("imported", "w")


class Loss(Criterion):
    def __init__(self, temperature: float = 2.0, kind: HeadKind = "mlp", num_classes: int = 0) -> None:
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        assert temperature < LIMIT, f"temperature must be below {LIMIT}, got {temperature}"


class Gce(GeneralisedCrossEntropy):
    pass


class More(GeneralisedCrossEntropy):
    def __init__(self, q: float = 0.7, sharpness: int = 1) -> None:
        super().__init__(q=q)
        if sharpness < 1:
            raise ValueError(f"sharpness must be at least 1, got {sharpness}")


class Plain(parts.Criterion):
    pass


class OfOther(Checked):
    pass


class Unclear(functools.partial):
    pass


@functools.total_ordering
class Decorated:
    pass


def make(weight: float):
    return Loss(temperature=weight)


if F:
    Chosen = Loss
else:
    Other = Loss
"""
BASE = """
LIMIT = 10
class Checked:
    def __init__(self, level: int = 1):
        if level > LIMIT:
            raise ValueError(f"level must be at most {LIMIT}, got {level}")
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "checked_loss.py").write_text(LOSS)
    (tmp_path / "checked_base.py").write_text(BASE)
    (tmp_path / "checked_package").mkdir()
    (tmp_path / "checked_package/__init__.py").write_text("from .inner import Loss as Renamed\n")
    (tmp_path / "checked_package/inner.py").write_text("from checked_loss import Loss\n")
    (tmp_path / "checked_broken.py").write_text("x = 1\n\nclass Loss(:\n    pass\n")
    (tmp_path / "checked_imports.py").write_text("import math\nimport no_such_library\nclass Loss: pass\n")
    (tmp_path / "checked_slips.py").write_text("from checked_base import Cheked\nclass Loss: pass\n")
    (tmp_path / "checked_tries.py").write_text(
        "try:\n    import no_such_library\nexcept ImportError:\n    pass\nclass Loss: pass\n"
    )
    yield tmp_path
    assert not (tmp_path / "imported").exists() and not [name for name in sys.modules if name.startswith("checked_")]


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ({"_target_": "checked_loss.Loss", "temprature": 1}, ["no argument temprature (did you mean temperature?)"]),
        (
            {"_target_": "checked_loss.Loss", "temperature": "hot"},
            ["criterion.temperature must be a number, got 'hot'"],
        ),
        ({"_target_": "checked_loss.Loss", "temperature": 0}, ["criterion: temperature must be above 0, got 0"]),
        ({"_target_": "checked_loss.Loss", "temperature": 11}, ["criterion: temperature must be below 10, got 11"]),
        ({"_target_": "checked_loss.Loss", "kind": "mpl"}, ["criterion.kind must be one of", "did you mean mlp?"]),
        ({"_target_": "checked_loss.Gce", "q": 2}, ["q must lie in (0, 1], got 2"]),
        ({"_target_": "checked_loss.Gce", "p": 2}, ["checked_loss.Gce has no argument p"]),
        ({"_target_": "checked_loss.More", "q": 2}, ["q must lie in (0, 1], got 2"]),
        ({"_target_": "checked_loss.More", "sharpness": 0}, ["sharpness must be at least 1, got 0"]),
        ({"_target_": "checked_loss.Plain", "q": 2}, ["checked_loss.Plain has no argument q; it takes none"]),
        ({"_target_": "checked_loss.OfOther", "level": 11}, ["level must be at most 10, got 11"]),
        ({"_target_": "checked_loss.make"}, ["checked_loss.make needs weight"]),
        ({"_target_": "checked_loss.Los"}, ["checked_loss.py has no Los (did you mean Loss?); it has Loss, Gce, More"]),
        ({"_target_": "checked_package.Renamed", "temperature": 0}, ["temperature must be above 0, got 0"]),
        ({"_target_": "checked_package.inner.Loss", "temperature": 0}, ["temperature must be above 0, got 0"]),
        (
            {"_target_": "checked_los.Loss"},
            ["there is no module checked_los (did you mean checked_loss?)", "current folder"],
        ),
        ({"_target_": "checked_package.iner.Loss"}, ["checked_package/__init__.py has no iner"]),
        ({"_target_": "checked_broken.Loss"}, ["criterion: checked_broken.py, line 3: invalid syntax"]),
        (
            {"_target_": "checked_imports.Loss"},
            ["criterion: checked_imports.py, line 2: there is no module no_such_library"],
        ),
        (
            {"_target_": "checked_slips.Loss"},
            ["checked_slips.py, line 1: checked_base.py has no Cheked (did you mean Checked?)"],
        ),
        (
            {"_target_": "torch.nn.Identity", "inner": {"_target_": "checked_loss.Loss", "temperature": 0}},
            ["above 0, got 0"],
        ),
    ],
    ids=str,
)
def test_what_is_wrong_is_told_from_the_source(here, node, words):
    with pytest.raises(UserError) as refused:
        check_values({"criterion": node})
    assert not [word for word in words if word not in str(refused.value)], str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "node",
    [
        {"_target_": "checked_loss.Loss", "temperature": 9, "kind": "mlp"},
        {"_target_": "checked_loss.Gce", "q": 0.5},
        {"_target_": "checked_loss.Chosen", "temperature": 0},
        {"_target_": "checked_loss.Other"},
        {"_target_": "checked_loss.Unclear", "anything": 1},
        {"_target_": "checked_loss.Decorated", "anything": 1},
        {"_target_": "checked_package.inner"},
        {"_target_": "checked_tries.Loss"},
        {"_target_": "__main__.Loss", "anything": 1},
    ],
    ids=str,
)
def test_what_is_right_or_cannot_be_told_passes(here, node):
    check_values({"criterion": node})


def test_a_file_that_has_changed_is_read_again(here):
    node = {"criterion": {"_target_": "checked_loss.Loss", "temperature": 3}}
    check_values(node)
    (here / "checked_base.py").write_text(BASE.replace("LIMIT = 10", "LIMIT = 3"))
    with pytest.raises(UserError, match="temperature must be below 3, got 3"):
        check_values(node)
