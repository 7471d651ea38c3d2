"""Arguments of commands: read before Hydra reads them, and written such that Hydra reads the same."""

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from alasca_pl.core.errors import UserError
from alasca_pl.core.overrides import in_quotes, option_name, quoted
from alasca_pl.core.record import RunRecord
from alasca_pl.core.run_folder import RunFolder, find_checkpoint

# Options whose values are paths also if they look like a list or a choice, e.g. a folder named [1] or a,b.
_PATHS = (
    "ckpt_path", "output", "plot", "data.root", "data.path", "data.extract_to", "noise.path", "noise.root",
    "noise.like.path", "noise.like.root", "hydra.run.dir", "hydra.sweep.dir",
)  # fmt: skip
_MULTIRUN = ("-m", "--multirun")
# Options of Hydra's that take a value as the next word.
_WITH_VALUE = ("--config-dir", "-cd", "--config-name", "-cn", "--config-path", "-cp", "--cfg", "-c", "--package", "-p")


def unquoted(override: str) -> str:
    """Undo ``quote_paths``, which will be applied again when the command is typed."""
    name, _, value = override.partition("=")
    parsed = _parse(override) if value[:1] == "'" else None
    if parsed is None or not isinstance(parsed.value(), str):
        return override
    plain = f"{name}={parsed.value()}"
    return plain if quote_paths([plain]) == [override] else override


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """Quote values that Hydra would not take as they are, such as paths with blanks, commas, brackets or accents.

    Values that Hydra understands stay as they are. ``${`` stays an interpolation. A leading ``~`` of a path is expanded.
    """
    # With -m a comma separates values.
    multirun = any(item in _MULTIRUN for item in arguments)
    return [item if _is_option(arguments, place) else _quote(item, multirun) for place, item in enumerate(arguments)]


def ordered(arguments: Sequence[str]) -> list[str]:
    """Put options before overrides, which Hydra takes in one block only."""
    options = [item for place, item in enumerate(arguments) if _is_option(arguments, place)]
    return [*options, *(item for place, item in enumerate(arguments) if not _is_option(arguments, place))]


def take_flag(arguments: Sequence[str], name: str) -> tuple[bool, list[str]]:
    """Tell whether a flag is given as ``--name`` or ``name=true``, and the arguments without it.

    Raises:
        UserError: If it has another value than ``true`` or ``false``.

    Example:
        >>> take_flag(["--dry-run", "seed=1"], "dry_run"), take_flag(["explain=false"], "explain")
        ((True, ['seed=1']), (False, []))
    """
    word = f"--{name.replace('_', '-')}"
    values = [item.partition("=")[2].lower() for item in arguments if item.startswith(f"{name}=")]
    wrong = [value for value in values if value not in ("true", "false")]
    if wrong:
        raise UserError(f"{name}={wrong[0]} is neither true nor false")
    kept = [item for item in arguments if item != word and not item.startswith(f"{name}=")]
    return word in arguments or "true" in values[-1:], kept


def epoch_arguments(arguments: Sequence[str]) -> list[str]:
    """Write the number of epochs by its one name, ``epochs``, which schedules follow; ``compose_config`` lets the trainer follow.

    Raises:
        UserError: If both are given with different values.

    Example:
        >>> epoch_arguments(["trainer.max_epochs=5"])
        ['epochs=5']
    """
    given = {option_name(item): item.partition("=")[2] for item in arguments if "=" in item}
    epochs, other = given.get("epochs"), given.get("trainer.max_epochs")
    if other in (None, epochs, "${epochs}"):
        return list(arguments)
    if epochs is not None:
        raise UserError(f"epochs={epochs} and trainer.max_epochs={other} are one setting; give epochs only")
    return [f"epochs={other}" if option_name(item) == "trainer.max_epochs" else item for item in arguments]


