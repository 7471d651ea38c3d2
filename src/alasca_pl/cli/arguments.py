"""Arguments of commands before Hydra reads them."""

from collections.abc import Sequence
from pathlib import Path

from alasca_pl.core.errors import UserError
from alasca_pl.core.record import RunRecord
from alasca_pl.core.run_folder import RunFolder

_PATHS = (
    "ckpt_path", "output", "plot", "data.root", "data.path", "data.extract_to", "noise.path", "noise.root",
    "noise.like.path", "noise.like.root", "hydra.run.dir", "hydra.sweep.dir",
)  # fmt: skip


def quoted(value: str) -> str:
    """Quote a value for Hydra's grammar."""
    escaped = value.replace("'", "\\'")
    return f"'{escaped}'"


def unquoted(override: str) -> str:
    """Undo ``quote_paths``, which will be applied again."""
    name, _, value = override.partition("=")
    if name in _PATHS and len(value) > 1 and value[0] == value[-1] == "'":
        value = value[1:-1].replace("\\'", "'")
        return f"{name}={value}"
    return override


def quote_paths(arguments: Sequence[str]) -> list[str]:
    """Quote values that are paths, so that Hydra takes blanks, commas, brackets and accents in them as they are."""
    if any(item in ("-m", "--multirun") for item in arguments):
        # There a comma separates values.
        return list(arguments)
    result = []
    for item in arguments:
        name, _, value = item.partition("=")
        plain = not value or value == "null" or value[0] in "'\"" or "${" in value
        result.append(item if name not in _PATHS or plain else f"{name}={quoted(value)}")
    return result


def resume_arguments(arguments: Sequence[str]) -> list[str]:
    """Complete a command that resumes a run: its own overrides first, its own folder for the output.

    Args:
        arguments: The command's arguments.

    Returns:
        The arguments as they are, unless one of them is ``ckpt_path=RUN/checkpoints/NAME.ckpt``.

    Raises:
        UserError: If that names no run.
    """
    given = [item.split("=", 1)[1] for item in arguments if item.startswith("ckpt_path=")]
    if not given or given[-1] in ("", "null"):
        return list(arguments)
    checkpoint = Path(given[-1].strip("'\"").replace("\\'", "'")).resolve()
    if not checkpoint.is_file():
        raise UserError(f"no checkpoint {checkpoint}; give ckpt_path=RUN/checkpoints/last.ckpt of an existing run")
    folder = RunFolder.of_checkpoint(checkpoint)
    record = RunRecord.read(folder.record) if folder.record.is_file() else None
    saved = record.overrides if record else []
    config_dirs = record.config_dirs if record and "--config-dir" not in arguments else []
    new_names = {option_name(item) for item in arguments}
    kept = [item for item in saved if option_name(item) not in new_names and option_name(item) != "ckpt_path"]
    own = [] if "hydra.run.dir" in new_names else [f"hydra.run.dir={quoted(str(folder.path))}"]
    return [*config_dirs, *kept, *arguments, *own]


def without_launchers(arguments: Sequence[str]) -> list[str]:
    """Leave out what Lightning appends to the arguments of the ranks that it starts.

    It writes the folder between double quotes as it is, which not every name survives; the first rank's arguments name it.
    """
    if len(arguments) >= 3 and arguments[-2].startswith("hydra.job.name=train_ddp_process_"):
        return list(arguments[:-3])
    return list(arguments)


def option_name(override: str) -> str:
    """Name of the option that an override sets."""
    return override.split("=", 1)[0].lstrip("+~")
