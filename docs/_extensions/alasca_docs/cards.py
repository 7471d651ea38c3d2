"""Cards of methods, variants of ALASCA, noise models, readers and selectors.

What must be measured is in ``docs/fidelity.json``; the generator of that file knows which class belongs to which choice.
"""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from alasca_docs.commented_yaml import CommentedYaml, read
from alasca_docs.configuration import with_defaults
from alasca_docs.docstrings import arguments, docstring, lead
from alasca_docs.markdown import class_link, code, escaped, fenced, from_docstring, table
from alasca_pl.build.schema import allowed
from tools import fidelity

_INTRO = {
    "method": "Base methods, each chosen by `method=NAME`. Each runs with and without ALASCA.",
    "alasca": "What `alasca=NAME` adds to a base method. `alasca=none` adds nothing.",
}


def pages(root: Path) -> dict[str, str]:
    """A page for each method and each variant of ALASCA, one for noise, one for readers and one for selectors."""
    collected = fidelity.read_collected()
    made: dict[str, str] = {}
    for group, title in (("method", "Methods"), ("alasca", "ALASCA")):
        choices = fidelity.choices(group)
        made |= {f"{group}/{choice.name}": _card(root, choice, collected, 1) + "\n" for choice in choices}
        made[f"{group}/index"] = _index(group, title, choices)
    cards = [_card(root, choice, collected, 2) for choice in fidelity.choices("noise")]
    made["noise"] = _page("Noise models", "Each is chosen by `noise=NAME`; see [](/howto/noise.md).", cards)
    readers = [_reader_card(root, path) for path in sorted((root / "conf" / "data").glob("*.yaml"))]
    made["data"] = _page("Data sets and readers", "Each is chosen by `data=NAME`; see [](/howto/own_data.md).", readers)
    made["selectors"] = _selectors(root)
    return made


def _page(title: str, intro: str, cards: Iterable[str]) -> str:
    return "\n\n".join([f"# {title}", intro, *cards]) + "\n"


def _index(group: str, title: str, choices: list[fidelity.Choice]) -> str:
    rows = [
        [
            f"[{code(choice.name)}]({choice.name}.md)",
            from_docstring(choice.title),
            fidelity.slots_text(choice),
            choice.rate,
        ]
        for choice in choices
    ]
    listed = "\n".join(choice.name for choice in choices)
    head = [code(f"{group}="), "what it is", "slots", "noise rate"]
    return f"# {title}\n\n{_INTRO[group]}\n\n{table(head, rows)}\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"


def _card(root: Path, choice: fidelity.Choice, collected: dict[str, Any], level: int) -> str:
    marks = "#" * level
    path = root / "conf" / choice.group / f"{choice.name}.yaml"
    file = read(path.read_text())
    parts = [f"{marks} {code(choice.name)}", _header(file) or from_docstring(choice.about) + "."]
    papers = [f"{each.authors}: [{escaped(each.title)}]({each.link}). {each.venue}" for each in choice.papers]
    repositories = [each.split("@") for each in choice.code]
    facts = [
        ["option", code(f"{choice.group}={choice.name}")],
        ["papers", "; ".join(papers) or "none"],
        [
            "code that it follows",
            ", ".join(f"[{name}](https://github.com/{name}/tree/{commit}) at {commit}" for name, commit in repositories)
            or "none",
        ],
        ["slots", ", ".join(f"{slot}: {class_link(target)}" for slot, target in choice.slots.items())],
    ]
    if choice.group != "noise":
        facts += [
            ["networks", str(choice.networks)],
            ["noise rate", choice.rate],
            ["constants depend on", choice.constants],
            ["time × cross-entropy", fidelity.cost(choice, collected)],
            ["checked at the paper's scale", fidelity.at_paper_scale(choice, collected)],
        ]
    parts += [table(["", ""], facts), *_described(root, choice.slots.values(), f"{marks}# How it works")]
    parts += _constants(root, choice.group, choice.name, file, f"{marks}#")
    agreements = [
        [
            class_link(each["part"]),
            escaped(each["what"]),
            each["dtype"],
            f"{each['difference']:.0e}",
            str(each["cases"]),
        ]
        for each in fidelity.agreements_of(choice, collected)
    ]
    if agreements:
        head = ["part", "what was compared", "type", "largest difference", "cases"]
        intro = "Tests compute these numbers by other means; see [](/methods.md)."
        parts.append(f"{marks}# Comparisons\n\n{intro}\n\n{table(head, agreements)}")
    return "\n\n".join(parts)


