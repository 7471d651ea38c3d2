"""Configs of jobs that were composed before, so that a long sweep answers at once."""

import hashlib
import json
import os
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from alasca_pl.core.experiment import identity
from alasca_pl.core.files import parse_json, write_json

_FILE = "composed.json"
_ENVIRONMENT = re.compile(r"oc\.env:\s*([A-Za-z_][A-Za-z_0-9]*)")


class ComposedJobs:
    """Remembers what overrides give, as long as nothing changes that they are composed from.

    Args:
        sweep: Folder of the sweep.
        sources: Folders of configs.
        settings: Overrides that all jobs share.
    """

    def __init__(self, sweep: Path, sources: Sequence[Path], settings: Sequence[str]) -> None:
        self._path = sweep / _FILE
        self._key = _fingerprint(sources, settings)
        self._changed = False
        self._jobs: dict[str, Any] = {}
        try:
            content = parse_json(self._path.read_text())
            if content["key"] == self._key:
                self._jobs = dict(content["jobs"])
        except (OSError, ValueError, KeyError, TypeError):
            # A damaged file is composed again.
            self._jobs = {}

    def get(self, overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Config and choices of a job, if they are known."""
        found = self._jobs.get(json.dumps(list(overrides)))
        return (found["config"], found["choices"]) if isinstance(found, dict) else None

    def put(self, overrides: Sequence[str], config: dict[str, Any], choices: dict[str, Any]) -> None:
        """Remember a job, unless its overrides refer to what may change, or a recipe looks at images."""
        if any("${" in item for item in overrides) or choices.get("recipe"):
            return
        # Keys become strings in JSON, which makes no difference to what identifies a job; other values might.
        content = json.loads(json.dumps({"config": config, "choices": choices}, default=str))
        if identity(content["config"]) == identity(config):
            self._jobs[json.dumps(list(overrides))] = content
            self._changed = True

    def save(self) -> None:
        """Write what is known, if it is more than before."""
        if self._changed:
            write_json(self._path, {"key": self._key, "jobs": self._jobs})


def _fingerprint(sources: Sequence[Path], settings: Sequence[str]) -> str:
    """Digest of everything that configs are composed from: files, packages, folder, environment."""
    facts: list[Any] = [str(Path.cwd()), list(settings)]
    for package in ("alasca-pl", "hydra-core", "omegaconf"):
        try:
            facts.append(version(package))
        except PackageNotFoundError:
            facts.append(None)
    names = set()
    for source in sources:
        for file in sorted(source.rglob("*.yaml")):
            text = file.read_text()
            names |= set(_ENVIRONMENT.findall(text))
            facts.append([str(file), hashlib.sha256(text.encode()).hexdigest()])
    facts += [[name, os.environ.get(name)] for name in sorted(names)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
