"""Whether a checkpoint fits what its config builds; a file may have been edited, or be from another program."""

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from alasca_pl.core.checkpoint import not_finite
from alasca_pl.core.errors import UserError
from alasca_pl.training.callbacks.history import History
from alasca_pl.training.module import NoisyLabelModule
from alasca_pl.training.phases import make_optimizer, phase_at

# Where Lightning counts steps.
_AUTOMATIC, _MANUAL = "epoch_loop.automatic_optimization", "epoch_loop.manual_optimization"


def check_weights(stored: Mapping[str, Any], module: nn.Module) -> None:
    """Raise ``UserError`` unless a checkpoint has an epoch and all weights and tables of a module, with their shapes.

    Weights must be finite as well.
    """
    _refuse(_numbers(stored, ("epoch",)))
    _refuse(_differences(module.state_dict(), stored.get("state_dict"), "state_dict"))
    broken = not_finite(stored["state_dict"])
    if broken is not None:
        _refuse(iter([f"state_dict.{broken} is not finite"]))


def check_progress(stored: Mapping[str, Any], module: NoisyLabelModule, trainer: L.Trainer) -> None:
    """Raise ``UserError`` unless all that training goes on from fits, as far as that can be told before.

    Args:
        stored: The checkpoint.
        module: The module that its config builds.
        trainer: The trainer with its callbacks.
    """
    check_weights(stored, module)
    _refuse(_numbers(stored, ("epoch", "global_step")))
    optimizer, schedule = module.optimizer_at(stored["epoch"])
    schedules = [] if schedule is None else [schedule]
    first = _first_state(module, stored["epoch"])
    _refuse(_optimizer(stored.get("optimizer_states"), optimizer, first, stored["global_step"]))
    kept = stored.get("lr_schedulers")
    if not isinstance(kept, list) or len(kept) != len(schedules):
        _refuse(iter([f"lr_schedulers is {_kind(kept)}, not a list of length {len(schedules)}"]))
    _refuse(_differences([one.state_dict() for one in schedules], kept, "lr_schedulers", True))
    rows, callbacks = rows_of(stored), stored["callbacks"]
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        name = callback.state_key
        if name in callbacks:
            _refuse(_differences(callback.state_dict(), callbacks[name], f"callbacks.{type(callback).__name__}", True))
    loops = stored.get("loops")
    loop = loops.get("fit_loop") if isinstance(loops, Mapping) else None
    _refuse(_differences({}, loop, "loops.fit_loop"))
    _refuse(_differences(trainer.fit_loop.state_dict(), loop, "loops.fit_loop", True))
    _refuse(_counts(loop, "loops.fit_loop"))
    try:
        _refuse(_disagreements(stored, loop, len(rows)))
    except (KeyError, TypeError) as error:
        _refuse(iter([f"loops.fit_loop lacks {error}"]))
    phase = phase_at(module.phases, stored["epoch"])
    _refuse(_course(stored, optimizer, schedules, 0 if phase is None else phase.start))


def _disagreements(stored: Mapping[str, Any], loop: Any, rows: int) -> Iterator[str]:
    """Say where a checkpoint counts the same thing differently."""
    steps = loop[f"{_AUTOMATIC}.optim_progress"]["optimizer"]["step"]["total"]["completed"]
    steps += loop[f"{_MANUAL}.optim_step_progress"]["total"]["completed"]
    if stored["global_step"] != steps:
        yield f"global_step is {stored['global_step']}, but {steps} steps are counted"
    done = loop["epoch_progress"]["current"]["processed"]
    if stored["epoch"] not in (done, done - 1) or rows not in (done, done - 1):
        yield f"epoch is {stored['epoch']} with {rows} rows of metrics, but {done} epochs are counted"


