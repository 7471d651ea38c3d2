"""The table of methods: sources, slots, what was compared with independent computations, costs.

    python tests/tools/fidelity.py                   # run the comparisons, read committed records, write everything
    python tests/tools/fidelity.py costs             # read docs/costs.json, made by alasca-bench, and committed records
    python tests/tools/fidelity.py documents         # write the documents from what was collected before

``docs/fidelity.json`` keeps what must be measured. All else is read from where it belongs: papers and code from the
``References:`` of the classes in the slots, slots and noise rate from the config. ``docs/methods.md`` and the table in
the README are made of both.
"""

import argparse
import ast
import functools
import itertools
import json
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from alasca_pl.bench.turns import ratio
from alasca_pl.cli import CONF_DIR
from alasca_pl.report.collection import load_runs
from alasca_pl.report.grid import figure
from alasca_pl.report.keys import value_of
from alasca_pl.report.paper import PROTOCOL, paper_number, settings_of
from alasca_pl.report.saved import SavedRun
from facts import METHODS, composed, parts

ROOT = Path(__file__).parents[2]
COSTS = ROOT / "docs" / "costs.json"
COLLECTED, DOCUMENT, README = ROOT / "docs" / "fidelity.json", ROOT / "docs" / "methods.md", ROOT / "README.md"
BEGIN, END = "<!-- methods: written by tests/tools/fidelity.py -->", "<!-- methods end -->"
SOURCE = Path("src/alasca_pl")
# Rooms whose classes and functions may be pieces of a method.
ROOMS = ("alasca", "methods", "models", "noise", "steps")
HEADS = "alasca_pl.alasca.heads.AuxiliaryHead"


# What the docstrings say


class Paper(NamedTuple):
    authors: str
    title: str
    venue: str
    link: str

    @property
    def short(self) -> str:
        return f"[{self.authors}, {self.venue}]({self.link})"


@functools.cache
def tree_of(module: str) -> ast.Module | None:
    file = ROOT / SOURCE.parent / Path(*module.split(".")).with_suffix(".py")
    return ast.parse(file.read_text()) if file.is_file() else None


@functools.cache
def node_of(name: str) -> ast.AST | None:
    """The class or function of a dotted name, or None if it is none of ours."""
    module, _, own = name.rpartition(".")
    tree = tree_of(module)
    kinds = (ast.ClassDef, ast.FunctionDef)
    return next((node for node in tree.body if isinstance(node, kinds) and node.name == own), None) if tree else None


def docstring_of(name: str) -> str:
    node = node_of(name)
    return ast.get_docstring(node) or "" if isinstance(node, ast.ClassDef | ast.FunctionDef) else ""


def references_of(name: str) -> tuple[list[Paper], list[str]]:
    """Papers and repositories at a commit in the ``References:`` of a docstring."""
    section = re.search(r"^References:\n((?: +.*\n?)+)", docstring_of(name), re.MULTILINE)
    text = " ".join(section.group(1).split()) if section else ""
    papers, _, code = text.partition("Code: ")
    entries = re.findall(r"(.+?): (.+?)(?:\.|(?<=\?)) ([^.]+?)\. (https?://\S+)", papers)
    return [Paper(*(part.strip() for part in entry)) for entry in entries], re.findall(r"\S+@[0-9a-f]+", code)


