"""What all commands share."""

import contextlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from alasca_pl.cli.refusals import one_line
from alasca_pl.core.errors import UserError
from alasca_pl.core.terminal import printable, say_text


@contextlib.contextmanager
def one_message() -> Iterator[None]:
    """End with one line and status 1 on mistakes that the user can put right."""
    try:
        yield
    except Exception as error:
        text = None if os.environ.get("HYDRA_FULL_ERROR") == "1" else mistake(error)
        if text is None:
            raise
        # Messages of Hydra have several lines.
        has_lines = isinstance(error, HydraException | FloatingPointError)
        _say_error(printable(text, lines=has_lines))


def mistake(error: BaseException) -> str | None:
    """What the user can put right, in words; None if it is nothing of that kind."""
    if isinstance(error, OmegaConfBaseException):
        return one_line(error)
    if isinstance(error, UserError | FloatingPointError | HydraException):
        return str(error)
    # Full and read-only disks, and folders that are gone, wherever something is read or written.
    if (
        isinstance(error, OSError)
        and not isinstance(error, BrokenPipeError)
        and isinstance(error.filename, str | bytes)
    ):
        return f"cannot use {os.fsdecode(error.filename)}: {error.strerror}"
    return None


def _say_error(text: str) -> NoReturn:
    sys.stdout.flush()
    say_text(f"error: {text}\n(HYDRA_FULL_ERROR=1 shows where it came from)", file=sys.stderr)
    sys.exit(1)


def plain_config(cfg: DictConfig) -> dict[str, Any]:
    """Resolve a composed config to plain containers."""
    return OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[return-value]


def config_dirs() -> list[str]:
    """Options of the command line that add folders of configs."""
    sources = HydraConfig.get().runtime.config_sources
    return [word for source in sources if source.provider == "command-line" for word in ("--config-dir", source.path)]


def find_own_parts() -> None:
    """Let ``_target_`` name classes in files of the current folder, after all that is installed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def is_compiled(package: str) -> bool:
    """Whether a package has been imported before: many installers leave the compilation of its modules to the first import."""
    spec = importlib.util.find_spec(package)
    return spec is None or spec.cached is None or Path(spec.cached).is_file()


# Loggers of libraries that give tips and remarks.
CHATTY = ("lightning.pytorch", "lightning.fabric", "matplotlib")


def quieten() -> None:
    """Keep tips and remarks of libraries out of the log; warnings stay."""
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # A resumed run writes into its own folder.
    warnings.filterwarnings("ignore", message=r"Checkpoint directory .* exists and is not empty")
    # Lightning's own use of torch, nothing that a user could change.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")


def parse_words(arguments: Sequence[str], known: Sequence[str], command: str) -> tuple[list[str], dict[str, str]]:
    """Tell places from options of the form ``NAME=VALUE``; what exists as a file is a place.

    Raises:
        UserError: If an option is unknown or given twice.
    """
    places: list[str] = []
    options: dict[str, str] = {}
    for item in arguments:
        name, equals, value = item.partition("=")
        if Path(item).exists() or not equals:
            if item.startswith("-"):
                raise UserError(f"unknown option {item}; see {command} --help")
            places.append(item)
        elif name not in known:
            raise UserError(f"unknown option {name}=; choose from {', '.join(known) or 'none'}; see {command} --help")
        elif name in options:
            raise UserError(f"{name}= is given twice")
        else:
            options[name] = value
    return places, options


def places_and_options(
    arguments: Sequence[str], known: Sequence[str], command: str
) -> tuple[list[str], dict[str, str]]:
    """Tell places of runs from options.

    Raises:
        UserError: If an option is unknown or given twice, or no place is given.
    """
    places, options = parse_words(arguments, known, command)
    if not places:
        raise UserError(f"{command} needs a folder, a sweep or a file; see {command} --help")
    return places, options


def question_values(options: Mapping[str, str]) -> dict[str, Any]:
    """Options of a command line that choose rows, columns and runs, as ``report.grid.Question`` takes them.

    Raises:
        UserError: If ``where`` holds no pairs.
    """
    # Imported late, so that help answers at once.
    from alasca_pl.report.collection import split_keys

    values: dict[str, Any] = {
        name: split_keys(options[name]) for name in ("rows", "cols", "allow", "against") if name in options
    }
    if "where" in options:
        values["where"] = tuple(_pair(item) for item in split_keys(options["where"]))
    return values


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"where={text} is no KEY=VALUE")
    return key, value


def words_or_help(text: str) -> list[str]:
    """Words of the command line; none, after printing the help, if there are none or help is asked for."""
    words = sys.argv[1:]
    if words and not any(word in ("-h", "--help") for word in words):
        return words
    say_text(text)
    return []


def checkpoint_name(options: Mapping[str, str]) -> str:
    """Read the option ``checkpoint``.

    Raises:
        UserError: If it is neither ``last`` nor ``best``.
    """
    name = options.get("checkpoint", "last")
    if name not in ("last", "best"):
        raise UserError(f"unknown checkpoint={name}; choose one of last, best")
    return name


def flag(name: str, text: str) -> bool:
    """Read an option that is ``true`` or ``false``.

    Raises:
        UserError: If it is neither.
    """
    if text not in ("true", "false"):
        raise UserError(f"{name}={text} is neither true nor false")
    return text == "true"