def resume_arguments(arguments: Sequence[str]) -> list[str]:
    """Complete a command that resumes a run: its own overrides first, its own folder for the output.

    The overrides come from the checkpoint. A checkpoint from a stranger may hold any, so those that would call something
    from outside this package are refused unless ``trust=true`` is given, as when a run is opened. With ``replay=false`` the
    arguments are taken for all there is to say, as those of a sweep's jobs and of further ranks are.

    Args:
        arguments: The command's arguments.

    Returns:
        The arguments without ``trust`` and ``replay``, and otherwise as they are, unless one of them is
        ``ckpt_path=RUN/checkpoints/NAME.ckpt`` or ``ckpt_path=RUN``.

    Raises:
        UserError: If that names no run, or its overrides are refused.
    """
    trust, arguments = take_flag(arguments, "trust")
    replay, arguments = take_flag(["replay=true", *arguments], "replay")
    given = [item for item in arguments if item.startswith("ckpt_path=")]
    name = text_of(given[-1]) if given else None
    if not name or name == "null":
        return list(arguments)
    place = Path(name).expanduser().resolve()
    checkpoint = RunFolder(place).last if place.is_dir() else place
    if not checkpoint.is_file():
        _refuse_pruned(RunFolder.of_checkpoint(checkpoint))
    checkpoint = find_checkpoint(place)
    folder = RunFolder.of_checkpoint(checkpoint)
    kept, config_dirs = _replayed(arguments, checkpoint, trust) if replay else ([], [])
    others = [item for item in arguments if not item.startswith("ckpt_path=")]
    given_folder = any(option_name(item) == "hydra.run.dir" for item in arguments)
    own = [] if given_folder else [f"hydra.run.dir={quoted(str(folder.path))}"]
    return ordered([*config_dirs, *kept, *others, f"ckpt_path={quoted(str(checkpoint))}", *own])


def _refuse_pruned(folder: RunFolder) -> None:
    """Raise ``UserError`` if a run is finished and has no checkpoint any more."""
    try:
        is_finished = RunRecord.read(folder.record).status == "finished"
    except UserError:
        return
    if is_finished:
        raise UserError(
            f"this run is finished; its last checkpoint is gone, so it cannot be trained longer. Its result is in {folder.path} "
            f"({folder.record.name}, {folder.metrics.name})"
        )


def _replayed(arguments: Sequence[str], checkpoint: Path, trust: bool) -> tuple[list[str], list[str]]:
    """Return a checkpoint's overrides and folders of configs that arguments do not give anew."""
    # Imported late, because it needs torch.
    from alasca_pl.runs.resume import refuse_foreign_command, saved_command

    saved, config_dirs = saved_command(checkpoint)
    new_names = {option_name(item) for item in arguments}
    kept = [item for item in saved if option_name(item) not in new_names and option_name(item) != "ckpt_path"]
    config_dirs = [] if "--config-dir" in arguments else config_dirs
    if not trust:
        refuse_foreign_command(kept, config_dirs, checkpoint)
    return kept, config_dirs


def without_launchers(arguments: Sequence[str]) -> list[str]:
    """Leave out what Lightning appends to the arguments of the ranks that it starts.

    It writes the folder between double quotes as it is, which not every name survives; the first rank's arguments name it.
    """
    if len(arguments) >= 3 and arguments[-2].startswith("hydra.job.name=train_ddp_process_"):
        return list(arguments[:-3])
    return list(arguments)


def _is_option(arguments: Sequence[str], place: int) -> bool:
    return arguments[place].startswith("-") or (place > 0 and arguments[place - 1] in _WITH_VALUE)


def _parse(override: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _quote(item: str, multirun: bool) -> str:
    name, _, value = item.partition("=")
    is_path = name in _PATHS
    if is_path and value.startswith("~"):
        value = str(Path(value).expanduser())
        item = f"{name}={value}"
    if not value or value == "null" or value[0] in "'\"":
        return item
    parsed = _parse(item)
    if parsed is None:
        return f"{name}={in_quotes(value)}" if re.fullmatch(r"[+~]*[\w./@:-]+", name) else item
    if multirun or not is_path:
        return item
    plain = not parsed.is_sweep_override() and parsed.value() == value
    return item if plain else f"{name}={in_quotes(value)}"


def text_of(override: str) -> str:
    """The text that an override gives an option."""
    parsed = _parse(override)
    value = override.partition("=")[2] if parsed is None or parsed.is_sweep_override() else parsed.value()
    return re.sub(r"(\\*)\\\$\{", lambda match: match.group(1)[: len(match.group(1)) // 2] + "${", str(value or ""))