def _names(node: ast.AST) -> Iterator[str]:
    """Names that code uses, annotations left aside."""
    if isinstance(node, ast.Name):
        yield node.id
    for field, value in ast.iter_fields(node):
        if field not in ("annotation", "returns"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _names(child)


@functools.cache
def pieces_of(name: str) -> frozenset[str]:
    """A class with all of our classes and functions that it uses, at any distance."""
    found, open_names = set(), [name]
    while open_names:
        name = open_names.pop()
        module, node = name.rpartition(".")[0], node_of(name)
        if name in found or node is None or name.split(".")[1] not in ROOMS:
            continue
        found.add(name)
        imports = {
            alias.asname or alias.name: f"{statement.module}.{alias.name}"
            for statement in tree_of(module).body
            if isinstance(statement, ast.ImportFrom)
            for alias in statement.names
        }
        open_names += {imports.get(used, f"{module}.{used}") for used in _names(node)} - found
    return frozenset(found)


# What the configs say


@dataclass(frozen=True)
class Choice:
    """A choice of a group of the config.

    Attributes:
        group: ``method``, ``alasca``, ``noise``.
        name: Of its yaml.
        about: What it is, in one line.
        slots: Path of each slot that it fills with the class in it.
        classes: These classes, and those that their nodes give them.
        networks: Number of networks.
        rate: Whether it needs the noise rate.
        constants: What its constants depend on.
    """

    group: str
    name: str
    about: str
    slots: dict[str, str]
    classes: tuple[str, ...]
    networks: int
    rate: str
    constants: str

    @property
    def title(self) -> str:
        """The beginning of the line, which names it."""
        return re.split(r" \((?=[A-Z])|[:;,] ", self.about)[0]

    @property
    def papers(self) -> list[Paper]:
        found = dict.fromkeys(paper for target in self.classes for paper in references_of(target)[0])
        # The one that the line names goes first; a class may serve methods of several papers.
        return sorted(found, key=lambda paper: re.split(r"[ ,]", paper.authors)[0] not in self.about)

    @property
    def code(self) -> list[str]:
        return list(dict.fromkeys(code for target in self.classes for code in references_of(target)[1]))

    @property
    def pieces(self) -> frozenset[str]:
        return frozenset().union(*(pieces_of(target) for target in self.classes))


def _targets(config: dict[str, Any]) -> dict[str, str]:
    found = {path: node["_target_"] for path, node in parts(config).items()}
    return found | ({"aux": HEADS} if config["aux"]["stages"] else {})


def _within(node: Any) -> Iterator[str]:
    """Classes that a node names, at any depth."""
    if isinstance(node, dict):
        yield from [node["_target_"]] if "_target_" in node else []
        for value in node.values():
            yield from _within(value)


def _about(group: str, name: str, target: str) -> str:
    """The first sentence of the yaml, else of the class."""
    lines = (CONF_DIR / group / f"{name}.yaml").read_text().removeprefix("# @package _global_\n").splitlines()
    comment = " ".join(
        line.removeprefix("# ") for line in itertools.takewhile(lambda line: line.startswith("# "), lines)
    )
    return re.split(r"\.(?= [A-Z]|$)", comment or docstring_of(target).partition("\n")[0])[0]


def _rate(config: dict[str, Any]) -> str:
    by_rate = any("by_rate" in each for each in config["constants"].values())
    values = [node["noise_rate"] for node in parts(config).values() if "noise_rate" in node]
    if values:
        also = "; chooses constants" if by_rate else ""
        return ("oracle only" if values == ["oracle"] else "estimated, oracle possible") + also
    return "chooses constants" if by_rate else "no"


def _constants(config: dict[str, Any]) -> str:
    words = {"data": "data set", "noise": "kind of noise", "by_rate": "rate", "scale": "scale"}
    found = [word for key, word in words.items() if any(each and key in each for each in config["constants"].values())]
    return ", ".join(found) or "nothing"


def choice_of(group: str, name: str) -> Choice | None:
    """A choice, or None where it fills no slot, as ``alasca=none``."""
    config = composed(f"{group}={name}", *(["noise.path=x"] if (group, name) == ("noise", "from_file") else []))
    if group == "noise":
        slots = {"noise": config["noise"]["_target_"]}
    else:
        plain = _targets(composed())
        slots = {path: target for path, target in _targets(config).items() if plain.get(path) != target}
        slots = slots or ({"criterion": plain["criterion"]} if group == "method" else {})
    if not slots:
        return None
    about = _about(group, name, next(iter(slots.values())))
    nodes = parts(config)
    classes = dict.fromkeys(each for path, target in slots.items() for each in (target, *_within(nodes.get(path))))
    return Choice(group, name, about, slots, tuple(classes), config["num_networks"], _rate(config), _constants(config))


@functools.cache
def choices(group: str) -> list[Choice]:
    """All choices of a group that fill a slot."""
    names = METHODS if group == "method" else sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))
    return [choice for name in names if (choice := choice_of(group, name)) is not None]


# What must be measured


def comparing_tests() -> list[str]:
    """Tests that use the fixture ``agreement``."""
    return [
        f"{file.relative_to(ROOT).as_posix()}::{node.name}"
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and "agreement" in [each.arg for each in node.args.args]
        if file.name != "test_fidelity.py"
    ]


