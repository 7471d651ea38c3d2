"""What Hydra cannot compose, said in one line that names the option and what it may be."""

import contextlib
import io
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import (
    CompactHydraException,
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, InterpolationResolutionError, MissingMandatoryValue

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.config_files import parsed_once
from alasca_pl.core.errors import UserError, did_you_mean
from alasca_pl.core.run_folder import RunFolder

# What people look for in a group, by the names that Lightning has for it.
_ELSEWHERE = {
    "callbacks/early_stopping": "early_end.patience=10 ends a run after 10 epochs without a better validation accuracy",
    "callbacks/model_checkpoint": "each run keeps its last and its best checkpoint; "
    "checkpoint.every_n_steps=... writes the last one within epochs, too",
}

# Status with which a parser of arguments ends a command.
_USAGE = 2


class _Held(io.TextIOBase):
    """Keeps what is written until it is released, and passes it on from then on."""

    def __init__(self, stream: TextIO, until: contextlib.ExitStack) -> None:
        self._stream, self._kept, self._until, self.released = stream, io.StringIO(), until, False

    def write(self, text: str) -> int:
        return (self._stream if self.released else self._kept).write(text)

    def flush(self) -> None:
        if self.released:
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def kept(self) -> str:
        """What is held back."""
        return self._kept.getvalue()

    def release(self, drop: bool = False) -> None:
        if not self.released:
            self.released = True
            self._until.close()
            self._stream.write("" if drop else self._kept.getvalue())
        if sys.stderr is self:
            sys.stderr = self._stream


@contextlib.contextmanager
def in_one_line(arguments: Sequence[str]) -> Iterator[None]:
    """Around a call of a function of ``hydra.main``: raise what Hydra cannot compose, instead of its own listing.

    Args:
        arguments: The command's arguments.

    Raises:
        UserError: If Hydra ends the command before ``composed`` is called.
    """
    # Hydra prints its message and exits; the error is the context of that exit.
    composing = contextlib.ExitStack()
    composing.enter_context(parsed_once())
    held = _Held(sys.stderr, composing)
    sys.stderr = held
    try:
        yield
    except SystemExit as stop:
        error = stop.__context__
        if isinstance(error, Exception) and not held.released:
            held.release(drop=True)
            raise UserError(one_line(error, arguments)) from error
        if stop.code == _USAGE and not held.released:
            # Of a usage of eight lines, what is wrong is the last one.
            wrong = held.kept.strip().rpartition(": error: ")[2]
            held.release(drop=True)
            raise UserError(f"{wrong}; options are of the form NAME=VALUE, and --help tells more") from stop
        raise
    finally:
        held.release()


def composed() -> None:
    """Say that Hydra has composed its config, so that messages appear at once from now on."""
    if isinstance(sys.stderr, _Held):
        sys.stderr.release()


def one_line(error: BaseException, arguments: Sequence[str] = ()) -> str:
    """What is wrong with options, with names that are close and the choices that there are.

    Args:
        error: An error of Hydra or OmegaConf.
        arguments: Arguments of the command, or overrides.
    """
    folders = [
        CONF_DIR,
        *(Path(word) for option, word in itertools.pairwise(arguments) if option in ("--config-dir", "-cd")),
    ]
    cause = error.__cause__ if isinstance(error, ConfigCompositionException) else error
    if isinstance(error, MissingMandatoryValue) and getattr(error, "full_key", None):
        return f"{error.full_key} has no value; give it as {error.full_key}=..."
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_file(error)
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and cause.full_key:
        return _unknown_option(str(cause.full_key), cause.parent_node, folders)
    empty = next((item for item in arguments if _chooses_no_file(item, folders)), None)
    if empty and isinstance(error, ValueError) and "group override" in str(error):
        group = empty.partition("=")[0]
        none = f"{group}=none chooses none; " if "none" in _choices(group, folders) else ""
        return (
            f"{empty} chooses no file of the group {group}; {none}choose one of {', '.join(_choices(group, folders))}"
        )
    if isinstance(error, InterpolationResolutionError) and "is not a container" in str(error):
        # A value of a node that was switched off.
        node = str(error).partition("node `")[2].partition("`")[0]
        return f"{error.full_key} takes its value from {node}, which has none; give {error.full_key}=..., too"
    nameless = next((item for item in arguments if item.startswith("=")), None)
    if nameless:
        return f"{nameless} has no name before =; options are of the form NAME=VALUE"
    if isinstance(error, OverrideParseException) and "=" not in error.override:
        return _bare_word(error.override)
    if type(error) is CompactHydraException:
        return str(error)
    # Hydra hides what OmegaConf says behind an error without a text.
    while not str(error).strip() and error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else type(error).__name__
    name = str(getattr(error, "full_key", None) or "")
    return said if name in said else f"{name}: {said}"


def _chooses_no_file(item: str, folders: Sequence[Path]) -> bool:
    """Whether an option gives a group something that is not a name: null, a number, a mapping."""
    group, _, value = item.partition("=")
    if not value or not _choices(group, folders):
        return False
    with contextlib.suppress(HydraException):
        return not isinstance(OverridesParser.create().parse_override(item).value(), str | list)
    return False


def _bare_word(word: str) -> str:
    """What is said of a word that is no option, such as the folder that an option was to name."""
    run = RunFolder(word)
    if run.record.is_file():
        meant = f"; ckpt_path={word} names that run"
    elif run.path.is_dir():
        meant = f"; {_own_images(word)}"
    else:
        meant = ""
    return f"{word} is no option; options are of the form NAME=VALUE{meant}"


def _own_images(folder: str) -> str:
    return f"data=folder data.root={folder} takes the images in that folder"


def _missing_file(error: MissingConfigException) -> str:
    missing, options = str(error.missing_cfg_file), [str(one) for one in error.options or ()]
    name = missing.rpartition("/")[2]
    listed = f"; choose one of {', '.join(options)}" if options else ""
    if missing in _ELSEWHERE:
        return f"there is no config {missing}; {_ELSEWHERE[missing]}"
    folder = missing.removeprefix("data/")
    own = f"; {_own_images(folder)}" if folder != missing and Path(folder).is_dir() else ""
    return f"there is no config {missing}{did_you_mean(name, options)}{listed}{own}"


def _unknown_option(name: str, parent: Any, folders: Sequence[Path]) -> str:
    group, _, last = name.rpartition(".")
    known = {str(key) for key in parent} if isinstance(parent, DictConfig) and not parent._is_none() else set()
    top = not group
    known |= {entry.name for folder in folders for entry in folder.glob("[!_.]*/") if entry.is_dir()} if top else set()
    known -= {"hydra", "applied_constants"} if top else set()
    near = did_you_mean(last, sorted(known))
    elsewhere = _places_of(last, parent) if top and isinstance(parent, DictConfig) else []
    if elsewhere:
        return f"there is no option {name} (did you mean {' or '.join(elsewhere)}?)"
    choices = next((_choices(word, folders) for word in known if near == did_you_mean(last, [word])), []) if top else []
    listed = f"; choose one of {', '.join(choices)}" if near and choices else ""
    listed = f"; {group} has {', '.join(sorted(known))}" if known and not top else listed
    # Imported late, because it reads files.
    from alasca_pl.runs.early import allowed

    values = allowed(name, _nested(group, parent)) if known and not top else None
    if values is not None:
        # What the part takes and its yaml does not have; a resemblance to what it has would lead away.
        return f"there is no option {name} in this config; +{name}=... adds it, {values}"
    added = "" if near else f"; +{name}=... would add it"
    return f"there is no option {name}{near}{listed}{added}"


def _nested(path: str, node: Any) -> dict[str, Any]:
    """A config that has nothing but a node at its place."""
    inside = OmegaConf.to_container(node, resolve=False)
    for word in reversed(path.split(".")):
        inside = {word: inside}
    return inside  # type: ignore[return-value]


def _places_of(last: str, config: Any) -> list[str]:
    """Up to three options of that name within the groups of a config, those of the fewest dots first."""
    config = OmegaConf.to_container(config, resolve=False)
    found: list[str] = []
    nodes = [(group, node) for group, node in config.items() if group not in ("hydra", "constants", "suggested")]
    for place, node in nodes:
        if isinstance(node, dict):
            # An option that follows another one of that name is not the one to give.
            follows = node.get(last) in [f"${{{one}}}" for one in found]
            found += [f"{place}.{last}"] if last in node and not follows else []
            nodes += [(f"{place}.{key}", inner) for key, inner in node.items()]
    return found[:3]


def _choices(group: str, folders: Sequence[Path]) -> list[str]:
    """Files of a config group."""
    return sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")}) if group else []
