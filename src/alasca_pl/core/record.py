"""The record of a run: config, environment and results, as ``record.json``."""

import dataclasses
import datetime
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from alasca_pl.core.checksum import sealed, unsealed
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import parse_json, write_json

SCHEMA = 1
"""Version of the schema. It increases when a field changes its meaning or goes; fields with a default may be added."""

Status = Literal["running", "finished", "failed", "interrupted"]


def now() -> str:
    """The time with zone, to the second."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


@dataclass
class DataRecord:
    """The data set.

    Attributes:
        name: Name of the data set.
        sizes: Number of samples by split.
        num_classes: K.
        image_shape: (C, H, W).
        class_names: One per class.
        sha256: Hash of the training images, see ``PreparedData.data_digest``.
        skipped: Number of images that could not be read and were left out.
        clean_splits: Test splits that were measured against labels known to be clean; None in records of earlier versions.
    """

    name: str
    sizes: dict[str, int]
    num_classes: int
    image_shape: list[int]
    class_names: list[str]
    sha256: str
    skipped: int = 0
    clean_splits: list[str] | None = None


@dataclass
class NoiseRecord:
    """Noisy labels of one split.

    Attributes:
        kind: ``symmetric``, ``asymmetric``, ...; ``none`` for labels as the data set has them.
        rate: Nominal noise rate, or None.
        realised_rate: Fraction of labels that differ from the clean ones, or None if unknown.
        seed: Seed of the draw, or None.
        sha256: Hash of the observed labels and their positions.
        planted: Number of labels in which an error was planted on purpose.
    """

    kind: str
    rate: float | None
    realised_rate: float | None
    seed: int | None
    sha256: str
    planted: int = 0


@dataclass
class SessionRecord:
    """One session of training; a run that was interrupted has several.

    Attributes:
        started: Time with zone.
        resumed_from: Checkpoint, or None.
        seconds: How long it took, or None while it runs.
    """

    started: str
    resumed_from: str | None = None
    seconds: float | None = None


@dataclass
class RunRecord:
    """Everything that is known about a run except its metrics by epoch.

    Attributes:
        status: ``running``, ``finished``, ``failed`` or ``interrupted``.
        folder: Where the run is kept.
        started: Time with zone.
        seed: The run's seed.
        split_seed: Seed of the split.
        data: The data set.
        noise: Labels of the training split.
        val_noise: Labels of the validation split, or None without one.
        oracle: Slots that were told the true noise rate.
        predict: How heads and networks become one prediction.
        versions: Of Python and packages.
        git: Revision of the source tree and whether it was changed, or None.
        hardware: Processor, threads, accelerators.
        processes: Number of processes.
        precision: As the trainer reports it.
        overrides: The command's overrides.
        config_dirs: The command's options that add folders of configs.
        choices: Chosen option of every config group.
        constants: Names of the constants of the method that were applied, see ``cli.constants``.
        config: The resolved config.
        digest: Of what can change the result, see ``core.experiment.job_digest``; sweeps identify a run by it.
        sessions: Sessions of training.
        ended: Time with zone, or None.
        duration_seconds: Time spent training, without work that interruptions lost.
        peak_memory_mb: Largest memory by device.
        problem: Why the run failed, or None.
        metrics: Figures of the run, see ``report.summary.summarise``.
        initial_weights: SHA-256 of each network as it was before training, without its auxiliary heads. Empty in records of
            earlier versions, as are the next three.
        constants_set: Names of the values that the applied constants set.
        train_split: SHA-256 of the positions of the training samples in the data set.
        parameters: Numbers of trained parameters of one network: ``main`` and ``aux_heads``.
        flops: Floating-point operations of one network's forward pass for one image, a multiplication and an addition counted as
            two: ``main`` and ``aux_heads``. Empty in records of earlier versions.
        cut: What ended training before its last epoch was done, and where, or None. Also None in records of earlier versions.
        estimated_noise: Fraction of the training labels that are estimated to be wrong, with the ends of an interval, see
            ``audit.count``; None where clean labels are known, and in records of earlier versions.
        inactive: Slots whose part left the run as it is without it, with the reason, see ``training.inactive``. Empty in records
            of earlier versions.
        schema: Version of this schema.
    """

    status: Status
    folder: str
    started: str
    seed: int
    split_seed: int | None
    data: DataRecord
    noise: NoiseRecord
    val_noise: NoiseRecord | None
    oracle: list[str]
    predict: dict[str, str]
    versions: dict[str, str]
    git: dict[str, Any] | None
    hardware: dict[str, Any]
    processes: int
    precision: str
    overrides: list[str] = field(default_factory=list)
    config_dirs: list[str] = field(default_factory=list)
    choices: dict[str, Any] = field(default_factory=dict)
    constants: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    sessions: list[SessionRecord] = field(default_factory=list)
    ended: str | None = None
    duration_seconds: float | None = None
    peak_memory_mb: dict[str, int] = field(default_factory=dict)
    problem: str | None = None
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    initial_weights: list[str] = field(default_factory=list)
    constants_set: list[str] = field(default_factory=list)
    train_split: str | None = None
    parameters: dict[str, int] = field(default_factory=dict)
    flops: dict[str, int] = field(default_factory=dict)
    cut: str | None = None
    estimated_noise: list[float] | None = None
    inactive: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    def write(self, path: Path) -> None:
        """Write the record as JSON with its checksum, atomically."""
        write_json(path, sealed(dataclasses.asdict(self)))

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Read what ``write`` wrote.

        Raises:
            UserError: If the file cannot be read, is damaged, or follows another schema.
        """
        try:
            content = parse_json(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"cannot read {path}, it is missing or damaged: {error}") from error
        return cls.from_plain(content, str(path))

    @classmethod
    def from_plain(cls, content: Any, where: str) -> "RunRecord":
        """Make a record of what its JSON holds.

        Args:
            content: Plain containers.
            where: What messages call the source.

        Raises:
            UserError: If it is damaged or follows another schema.
        """
        try:
            content = unsealed(content)
        except ValueError as error:
            raise UserError(f"{where} is damaged: {error}") from error
        schema = content.get("schema") if isinstance(content, dict) else None
        if schema != SCHEMA:
            raise UserError(
                f"{where} follows schema {schema!r} of records, this version of alasca_pl reads schema {SCHEMA}; "
                "use the version that wrote it"
            )
        try:
            return _from_plain(cls, content, "")
        except ValueError as error:
            raise UserError(f"{where} is damaged: {error}") from error