def collect_agreements() -> list[dict[str, Any]]:
    """Run these tests; the largest difference of each comparison.

    Raises:
        CalledProcessError: If a test fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", f"--junitxml={report}", "-o", "junit_family=xunit1"]
        subprocess.run([*command, *comparing_tests()], check=True, cwd=ROOT)
        cases = list(ET.parse(report).iter("testcase"))
    found: dict[tuple[str, ...], list[float]] = {}
    for case in cases:
        test = f"{case.get('file')}::{(case.get('name') or '').partition('[')[0]}"
        for entry in case.iter("property"):
            its = json.loads(entry.get("value") or "")
            found.setdefault((its["part"], its["what"], its["dtype"], test), []).append(its["difference"])
    names = ("part", "what", "dtype", "test")
    return [
        dict(zip(names, key)) | {"difference": float(f"{max(values):.1e}"), "cases": len(values)}
        for key, values in sorted(found.items())
    ]


def committed_runs(folder: Path) -> list[SavedRun]:
    """Runs of all experiments whose records are in the repository."""
    return list(load_runs(*sorted(folder.glob("*/*.json"))))


def choice_of_run(run: SavedRun) -> str | None:
    """The one choice in which a run differs from cross-entropy: ``method=gce``, ``alasca=paper``; None for two."""
    method, alasca = value_of(run, "method"), value_of(run, "alasca")
    if alasca in (None, "none"):
        return f"method={method}"
    return f"alasca={alasca}" if method == "ce" else None


def costs_of(bench: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """CPU time of a step over that of cross-entropy in the same round, by ``alasca-bench what=methods,step``."""
    found = {}
    for results in bench["results"].values():
        base = next(each["cpu"] for each in results if each["name"] == "ce")
        for each in results:
            name = "alasca=paper" if each["name"] == "ce+alasca" else f"method={each['name']}"
            if name in found or " " in name:
                # The bare network, and what was measured a second time.
                continue
            middle, low, high = ratio(each["cpu"], base)
            found[name] = {"times": round(middle, 2), "from": round(low, 2), "to": round(high, 2)}
    return dict(sorted(found.items()))


def _is_paper_scale(run: SavedRun) -> bool:
    its = settings_of(run)
    images, epochs = its["training images"], its["epochs"]
    return images == PROTOCOL["training images"] and isinstance(epochs, int) and epochs >= PROTOCOL["epochs"]


def paper_scale(runs: Sequence[SavedRun]) -> dict[str, dict[str, Any]]:
    """Runs with the paper's images and epochs: how many, and the largest difference from the paper's number in points."""
    found: dict[str, dict[str, Any]] = {}
    for run in filter(_is_paper_scale, runs):
        choice, number = choice_of_run(run), paper_number(run, None)
        if choice:
            its = found.setdefault(choice, {"runs": 0, "difference": None})
            its["runs"] += 1
            if number is not None:
                away = abs(100 * figure(run, "test/acc", "mean_of_last") - number.mean)
                its["difference"] = round(max(away, its["difference"] or 0.0), 1)
    return dict(sorted(found.items()))


# Documents


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def agreements_of(choice: Choice, collected: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in collected["agreements"] if each["part"] in choice.pieces]


def compared(choice: Choice, collected: dict[str, Any]) -> str:
    its = agreements_of(choice, collected)
    if not its:
        return "none"
    largest = max(each["difference"] for each in its)
    return f"{len(its)}, {'equal' if largest == 0 else f'up to {largest:.0e}'}"


def cost(choice: Choice, collected: dict[str, Any]) -> str:
    its = collected["costs"].get(f"{choice.group}={choice.name}")
    return f"{its['times']:.2f}" if its else "not measured"


def measured_on(bench: dict[str, Any]) -> str:
    """With what and where costs were measured."""
    its = bench["hardware"]
    return (
        f"`alasca-bench what=methods,step rounds={bench['rounds']} steps={bench['steps']} {' '.join(bench['overrides'])}`: "
        f"{its['cpu']}, {its['threads']} thread, {bench['precision']}, torch {bench['versions']['torch']}"
    )


def at_paper_scale(choice: Choice, collected: dict[str, Any]) -> str:
    its = collected["paper_scale"].get(f"{choice.group}={choice.name}")
    if not its:
        return "not yet"
    away = "no number in the paper" if its["difference"] is None else f"up to {its['difference']} points from the paper"
    return f"{its['runs']} runs, {away}"


def slots_text(choice: Choice) -> str:
    names = dict.fromkeys(path.partition(".")[0] for path in choice.slots if path != "aux")
    return ", ".join(names) + (f"; {choice.networks} networks" if choice.networks > 1 else "")


def readme_part(collected: dict[str, Any]) -> str:
    """The README's table, markers included."""
    rows = [
        [
            f"`{choice.name}`",
            ", ".join([choice.title, *(paper.short for paper in choice.papers[:1])]),
            slots_text(choice),
            choice.rate,
            cost(choice, collected),
        ]
        for choice in choices("method")
    ]
    head = ["`method=`", "source", "slots", "noise rate", "time × CE"]
    done = [choice.name for choice in choices("method") if at_paper_scale(choice, collected) != "not yet"]
    scale = f"Checked at the paper's scale: {', '.join(done) or 'none yet, no run was made on a GPU'}."
    about = (
        "Noise rate: *estimated* by the method from the given labels; *oracle possible*: the true rate is told it only if the "
        "config says so; *chooses constants*: published constants differ by the nominal rate of noise that this package draws, "
        "so that a comparison at equal knowledge gives them a value by hand (`--explain` names them). Time × CE: CPU time of a "
        "training step over that of cross-entropy, without scans before epochs, on a small network ([where](docs/methods.md))."
    )
    return f"{BEGIN}\n{table(head, rows)}\n\n{about}\n\n{scale}\n{END}"