def rows_of(stored: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the metrics by epoch that a checkpoint holds.

    Raises:
        UserError: If they were edited.
    """
    callbacks = stored.get("callbacks")
    history = callbacks.get(History.__qualname__) if isinstance(callbacks, Mapping) else None
    rows: Any = history.get("rows") if isinstance(history, Mapping) else None
    _refuse(_rows(rows))
    return rows


def _refuse(problems: Iterator[str]) -> None:
    problem = next(problems, None)
    if problem is not None:
        raise UserError(
            f"the checkpoint does not fit what its config builds: {problem}; it was edited or damaged, take another one"
        )


def _differences(own: Any, stored: Any, where: str, is_loose: bool = False) -> Iterator[str]:
    """Say where a stored value is of another kind or shape than one's own; None and empty containers leave it open.

    Args:
        own: What the config builds.
        stored: What the checkpoint holds.
        where: What messages call the place.
        is_loose: Let pass what is missing or more, and other lengths of lists; of callbacks also None, for what they have not
            begun to collect.
    """
    if own is None or (stored is None and where.startswith("callbacks.")):
        return
    if isinstance(own, Mapping):
        if not isinstance(stored, Mapping):
            yield f"{where} is {_kind(stored)}, not a mapping"
            return
        if own and not is_loose:
            for what, names in (("lacks", own.keys() - stored.keys()), ("has unknown", stored.keys() - own.keys())):
                if names:
                    yield f"{where} {what} {', '.join(sorted(map(str, names))[:3])}"
        for name in own.keys() & stored.keys():
            yield from _differences(own[name], stored[name], f"{where}.{name}", is_loose or _is_extra(name))
        if is_loose and own and not own.keys() & stored.keys():
            yield f"{where} has none of {', '.join(sorted(map(str, own)))}"
    elif isinstance(own, list | tuple):
        if not isinstance(stored, list | tuple):
            yield f"{where} is {_kind(stored)}, not a list"
        elif own and not is_loose and len(own) != len(stored):
            yield f"{where} has {len(stored)} entries, not {len(own)}"
        else:
            for number, (one, other) in enumerate(zip(own, stored)):
                yield from _differences(one, other, f"{where}[{number}]", is_loose)
    elif isinstance(own, Tensor):
        if not isinstance(stored, Tensor) or own.is_floating_point() != stored.is_floating_point():
            yield f"{where} is {_kind(stored)}, not {_kind(own)}"
        elif own.shape != stored.shape:
            yield f"{where} has shape {tuple(stored.shape)}, not {tuple(own.shape)}"
    else:
        kinds = (int, float) if isinstance(own, int | float) and not isinstance(own, bool) else type(own)
        if not isinstance(stored, kinds) or isinstance(stored, bool) != isinstance(own, bool):
            yield f"{where} is {_kind(stored)}, not {_kind(own)}"


def _is_extra(name: object) -> bool:
    # What a part keeps besides its tensors may grow while it trains.
    return str(name).endswith("_extra_state")


def _numbers(stored: Mapping[str, Any], names: tuple[str, ...]) -> Iterator[str]:
    for name in names:
        value = stored.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            yield f"{name} is {value!r}, not a whole number from 0"


def _optimizer(
    stored: Any, optimizer: torch.optim.Optimizer, first: Mapping[str, Any] | None, steps: int
) -> Iterator[str]:
    own = optimizer.state_dict()
    if not isinstance(stored, list) or len(stored) != 1 or not isinstance(stored[0], Mapping):
        yield f"optimizer_states is {_kind(stored)}, not a list of one mapping"
        return
    groups, state = stored[0].get("param_groups"), stored[0].get("state")
    if not isinstance(groups, list) or len(groups) != len(own["param_groups"]) or not isinstance(state, Mapping):
        yield "optimizer_states lacks its param_groups or state"
        return
    for number, (mine, theirs) in enumerate(zip(own["param_groups"], groups)):
        where = f"optimizer_states.param_groups[{number}]"
        yield from _differences(mine, theirs, where, True)
        if theirs.get("params") != mine["params"]:
            yield f"{where} is for other parameters"
        lr = theirs.get("lr")
        if not isinstance(lr, int | float | Tensor) or not 0.0 <= float(lr) < float("inf"):
            yield f"{where}.lr is {lr!r}, not a number from 0"
    shapes = [parameter.shape for group in optimizer.param_groups for parameter in group["params"]]
    for place, values in state.items():
        where = f"optimizer_states.state.{place}"
        if not isinstance(place, int) or not 0 <= place < len(shapes) or not isinstance(values, Mapping):
            yield f"{where} belongs to no parameter"
            continue
        yield from _of_parameter(values, shapes[place], first, steps, where)


def _of_parameter(
    values: Mapping[str, Any], shape: torch.Size, first: Mapping[str, Any] | None, steps: int, where: str
) -> Iterator[str]:
    """Say where an optimizer's state of one parameter is not of its kind, not finite, or counts more steps than were taken."""
    kept = {name: value for name, value in values.items() if value is not None}
    if first is not None and first.keys() != kept.keys():
        yield f"{where} has {', '.join(map(str, kept)) or 'nothing'}, not {', '.join(first) or 'nothing'}"
        return
    for name, value in kept.items():
        own = None if first is None else first[name]
        if not isinstance(value, Tensor | int | float) or (
            own is not None and isinstance(own, Tensor) != isinstance(value, Tensor)
        ):
            yield f"{where}.{name} is {_kind(value)}, not numbers"
            return
        # One number for the whole parameter, or one for each of its elements.
        fitting = (
            [torch.Size()]
            if isinstance(own, Tensor) and own.ndim == 0
            else [shape]
            if own is not None
            else [torch.Size(), shape]
        )
        found = torch.as_tensor(value)
        if isinstance(value, Tensor) and value.shape not in fitting:
            yield f"{where}.{name} has shape {tuple(value.shape)}, not {tuple(fitting[-1])}"
        elif not found.isfinite().all():
            yield f"{where}.{name} is not finite"
        elif name == "step" and not (0 <= found <= steps and found == found.round()):
            yield f"{where}.step is {float(found):g}, but {steps} steps are counted"


def _first_state(module: NoisyLabelModule, epoch: int) -> Mapping[str, Any] | None:
    """What the optimizer of an epoch keeps about a parameter of one element after a step; None if that cannot be told."""
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    try:
        optimizer, _ = make_optimizer(module.optim, module.phases, epoch, [parameter])
        optimizer.step()
    # An optimizer of one's own may need more than that.
    except Exception:
        return None
    return {name: value for name, value in optimizer.state[parameter].items() if value is not None}


def _course(
    stored: Mapping[str, Any], optimizer: torch.optim.Optimizer, schedules: list[LRScheduler], start: int
) -> Iterator[str]:
    """Say where schedules, and what optimizers use, differ from what the config's, as they are at the ``start`` of the phase,
    have come to after as many epochs.
    """
    for number, schedule in enumerate(schedules):
        state = stored["lr_schedulers"][number]
        done, before = state.get("last_epoch"), schedule.last_epoch
        due = before + stored["epoch"] - start
        if done not in (due, due + 1):
            yield f"lr_schedulers[{number}].last_epoch is {done!r} in epoch {stored['epoch']}"
            return
        with warnings.catch_warnings():
            # No step of the optimizer is taken.
            warnings.simplefilter("ignore")
            for _ in range(done - before):
                schedule.step()
        yield from _unequal(schedule.state_dict(), state, f"lr_schedulers[{number}]")
    groups = stored["optimizer_states"][0]["param_groups"]
    for number, (mine, theirs) in enumerate(zip(optimizer.state_dict()["param_groups"], groups)):
        yield from _unequal(mine, theirs, f"optimizer_states.param_groups[{number}]")


def _unequal(own: Any, stored: Any, where: str) -> Iterator[str]:
    """Say where numbers, texts and switches differ, by more than rounding; names that only one has are left open."""
    if isinstance(own, Mapping) and isinstance(stored, Mapping):
        # Milestones of a schedule are keys.
        if all(isinstance(name, int) for name in own) and own.keys() != stored.keys():
            yield f"{where} is {dict(stored)}, not {dict(own)}"
        for name in own.keys() & stored.keys():
            yield from _unequal(own[name], stored[name], f"{where}.{name}")
    elif isinstance(own, list | tuple) and isinstance(stored, list | tuple) and len(own) == len(stored):
        for number, (one, other) in enumerate(zip(own, stored)):
            yield from _unequal(one, other, f"{where}[{number}]")
    elif isinstance(own, list | tuple):
        yield f"{where} is {stored!r}, not {list(own)}"
    elif isinstance(own, int | float | Tensor) and not isinstance(own, bool):
        if not isinstance(stored, int | float | Tensor) or not math.isclose(own, stored, rel_tol=1e-6, abs_tol=1e-12):
            yield f"{where} is {stored!r}, not {own!r}"
    elif isinstance(own, bool | str | None) and own != stored:
        yield f"{where} is {stored!r}, not {own!r}"


def _rows(rows: Any) -> Iterator[str]:
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        yield "the metrics of earlier epochs are missing"
        return
    for number, row in enumerate(rows):
        if row.get("epoch") != number:
            yield f"the metrics of epoch {number} are those of epoch {row.get('epoch')!r}"
        for name, value in row.items():
            if not isinstance(name, str) or not isinstance(value, int | float) or isinstance(value, bool):
                yield f"{name} of epoch {number} is {_kind(value)}, not a number"


def _counts(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from _counts(item, f"{where}.{name}")
        # Each is counted before the next, and no second one is begun before the first is completed.
        counts = [value[name] for name in ("ready", "started", "processed", "completed") if name in value]
        if counts and "ready" in value and (counts != sorted(counts, reverse=True) or counts[0] - counts[-1] > 1):
            yield f"{where} counts {', '.join(map(str, counts))}"
    elif isinstance(value, int | float) and (value < 0 or not isinstance(value, int)):
        yield f"{where} is {value!r}, not a whole number from 0"


def _kind(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of {str(value.dtype).removeprefix('torch.')}"
    return "missing" if value is None else f"of type {type(value).__name__}"