def listed_by_reason(inactive: Iterable[tuple[str, Mapping[str, str]]]) -> dict[str, list[str]]:
    """List runs by what did not act in them.

    Args:
        inactive: Names of runs with ``RunRecord.inactive``.

    Returns:
        Names by a sentence that says what did not act, and why.
    """
    found: dict[str, list[str]] = {}
    for name, slots in inactive:
        for slot, reason in slots.items():
            found.setdefault(f"{slot} did not act: {reason}", []).append(name)
    return found


def _from_plain(kind: Any, value: Any, where: str) -> Any:
    """Convert plain containers to a value of an annotated type and check every entry.

    Raises:
        ValueError: If an entry is missing, unknown or of another type; the message names it.
    """
    if dataclasses.is_dataclass(kind):
        return _dataclass_from_plain(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        fitting = [one for one in arguments if _fits(one, value)]
        if fitting:
            return _from_plain(fitting[0], value, where)
    elif origin is list and isinstance(value, list):
        return [_from_plain(arguments[0], item, f"{where}[{number}]") for number, item in enumerate(value)]
    elif origin is dict and isinstance(value, dict):
        return {name: _from_plain(arguments[1], item, f"{where}.{name}".lstrip(".")) for name, item in value.items()}
    elif _fits(kind, value):
        return float(value) if kind is float else value
    raise ValueError(f"{where} is {value!r}, expected {getattr(kind, '__name__', kind)}")


def _dataclass_from_plain(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where or 'the file'} is {value!r}, expected a mapping")
    hints = get_type_hints(kind)
    fields = {one.name: one for one in dataclasses.fields(kind)}
    unknown = sorted(value.keys() - fields.keys())
    needed = [
        name
        for name, one in fields.items()
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in needed if name not in value]
    for what, names in (("unknown", unknown), ("missing", missing)):
        if names:
            raise ValueError(f"{what} entries {', '.join(f'{where}.{name}'.lstrip('.') for name in names)}")
    return kind(**{name: _from_plain(hints[name], item, f"{where}.{name}".lstrip(".")) for name, item in value.items()})


def _fits(kind: Any, value: Any) -> bool:
    """Whether a plain value may become one of this type, by its outermost layer."""
    if kind is Any:
        return True
    if kind is types.NoneType or kind is None:
        return value is None
    if dataclasses.is_dataclass(kind) or get_origin(kind) is dict:
        return isinstance(value, dict)
    if get_origin(kind) is list:
        return isinstance(value, list)
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    return isinstance(value, (int, float) if kind is float else kind)
