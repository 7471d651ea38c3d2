"""What a file of unknown origin may have called: a closed set of parts.

Checkpoints carry a config and the options of a command, and both name what is called with their values. For a file from
elsewhere only parts are called: classes that follow a contract of this package, functions that make such objects, and torch's
optimizers and schedules. Where something stands makes it no part; a function of this package that unpacks an archive is none.
"""

import functools
import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException

from alasca_pl.core.errors import UserError

_ALLOW = "if you know where the file comes from, allow it with trust=true"
# Only modules of these are imported to look at what they define, so that looking executes nothing from elsewhere.
_ROOMS = (
    *(f"alasca_pl.{room}." for room in ("alasca", "data", "methods", "models", "noise", "steps", "training")),
    "torch.optim.",
    "lightning.pytorch.loggers.",
)
# A reference to another value. All else between ${ and } calls a resolver, or may become such a call.
_REFERENCE = re.compile(r"\$\{[\w.]+\}")


@functools.cache
def _contracts() -> tuple[tuple[type, ...], tuple[type, ...], tuple[Any, ...]]:
    """Contracts of classes that are parts, types of what functions that are parts return, and further parts by themselves."""
    # Imported late: commands look at this module before torch is needed.
    from lightning.pytorch.loggers import CSVLogger
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from alasca_pl.core.noise_estimate import NoiseEstimator
    from alasca_pl.core.parts import Part
    from alasca_pl.data.augment import BatchAugment
    from alasca_pl.data.datamodule import NoisyDataModule
    from alasca_pl.data.samples import RawData
    from alasca_pl.data.views import View
    from alasca_pl.models.backbones import Backbone
    from alasca_pl.models.encoder import Encoder
    from alasca_pl.models.teacher import WeightAverage
    from alasca_pl.noise.model import NoiseModel
    from alasca_pl.steps.contrast import ContrastiveLoss
    from alasca_pl.steps.step import Step
    from alasca_pl.training.callbacks.noise_estimates import NoiseEstimates
    from alasca_pl.training.callbacks.progress import RunProgress
    from alasca_pl.training.callbacks.step_profile import StepProfile
    from alasca_pl.training.loggers import make_mlflow_logger, make_tensorboard_logger
    from alasca_pl.training.phases import Phase
    from alasca_pl.training.wandb import make_wandb_logger

    classes = (
        Part, Step, Backbone, WeightAverage, NoiseModel, NoisyDataModule, BatchAugment, View, Optimizer, LRScheduler,
        Phase, Encoder, NoiseEstimator, ContrastiveLoss,
    )  # fmt: skip
    loggers = (CSVLogger, make_wandb_logger, make_tensorboard_logger, make_mlflow_logger)
    return classes, (RawData, Backbone), (NoiseEstimates, RunProgress, StepProfile, *loggers)


def is_part(target: str) -> bool:
    """Whether a ``_target_`` is a part, which a config of any origin may have called.

    Args:
        target: A dotted name.

    Example:
        >>> is_part("torch.optim.SGD"), is_part("os.system"), is_part("alasca_pl.data.archives.extract")
        (True, False, False)
    """
    if not isinstance(target, str) or not target.startswith(_ROOMS):
        return False
    try:
        called = hydra.utils.get_object(target)
    except (ImportError, ValueError):
        return False
    classes, made, others = _contracts()
    if called in others:
        return True
    # A dotted path may lead through one of these modules to what it imported.
    if not f"{getattr(called, '__module__', '')}.".startswith(_ROOMS):
        return False
    if isinstance(called, type):
        # Not issubclass, which takes whatever has the methods of a protocol.
        return any(contract in called.__mro__ for contract in classes)
    if not inspect.isfunction(called) or called.__qualname__ != called.__name__:
        return False
    result = called.__annotations__.get("return")
    return isinstance(result, type) and any(contract in result.__mro__ for contract in made)


def refuse_foreign_targets(value: Any, path: Path) -> None:
    """Refuse a config that would call anything but parts.

    Args:
        value: The config, or a node of it.
        path: Where it is from, for the message.

    Raises:
        UserError: If it names anything else as a ``_target_`` at any depth.
    """
    for target in _targets(value):
        if not is_part(target):
            raise UserError(f"the config in {path} would call {target}, which is no part of a run here; {_ALLOW}")


def refuse_foreign_overrides(overrides: Sequence[str], path: Path) -> None:
    """Refuse options of a command that would call, or might make a config that calls, anything but parts.

    Args:
        overrides: Overrides in Hydra's grammar.
        path: Where they are from, for the message.

    Raises:
        UserError: If one does.
    """
    for item in overrides:
        refusal = UserError(f"{path} would set the option {item}; {_ALLOW}")
        try:
            parsed = OverridesParser.create().parse_override(item)
        except HydraException as error:
            raise refusal from error
        # Options of Hydra's own call classes, sweeps hide values, groups might be files elsewhere, and resolvers make configs
        # from text.
        name, text = item.partition("=")[::2]
        is_hydras = any(word.startswith("hydra") for word in re.split(r"[@:/.+~]+", name))
        if is_hydras or parsed.is_sweep_override() or ".." in text or "${" in _REFERENCE.sub("", text):
            raise refusal
        value: Any = _plain(parsed.value())
        for word in reversed(parsed.key_or_group.split(".")):
            value = {word: value}
        refuse_foreign_targets(value, path)


def _targets(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        if "_target_" in value:
            yield value["_target_"]
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _targets(item)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.text if isinstance(value, QuotedString) else value
