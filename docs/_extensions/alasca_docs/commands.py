"""The command reference: what each command says when it is asked for help."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

from alasca_docs.markdown import code, fenced


def pages(root: Path) -> dict[str, str]:
    """One page with the help of every command."""
    scripts = tomllib.loads((root / "pyproject.toml").read_text())["project"]["scripts"]
    parts = ["# Commands", "What each command prints for `--help`."]
    parts += [f"## {code(name)}\n\n{fenced(help_of(entry), 'text')}" for name, entry in scripts.items()]
    return {"commands": "\n\n".join(parts) + "\n"}


def help_of(entry: str) -> str:
    """Help of a command.

    Args:
        entry: Its function, as ``module:name``.

    Raises:
        RuntimeError: If the command fails.
    """
    module, _, function = entry.partition(":")
    command = f"import sys; from {module} import {function}; sys.argv = ['{function}', '--help']; {function}()"
    # A width that fits the page, and no colours.
    environment = {**os.environ, "COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"}
    done = subprocess.run(
        [sys.executable, "-c", command], capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise RuntimeError(f"{entry} --help ended with {done.returncode}: {done.stderr}")
    return done.stdout.strip("\n")
