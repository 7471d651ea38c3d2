"""``make``: what a node within a node is offered."""

from collections.abc import Sequence

import pytest
import torch

from alasca_pl.build.make import make
from alasca_pl.build.module import build_module
from alasca_pl.core.errors import UserError
from alasca_pl.core.parts import Criterion
from alasca_pl.core.types import DataFacts, Progress, StepView, Targets
from running import config_for

ELR = {"_target_": "alasca_pl.methods.elr.EarlyLearningRegularization", "strength": 3.0, "momentum": 0.7}
CE = {"_target_": "alasca_pl.methods.cross_entropy.CrossEntropy"}


class WeightedSum(Criterion):
    """A loss made of losses."""

    def __init__(self, first: Criterion, rest: Sequence[Criterion], weights: dict[str, float]) -> None:
        super().__init__()
        self.first = first
        self.rest = torch.nn.ModuleList(rest)
        self.weights = weights

    def observe(self, logits, index) -> None:
        for part in (self.first, *self.rest):
            part.observe(logits, index)

    def forward(self, view: StepView, targets: Targets, progress: Progress) -> torch.Tensor:
        total = self.weights["first"] * self.first(view, targets, progress)
        return total + self.weights["rest"] * sum(part(view, targets, progress) for part in self.rest)


class Holder:
    def __init__(self, inner: object = None, seed: int = 0, num_classes: int = 0) -> None:
        self.inner, self.seed, self.num_classes = inner, seed, num_classes


NODE = {
    "_target_": f"{__name__}.WeightedSum",
    "first": ELR,
    "rest": [CE, {**ELR, "strength": 1.0}],
    "weights": {"first": 0.5, "rest": 2.0},
}


def test_the_terms_of_a_composite_loss_are_offered_the_size_of_the_data():
    loss = make(NODE, num_samples=7, num_classes=4, seed=3)
    tables = [buffer for part in (loss.first, loss.rest[1]) for buffer in part.children()]
    assert len(tables) == 2
    assert [tuple(table.rows.shape) for table in tables] == [(7, 4), (7, 4)]
    assert loss.weights == {"first": 0.5, "rest": 2.0}


def test_a_composite_loss_is_built_into_a_module():
    facts = DataFacts("toy", 4, 7, (1, 8, 8), "0" * 64, tuple("0123"), (0.5,), (0.25,))
    config = config_for("method=ce", "alasca=none") | {"criterion": NODE}
    criterion = build_module(config, facts).method.criteria[0]
    assert [type(part).__name__ for part in criterion.rest] == ["CrossEntropy", "EarlyLearningRegularization"]


def test_values_of_a_node_go_before_offers_at_each_level():
    name = f"{__name__}.Holder"
    node = {"_target_": name, "seed": 5, "inner": {"_target_": name, "num_classes": 2, "inner": {"_target_": name}}}
    outer = make(node, seed=9, num_classes=4, unknown=1)
    assert (outer.seed, outer.num_classes) == (5, 4)
    assert (outer.inner.seed, outer.inner.num_classes) == (9, 2)
    assert (outer.inner.inner.seed, outer.inner.inner.num_classes) == (9, 4)


def test_a_term_that_refuses_its_values_is_named():
    node = {**NODE, "first": {**ELR, "strenght": 1.0}}
    with pytest.raises(UserError, match="EarlyLearningRegularization has no argument strenght"):
        make(node, num_samples=7, num_classes=4)


def needs_more() -> None:
    raise ModuleNotFoundError("No module named 'tensorboard'.\n  Try pip install tensorboard")


def test_a_library_that_a_part_lacks_is_named_in_one_line():
    with pytest.raises(
        UserError, match=r"^test_make.needs_more needs a library .*'tensorboard'. Try pip install tensorboard$"
    ):
        make({"_target_": "test_make.needs_more"})


FAILING = """
from alasca_pl.core.parts import Criterion

class Loss(Criterion):
    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = {}["weight"]

class Other(Criterion):
    def __init__(self) -> None:
        super().__init__(strange=1)
"""


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("fails_a", "import math\nmath.nothing\n", r"fails_a\.Loss' cannot be imported: fails_a\.py, line 2: AttributeError: "),
        ("fails_b", "x = 1\nx / 0\n", r"cannot be imported: fails_b\.py, line 2: ZeroDivisionError: division by zero$"),
        ("fails_c", "def f(:\n", r"cannot be imported: fails_c\.py, line 1: SyntaxError: invalid syntax"),
        ("fails_d", "import fails_b\n", r"cannot be imported: fails_b\.py, line 2: ZeroDivisionError"),
        ("fails_e", "from math import nothing\n", r"cannot be imported: fails_e\.py, line 1: ImportError: cannot import name"),
        ("fails_f", FAILING, r"^fails_f\.Loss: fails_f\.py, line 7: KeyError: 'weight'$"),
        ("fails_g", FAILING.replace("Loss", "X").replace("Other", "Loss"), r"^fails_g\.Loss: fails_g\.py, line 11: TypeError"),
    ],
)  # fmt: skip
def test_an_error_in_a_file_of_one_s_own_is_one_line_with_its_place(tmp_path, monkeypatch, caplog, name, text, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "fails_b.py").write_text("x = 1\nx / 0\n")
    (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(UserError, match=message) as refused:
        make({"_target_": f"{name}.Loss"})
    assert "\n" not in str(refused.value) and r"\n" not in str(refused.value)
    assert not caplog.records
