"""``alasca-sweep``."""

import sys
from pathlib import Path

from alasca_pl.cli.common import one_message
from alasca_pl.core.errors import UserError
from alasca_pl.core.terminal import say_text

_HELP = """\
alasca-sweep: look at sweeps of alasca-train -m sweep=NAME, and carry their records elsewhere.

  alasca-sweep status NAME           one line per job
  alasca-sweep failures NAME         reason and last lines of each failed job
  alasca-sweep retry NAME            let jobs that failed too often be tried again by the line that made the sweep
  alasca-sweep prune NAME            drop the checkpoints of finished jobs, keep their records
  alasca-sweep export NAME FILE      write the records of finished jobs to one JSON file
  alasca-sweep import NAME FILE...   take such records for finished jobs of the sweep

NAME is a folder in sweeps, or the path of one.

Examples:
  alasca-train -m sweep=digits method=ce,elr alasca=none,digits seed=0,1,2
  alasca-sweep status digits
  alasca-sweep export digits digits.json"""


def sweep() -> None:
    """``alasca-sweep``: look at a sweep, and carry its records elsewhere."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        say_text(_HELP)
        return
    with one_message():
        say_text(_answer(arguments[0], arguments[1:]))


def _answer(command: str, words: list[str]) -> str:
    from alasca_pl.sweeps import overview, transfer
    from alasca_pl.sweeps.folders import check_name, sweep_folder

    known = ("status", "failures", "retry", "prune", "export", "import")
    if command not in known:
        raise UserError(f"unknown command {command!r}; choose one of {', '.join(known)}, or alasca-sweep --help")
    needed = {"export": 2, "import": 2}.get(command, 1)
    if len(words) < needed or (len(words) > needed and command != "import"):
        raise UserError(
            f"alasca-sweep {command} takes {'NAME and FILE' if needed == 2 else 'NAME'}; see alasca-sweep --help"
        )
    name, files = words[0], [Path(word) for word in words[1:]]
    if command == "import":
        folder = Path(name) if Path(name).is_dir() else Path("sweeps") / check_name(name)
        counts = [transfer.import_records(folder, file) for file in files]
        new, known = (sum(column) for column in zip(*counts))
        return f"{new} jobs added to {folder}; {known} were there already"
    folder = sweep_folder(name)
    if command == "export":
        return f"{transfer.export_records(folder, files[0])} finished jobs written to {files[0]}"
    if command == "prune":
        return f"{transfer.prune(folder) / 1e6:.1f} MB of checkpoints dropped"
    if command == "retry":
        return f"{transfer.retry(folder)} failed jobs will be tried again by the line that made the sweep"
    return overview.failures(folder) if command == "failures" else overview.status(folder)
