"""What the values of the groups that are always there may be."""

import ast
import math
from dataclasses import dataclass
from typing import Any

from alasca_pl.build.signatures import describe, fits, shown, words_of
from alasca_pl.build.sources import Module, read_module
from alasca_pl.core.errors import did_you_mean


@dataclass(frozen=True)
class Rule:
    """What a value may be.

    Args:
        type: An annotation.
        least: Smallest value.
        above: Largest value that is too small.
        most: Largest value.
        below: Smallest value that is too large.
        where: Module in which names of the annotation are defined.
        hint: Ends the message.
    """

    type: str
    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf
    where: str = ""
    hint: str = ""

    @property
    def _parsed(self) -> tuple[ast.expr, Module]:
        module = read_module(self.where) if self.where else None
        return ast.parse(self.type, mode="eval").body, module or Module("")

    def problem(self, name: str, value: Any) -> str | None:
        """What is wrong with a value."""
        if fits(value, *self._parsed):
            if not isinstance(value, int | float) or isinstance(value, bool):
                return None
            if self.least <= value <= self.most and self.above < value < self.below and math.isfinite(value):
                return None
        meant = did_you_mean(value, self.words)
        return f"{name} must be {self.said}, got {shown(value)}{meant}{f'; {self.hint}' if self.hint else ''}"

    @property
    def words(self) -> list[str]:
        """Words that it lists."""
        return words_of(*self._parsed)

    @property
    def said(self) -> str:
        """What the value may be, in words."""
        said = describe(*self._parsed)
        bounds = [f"of at least {self.least:g}"] if self.least > -math.inf else []
        bounds += [f"above {self.above:g}"] if self.above > -math.inf else []
        bounds += [f"below {self.below:g}"] if self.below < math.inf else []
        bounds += [f"at most {self.most:g}"] if self.most < math.inf else []
        return said.replace("number", f"number {' and '.join(bounds)}", 1) if bounds else said


_COUNT, _SIZE = Rule("int", least=1), Rule("float", least=0)
_SUGGESTED = {"lr": _SIZE, "weight_decay": _SIZE, "milestones": Rule("Sequence[int]"), "gamma": _SIZE}
_MOMENTUM = Rule("float", least=0, below=1)
# Of torch's optimizers and schedules, wherever they are; torch itself checks fewer of them.
OPTIMIZER_RULES = {
    **_SUGGESTED,
    "momentum": _MOMENTUM,
    "dampening": _SIZE,
    "eps": _SIZE,
    "eta_min": _SIZE,
    **dict.fromkeys(("T_max", "T_0", "T_mult", "step_size", "total_iters"), _COUNT),
}
_LIMIT = Rule("int | float | None", above=0)
# By group; None is the top level.
RULES: dict[str | None, dict[str, Rule]] = {
    None: {
        "seed": Rule("int", least=0),
        "epochs": _COUNT,
        "num_networks": _COUNT,
        "threads": Rule('Literal["auto"] | int', least=1),
        "ckpt_path": Rule("str | None"),
        "published_network": Rule("dict | None"),
    },
    "suggested": {
        **_SUGGESTED,
        "noise_rate": Rule("float", least=0, most=1),
        "alasca_ramp_epochs": _SIZE,
        "pretrained": Rule("bool"),
    },
    "optim": {**_SUGGESTED, "momentum": _MOMENTUM, "restart_epochs": _COUNT, "lowest_lr": _SIZE},
    "model": {
        "norm": Rule('Literal["batch", "group"]'),
        "init": Rule('Literal["library", "kaiming", "torch"]'),
        "memory_format": Rule('Literal["channels_last", "contiguous"]'),
        "compile": Rule("bool"),
    },
    "aux": {
        "kind": Rule("HeadKind", where="alasca_pl.alasca.heads"),
        "stages": Rule('Literal["all", "last"] | int | Sequence[int] | None', hint="e.g. aux.stages=[1,2]"),
        "width": Rule("int | None", least=1),
    },
    "predict": {
        "rule": Rule("PredictRule", where="alasca_pl.training.predict"),
        "average": Rule('Literal["logits", "probs"]'),
    },
    "checkpoint": {"every_n_steps": Rule("int | None", least=1, hint="null writes a checkpoint after each epoch only")},
    "early_end": {"patience": Rule("int | None", least=1, hint="null never ends early")},
    "report": {"last_epochs": _COUNT, "samples": Rule("bool")},
    "audit": {"plant": Rule("float", least=0, most=0.5), "fold": Rule("str | None")},
    "trainer": {
        "precision": Rule('Literal["auto"] | _PRECISION_INPUT | None', where="lightning.fabric.connector"),
        "max_epochs": _COUNT,
        "num_nodes": _COUNT,
        "gradient_clip_val": Rule("float | None", least=0),
        "max_steps": Rule("int", least=1, hint="leave it out to train all epochs"),
        "limit_train_batches": _LIMIT,
        "log_every_n_steps": Rule("int | None", least=0),
        "accumulate_grad_batches": Rule(
            "int", least=1, most=1, hint="schedules and selections count batches; choose another data.batch_size"
        ),
    },
}
