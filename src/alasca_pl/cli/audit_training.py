"""The run that ``alasca-audit data=...`` audits: trained by this command, unless it is there."""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from alasca_pl.cli.arguments import quote_paths, text_of
from alasca_pl.cli.common import parse_words
from alasca_pl.cli.places import OWN_DATA, data_word
from alasca_pl.core.errors import UserError
from alasca_pl.core.interrupts import Interrupted
from alasca_pl.core.overrides import option_name, quoted
from alasca_pl.core.record import RunRecord
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.terminal import say
from alasca_pl.sweeps.process import job_environment

_FOLDER = "hydra.run.dir"
# What would train something else than one new run.
_REFUSED = ("-m", "--multirun", "--explain", "ckpt_path")


def names_data(arguments: Sequence[str]) -> bool:
    """Whether words are options of ``alasca-train`` rather than the folder of a run."""
    first = arguments[0]
    return "=" in first and not Path(first).exists() and any(word.startswith("data=") for word in arguments)


def own_options(
    arguments: Sequence[str], known: Sequence[str], command: str = "alasca-audit data=..."
) -> tuple[list[str], dict[str, str]]:
    """Tell options of ``alasca-train`` from those of another command that takes them, too.

    Args:
        arguments: The command's words.
        known: Names of the command's options; those of the group data belong to the training.
        command: The command, for messages.

    Raises:
        UserError: If a word would not train one run, or an option of the command is given twice.
    """
    name = command.split()[0]
    for word in arguments:
        if option_name(word) in _REFUSED:
            raise UserError(f"{command} trains one new run and takes no {word}; see {name} --help")
    names = [one for one in known if not one.startswith("data.")]
    mine = [word for word in arguments if "=" in word and word.partition("=")[0] in names]
    return [word for word in arguments if word not in mine], parse_words(mine, names, name)[1]


def trained(arguments: Sequence[str], trust: bool) -> tuple[RunFolder, bool]:
    """Train a run in a folder that follows from the data, or find it there.

    With data of one's own and no recipe the recipe is ``quick``. An interrupted run goes on.

    Args:
        arguments: Options of ``alasca-train``.
        trust: Go on with a run that calls classes from outside this package.

    Returns:
        The run's folder, and whether anything was trained.

    Raises:
        UserError: If the folder holds a run of other options.
        SystemExit: If training fails; its own message has been printed.
    """
    values = {option_name(word): text_of(word) for word in arguments if "=" in word}
    words = [word for word in arguments if option_name(word) != _FOLDER]
    if "recipe" not in values and values["data"] in OWN_DATA:
        words.append("recipe=quick")
    word = data_word(values["data"], values.get("data.path"), values.get("data.root"))
    folder = RunFolder(values.get(_FOLDER) or f"runs/{word}_audit")
    say(f"run: {folder.path}")
    command = [*words, f"{_FOLDER}={quoted(str(folder.path))}"]
    if folder.record.is_file():
        record = RunRecord.read(folder.record)
        _check_options(folder, record, words)
        if record.status == "finished":
            return folder, False
        if folder.last.is_file():
            # The checkpoint knows the other options.
            command = [f"ckpt_path={quoted(str(folder.last))}", *(["trust=true"] if trust else [])]
    code = _run([sys.executable, "-P", "-m", "alasca_pl.cli", *command])
    if code:
        sys.exit(code)
    return folder, True


def _check_options(folder: RunFolder, record: RunRecord, words: Sequence[str]) -> None:
    """Refuse a run that was trained with other options than those asked for, in any order."""
    asked = [word for word in quote_paths(words) if not word.startswith(("-", "hydra"))]
    there = [word for word in record.overrides if not word.startswith("ckpt_path=")]
    if sorted(asked) != sorted(there):
        raise UserError(
            f"{folder.path} holds a run of {shlex.join(there)}; {shlex.join(['alasca-audit', str(folder.path)])} audits it, "
            f"{_FOLDER}=DIR trains another one"
        )


def _run(command: Sequence[str]) -> int:
    process = subprocess.Popen(command, env=job_environment(threads=None, devices=None))
    try:
        return process.wait()
    except Interrupted as stop:
        # It saves what it has; after Ctrl-C it has had the signal already.
        process.terminate()
        process.wait()
        stop.advice = "the same command goes on"
        raise
