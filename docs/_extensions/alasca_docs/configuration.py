"""The configuration reference: every group, every key with its default, what it may be and what its comment says."""

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from alasca_docs.commented_yaml import CommentedYaml, read
from alasca_docs.markdown import class_link, code, escaped, fenced, table
from alasca_pl.build.schema import allowed

# Keys that are shown otherwise than in the table.
_APART = ("defaults", "constants")
_TITLES = {"train": "alasca-train", "evaluate": "alasca-evaluate", "noise_command": "alasca-noise"}


def pages(root: Path) -> dict[str, str]:
    """A page for each command's own config and for each group, and the list of them."""
    conf = root / "conf"
    groups = sorted({str(path.parent.relative_to(conf)) for path in conf.rglob("*.yaml")} - {"."})
    made = {f"configuration/{name}": _command_page(conf, name, title) for name, title in _TITLES.items()}
    made |= {f"configuration/{_page_name(group)}": _group_page(conf, group) for group in groups}
    rows = [
        [f"[{code(group)}]({_page_name(group)}.md)", ", ".join(code(path.stem) for path in _choices(conf, group))]
        for group in groups
    ]
    listed = "\n".join([*_TITLES, *map(_page_name, groups)])
    intro = (
        "Every value that a config has, with its default, what it may be, and the comment beside it in `conf/`. "
        "`alasca-train --explain ...` prints the values of one run with the file or option that set each of them.\n\n"
        "Values that all runs have are in [alasca-train](train.md). A *group* is a choice between files, e.g. `data=cifar10`; "
        "the chosen file adds its values or overrides those of `alasca-train`."
    )
    made["configuration/index"] = (
        f"# Configuration\n\n{intro}\n\n{table(['group', 'choices'], rows)}\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    )
    return made


def _page_name(group: str) -> str:
    return group.replace("/", "_")


def _choices(conf: Path, group: str) -> list[Path]:
    return sorted((conf / group).glob("*.yaml"))


def _command_page(conf: Path, name: str, title: str) -> str:
    file = read((conf / f"{name}.yaml").read_text())
    return f"# {title}\n\n{_body(conf, name, file, '')}\n"


def _group_page(conf: Path, group: str) -> str:
    parts = [f"# Group `{group}`"]
    for path in _choices(conf, group):
        file = read(path.read_text())
        package = group.replace("/", ".") if file.package is None else file.package
        prefix = "" if package == "_global_" else f"{package}."
        parts.append(f"## `{group}={path.stem}`\n\n{_body(conf, f'{group}/{path.stem}', file, prefix)}")
    return "\n\n".join(parts) + "\n"


def _body(conf: Path, name: str, file: CommentedYaml, prefix: str) -> str:
    known = with_defaults(conf, yaml.safe_load((conf / f"{name}.yaml").read_text()) or {}, prefix)
    parts = [escaped(file.header)] if file.header else []
    if "defaults" in file.blocks:
        parts.append(f"Groups that it chooses:\n\n{fenced(file.blocks['defaults'], 'yaml')}")
    rows = [
        [
            code(prefix + entry.path),
            *_value(entry.path, entry.value),
            escaped(allowed(prefix + entry.path, known) or ""),
        ]
        + [escaped(entry.comment)]
        for entry in file.entries
        if entry.path.split(".")[0] not in _APART and not entry.path.startswith("hydra.")
        if entry.value is not None or entry.comment
    ]
    if rows:
        parts.append(table(["key", "default", "may be", "meaning"], rows))
    if "hydra" in file.blocks:
        parts.append(f"Settings of Hydra:\n\n{fenced(file.blocks['hydra'], 'yaml')}")
    if "constants" in file.blocks and file.blocks["constants"].strip() != "constants: {}":
        parts.append(f"Constants by data set and noise:\n\n{fenced(file.blocks['constants'], 'yaml')}")
    return "\n\n".join(parts) or "No values."


def _value(path: str, value: str | None) -> list[str]:
    if value is None:
        return [""]
    return [class_link(value) if path.endswith("_target_") else code(value)]


@functools.cache
def _train(conf: Path) -> dict[str, Any]:
    return yaml.safe_load((conf / "train.yaml").read_text())


def with_defaults(conf: Path, values: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """Values of a file at their place in the config of a run, which has those that the file leaves alone.

    Args:
        conf: Folder of configs.
        values: Content of the file.
        prefix: Path of its keys, with a dot at its end, or empty.
    """
    placed: Any = dict(values)
    for word in reversed(prefix.split(".")[:-1]):
        placed = {word: placed}
    return _merged(copy.deepcopy(_train(conf)), placed)


def _merged(below: Any, above: Any) -> Any:
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {**below, **{key: _merged(below.get(key), value) for key, value in above.items()}}