def _wide(group: str, collected: dict[str, Any]) -> str:
    head = [f"`{group}=`", "what it is", "papers", "code that it follows", "slots", "noise rate", "constants depend on"]
    rows = []
    for choice in choices(group):
        papers = "; ".join(f"{each.authors}: [{each.title}]({each.link}). {each.venue}" for each in choice.papers)
        code = [each.split("@") for each in choice.code]
        row = [
            f"`{choice.name}`",
            choice.about,
            papers or "none",
            ", ".join(f"[{name}](https://github.com/{name}/tree/{commit}) at {commit}" for name, commit in code)
            or "none",
            ", ".join(f"{path}: `{target.removeprefix('alasca_pl.')}`" for path, target in choice.slots.items())
            + (f"; {choice.networks} networks" if choice.networks > 1 else ""),
        ]
        if group != "noise":
            row += [choice.rate, choice.constants]
        row.append(compared(choice, collected))
        if group != "noise":
            row += [at_paper_scale(choice, collected), cost(choice, collected)]
        rows.append(row)
    head = head if group != "noise" else head[:5]
    head += ["comparisons, largest difference"] + (["paper's scale", "time × CE"] if group != "noise" else [])
    return table(head, rows)


def document(collected: dict[str, Any]) -> str:
    """The whole of ``docs/methods.md``."""
    every = [choice for group in ("method", "alasca", "noise") for choice in choices(group)]
    rows = [
        [
            f"`{each['part'].removeprefix('alasca_pl.')}`",
            each["what"],
            each["dtype"],
            "0" if each["difference"] == 0 else f"{each['difference']:.1e}",
            str(each["cases"]),
            ", ".join(f"`{choice.group}={choice.name}`" for choice in every if each["part"] in choice.pieces) or "none",
            f"`{each['test']}`",
        ]
        for each in collected["agreements"]
    ]
    head = ["part", "what was compared", "type", "largest difference", "cases", "used by", "test"]
    return f"""# Methods

Written by `python tests/tools/fidelity.py`; do not edit. Papers and repositories are from the docstrings of the classes in the
slots, slots and noise rate from the config, differences and times from [fidelity.json](fidelity.json).

A *comparison* is a test that computes the same numbers by other means: loops in plain Python, a definition written out,
automatic differentiation, numbers of the authors' code. The number is the largest absolute difference. *Time × CE* is the CPU
time of a training step in the middle of the method's schedule over that of cross-entropy in the same round, median of the rounds;
scans before epochs are not part of it ({measured_on(json.loads(COSTS.read_text()))}; all times in [costs.json](costs.json)).
*Paper's scale* means the paper's 45,000 images and at least its 120 epochs.

## Base methods

{_wide("method", collected)}

## ALASCA and its variants

{_wide("alasca", collected)}

## Noise

{_wide("noise", collected)}

## Comparisons

{table(head, rows)}
"""


def with_table(readme: str, collected: dict[str, Any]) -> str:
    """The README with its table written anew."""
    before, _, rest = readme.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"the README has no lines {BEGIN} and {END}")
    return before + readme_part(collected) + after


def read_collected() -> dict[str, Any]:
    return (
        json.loads(COLLECTED.read_text()) if COLLECTED.is_file() else {"agreements": [], "costs": {}, "paper_scale": {}}
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the table of methods.")
    kinds = ("agreements", "costs", "documents")
    parser.add_argument("what", nargs="*", help=f"{', '.join(kinds)}; all if none is named")
    what = parser.parse_args().what or kinds
    if set(what) - set(kinds):
        parser.error(f"choose from {', '.join(kinds)}")
    collected = read_collected()
    if "agreements" in what:
        collected["agreements"] = collect_agreements()
    if "costs" in what:
        runs = committed_runs(ROOT / "experiments")
        collected |= {"costs": costs_of(json.loads(COSTS.read_text())), "paper_scale": paper_scale(runs)}
    COLLECTED.parent.mkdir(exist_ok=True)
    COLLECTED.write_text(json.dumps(collected, indent=1) + "\n")
    DOCUMENT.write_text(document(collected))
    README.write_text(with_table(README.read_text(), collected))


if __name__ == "__main__":
    main()