def _header(file: CommentedYaml) -> str:
    return escaped(" ".join(file.header.split()))


def _described(root: Path, targets: Iterable[str], title: str) -> list[str]:
    """What docstrings say before their first section, by class."""
    found = []
    for target in dict.fromkeys(targets):
        text = lead(docstring(root, target))
        if text:
            found.append(f"{class_link(target)}\n\n{fenced(text, '{eval-rst}')}")
    return [title, *found] if found else []


def _constants(root: Path, group: str, name: str, file: CommentedYaml, marks: str) -> list[str]:
    """Values of the nodes with a class, each with what the class says of it, and the entries under ``constants``."""
    values = yaml.safe_load((root / "conf" / group / f"{name}.yaml").read_text()) or {}
    prefix = "" if file.package == "_global_" else f"{group}."
    known = with_defaults(root / "conf", values, prefix)
    rows = []
    for entry in file.entries:
        place, _, key = (prefix + entry.path).rpartition(".")
        if (
            entry.value is None
            or key in ("_target_", "_paths_")
            or entry.path.split(".")[0] in ("defaults", "constants")
        ):
            continue
        said = arguments(docstring(root, _target_at(known, place))).get(key, "")
        option = f"{place}.{key}".lstrip(".")
        may_be = escaped(allowed(option, known) or "")
        rows.append([code(option), code(entry.value), may_be, from_docstring(said), escaped(entry.comment)])
    parts = []
    if rows:
        head = ["option", "default", "may be", "meaning", "remark"]
        parts.append(f"{marks} Constants\n\n{table(head, rows)}")
    if "constants" in file.blocks:
        parts.append(
            f"{marks} Constants by data set and noise\n\nApplied automatically; `constants=null` applies none.\n\n"
            + fenced(file.blocks["constants"], "yaml")
        )
    return parts


def _target_at(config: Mapping[str, Any], path: str) -> str:
    """The class or reader that the values at a path are for."""
    node: Any = config
    for word in path.split("."):
        node = node.get(word) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        return ""
    if path == "data":
        node = node.get("reader") or {}
    return str(node.get("_target_", ""))


def _reader_card(root: Path, path: Path) -> str:
    file = read(path.read_text())
    reader = next(entry.value for entry in file.entries if entry.path == "data.reader._target_")
    parts = [f"## {code(path.stem)}", _header(file)]
    parts += _described(root, [str(reader)], "### The reader")
    return "\n\n".join([*parts, *_constants(root, "data", path.stem, file, "###")])


@functools.cache
def _selecting() -> dict[str, list[str]]:
    """Methods by the class that selects samples for them."""
    found: dict[str, list[str]] = {}
    for choice in fidelity.choices("method"):
        if "selector" in choice.slots:
            found.setdefault(choice.slots["selector"], []).append(choice.name)
    return found


def _selectors(root: Path) -> str:
    cards = []
    for target, methods in _selecting().items():
        used = ", ".join(f"[{code(name)}](method/{name}.md)" for name in methods)
        text = docstring(root, target)
        rows = [[code(f"selector.{name}"), from_docstring(said)] for name, said in arguments(text).items()]
        cards.append(
            "\n\n".join(
                [
                    f"## {target.rpartition('.')[2]}",
                    f"{class_link(target)}, used by {used}.",
                    fenced(lead(text), "{eval-rst}"),
                    table(["option", "meaning"], rows),
                ]
            )
        )
    intro = (
        "A selector gives each sample of a batch a weight per network; samples with weight 0 do not count in the base loss. "
        f"Its contract is {class_link('alasca_pl.core.parts.SampleSelector')}."
    )
    return _page("Selectors", intro, cards)
