"""Checks that need neither data nor torch, so that a wrong value is reported at once."""

import contextlib
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from alasca_pl.build.make import make_part
from alasca_pl.build.rules import RULES
from alasca_pl.build.schema import allowed as allowed
from alasca_pl.build.schema import check_complete, check_values
from alasca_pl.core.errors import UserError, did_you_mean
from alasca_pl.core.experiment import differing_keys
from alasca_pl.core.extras import is_installed
from alasca_pl.core.files import check_new
from alasca_pl.core.paths import absolute_paths
from alasca_pl.core.record import RunRecord
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.data import places
from alasca_pl.models.timm_names import timm_problem
from alasca_pl.noise.model import NoiseModel

# Each is set by a way to start processes on several machines.
_CLUSTER = ("MASTER_ADDR", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "LSB_JOBID", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
# A word, a number or a list of numbers, as Lightning reads them.
_DEVICES = re.compile(r"auto|-1|\d+|\d+(\s*,\s*\d+)*,?")
_TIMM_ENCODER = "alasca_pl.models.encoder.TimmEncoder"
# Forms of an exported run with the ends of their files' names, and what the first one needs.
_SUFFIXES = {"onnx": ".onnx", "torch": ".pt2"}
_ONNX = ("onnx", "onnxscript", "onnxruntime")


def check_early(config: Mapping[str, Any]) -> None:
    """Check what can be checked before libraries are loaded, on any machine.

    Args:
        config: Resolved config as plain containers.

    Raises:
        UserError: If a value is wrong; the message says what and how to go on.
    """
    check_values(config)
    check_complete(config)
    _check_epochs(config)
    # Noise models know nothing of torch; those that read a file look for it.
    _check_encoders(config)
    make_part("noise", NoiseModel, absolute_paths(config["noise"]))


def timm_encoders(config: Any, place: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Nodes of encoders of timm with their names in the config.

    They are only made in the middle of a training, and not at all when a run is opened.
    """
    if isinstance(config, Mapping) and config.get("_target_") == _TIMM_ENCODER:
        yield place, config
    if isinstance(config, Mapping | list | tuple):
        for name, value in config.items() if isinstance(config, Mapping) else enumerate(config):
            yield from timm_encoders(value, f"{place}.{name}" if place else str(name))


def _check_encoders(config: Mapping[str, Any]) -> None:
    for _, node in timm_encoders(config):
        problem = timm_problem(node["name"], "an encoder of timm")
        if problem is not None:
            raise UserError(problem)


def _check_epochs(config: Mapping[str, Any]) -> None:
    trainer, epochs = config["trainer"], config["epochs"]
    # A run of a few batches per epoch is a test, which may also end early.
    if trainer.get("max_epochs") != epochs and trainer.get("limit_train_batches") is None:
        raise UserError(
            f"trainer.max_epochs={trainer.get('max_epochs')} and epochs={epochs}: schedules follow epochs, so training would "
            "end elsewhere; give epochs only"
        )


def check_devices(config: Mapping[str, Any]) -> None:
    """Check that this machine has what the run is to train on.

    Raises:
        UserError: If it surely has not.
    """
    if config["trainer"].get("accelerator") in ("gpu", "cuda") and not has_gpu():
        raise UserError("trainer asks for a GPU, but this machine has none; choose trainer=cpu")
    devices = config["trainer"].get("devices")
    if isinstance(devices, str) and not _DEVICES.fullmatch(devices):
        raise UserError(f"trainer.devices={devices}: give their number, a list as [0,1], or auto")
    nodes = config["trainer"].get("num_nodes") or 1
    if nodes > 1 and not any(name in os.environ for name in _CLUSTER):
        raise UserError(
            f"trainer.num_nodes={nodes}, but this process was not started by a cluster and would wait for the others for ever; "
            "start it with srun or torchrun, or set MASTER_ADDR and NODE_RANK on each node"
        )


def check_places(config: Mapping[str, Any]) -> None:
    """Raise ``UserError`` if data of one's own is not where the config says."""
    try:
        places.check_places(absolute_paths(config["data"]))
    except FileNotFoundError as error:
        raise UserError(str(error)) from None


def check_device(name: str) -> None:
    """Raise ``UserError`` unless a name is one of ``auto``, ``cpu`` and ``cuda``, and this machine may have it."""
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"unknown device {name!r}; choose one of auto, cpu, cuda")
    if name == "cuda" and not has_gpu():
        raise UserError("device is cuda, but this machine has no GPU; choose device=cpu")


def has_gpu() -> bool:
    """Whether there may be a GPU: only a machine that surely has none is refused."""
    if platform.system() != "Linux":
        return True
    return any(Path(place).exists() for place in ("/dev/nvidiactl", "/dev/nvidia0", "/dev/dxg", "/dev/kfd", "/dev/dri"))


def check_folder(folder: RunFolder, checkpoint: Path | None, config: Mapping[str, Any]) -> RunRecord | None:
    """Return the record of the run that is resumed or started again, or None.

    Args:
        folder: The folder, locked by this process.
        checkpoint: The checkpoint that the run goes on from.
        config: Its config, with the content of files.

    Raises:
        UserError: If the folder holds another run, or files that a run would overwrite.
    """
    elsewhere = "choose another folder with hydra.run.dir=..."
    if not folder.record.is_file():
        there = folder.would_overwrite()
        if there:
            raise UserError(f"{folder.path} holds {', '.join(there)}, which a run would overwrite; {elsewhere}")
        return None
    try:
        record = RunRecord.read(folder.record)
    except UserError as error:
        raise UserError(f"{error}; {elsewhere}") from error
    if checkpoint is not None and checkpoint.resolve().parent == folder.checkpoints.resolve():
        if checkpoint.name != folder.last.name:
            raise UserError(
                f"going on from {checkpoint.name} in its own folder would overwrite what came after it; "
                f"go on with ckpt_path={folder.last}, or give the branch a folder of its own with hydra.run.dir=..."
            )
        return record
    if record.status == "finished":
        longer = f", or train that run longer with ckpt_path={folder.path} epochs=..." if folder.last.is_file() else ""
        raise UserError(f"{folder.path} already holds a finished run; {elsewhere}{longer}")
    if checkpoint is None and not folder.last.is_file() and not differing_keys(record.config, config):
        # The lock is ours, so nobody trains it any more; there is nothing to lose.
        return record
    way_on = f"go on with ckpt_path={folder.last} or " if folder.last.is_file() else ""
    raise UserError(f"{folder.path} already holds a run with status {record.status!r}; {way_on}{elsewhere}")


def check_free(folder: RunFolder, checkpoint: Path | None) -> None:
    """Refuse a folder that surely cannot be used, before it is locked; ``check_folder`` says it for certain.

    Raises:
        UserError: See ``check_folder``.
    """
    if (folder.path / folder.lock_name).exists():
        # Someone is at work there, and what there is may change.
        return
    # A damaged record is refused below.
    with contextlib.suppress(UserError):
        if folder.record.is_file() and RunRecord.read(folder.record).status != "finished":
            return
    check_folder(folder, checkpoint, {})


def check_rule(rule: str | None) -> None:
    """Raise ``UserError`` unless a rule of prediction is known, or None for the run's own."""
    known = RULES["predict"]["rule"].words
    if rule is not None and rule not in known:
        raise UserError(f"unknown prediction rule {rule!r}; choose one of {', '.join(known)}")


def check_split(folder: RunFolder, split: str) -> None:
    """Raise ``UserError`` if a run's record is there, and its data have no such split."""
    try:
        record = RunRecord.read(folder.record) if folder.record.is_file() else None
    except UserError:
        # A run is opened without it.
        return
    if record is not None and record.data.sizes and split not in record.data.sizes:
        raise UserError(no_split(split, record.data.name, record.data.sizes))


def no_split(split: str, data: str | None, known: Iterable[str]) -> str:
    """What is said of a split that data do not have."""
    others = " or ".join(f"split={name}" for name in sorted(known, key=lambda name: name == "train"))
    return f"the data{f' {data}' if data else ''} have no split {split!r}; give {others}"


def check_export(folder: str | Path, form: str, output: str | Path | None = None, rule: str | None = None) -> Path:
    """Check what a run is to be exported as.

    Args:
        folder: The run's folder.
        form: ``onnx`` or ``torch``.
        output: The file; by default ``model.onnx`` or ``model.pt2`` in the folder.
        rule: See ``LoadedRun.classifier``.

    Returns:
        The file.

    Raises:
        UserError: If the form or the rule is unknown, the file exists, or a library is missing.
    """
    if form not in _SUFFIXES:
        raise UserError(f"unknown form {form!r}{did_you_mean(form, _SUFFIXES)}; choose one of {', '.join(_SUFFIXES)}")
    path = RunFolder(folder).path / f"model{_SUFFIXES[form]}" if output is None else Path(output).expanduser()
    check_rule(rule)
    check_new(path)
    missing = [name for name in _ONNX if form == "onnx" and not is_installed(name)]
    if missing:
        raise UserError(
            f"onnx needs {', '.join(missing)}; install what is missing with pip install 'alasca-pl[export]'"
        )
    return path
