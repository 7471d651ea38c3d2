"""Yaml files with the comments in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import yaml


class Entry(NamedTuple):
    """A key of a yaml file.

    Attributes:
        path: The keys that lead to it, joined by dots.
        value: As written; None for a mapping in lines of its own, whose keys are entries themselves.
        comment: Those above it and the one beside it.
    """

    path: str
    value: str | None
    comment: str


@dataclass(frozen=True)
class CommentedYaml:
    """A file.

    Attributes:
        header: The comment at its beginning, line breaks as written.
        package: The path that its keys are below, None for that of its group.
        entries: Its keys in the order of the file.
        blocks: For each top-level key the lines that hold it, comments included.
    """

    header: str
    package: str | None
    entries: tuple[Entry, ...]
    blocks: dict[str, str]


def read(text: str) -> CommentedYaml:
    r"""Read a yaml file whose top level is a mapping.

    A comment on lines of its own belongs to the key below it, except at the very beginning, where it is the header.

    Example:
        >>> file = read("# What it is.\na:\n  # Above.\n  b: 1  # beside\nc: [2, '#']\n")
        >>> file.header
        'What it is.'
        >>> [tuple(entry) for entry in file.entries]
        [('a', None, ''), ('a.b', '1', 'Above. beside'), ('c', "[2, '#']", '')]
    """
    lines = text.splitlines()
    beside, alone = _comments(text, lines)
    package = None
    header = []
    for number in range(len(lines)):
        if number not in alone:
            break
        comment = alone.pop(number)
        if comment.startswith("@package"):
            package = comment.removeprefix("@package").strip()
        else:
            header.append(comment)
    root = yaml.compose(text)
    entries: list[Entry] = []
    blocks: dict[str, str] = {}
    if isinstance(root, yaml.MappingNode):
        entries = list(_entries(root, "", text, beside, alone))
        starts = [_first_line(key.start_mark.line, alone) for key, _ in root.value] + [len(lines)]
        for (key, _), start, stop in zip(root.value, starts, starts[1:]):
            blocks[key.value] = "\n".join(lines[start:stop]).rstrip()
    return CommentedYaml("\n".join(header), package, tuple(entries), blocks)


def _comments(text: str, lines: list[str]) -> tuple[dict[int, str], dict[int, str]]:
    """Comments by the number of their line: those beside something, and those alone."""
    ends: dict[int, int] = {}
    inside: set[int] = set()
    for token in yaml.scan(text):
        start, end = token.start_mark, token.end_mark
        if start.index == end.index:
            continue
        if isinstance(token, yaml.ScalarToken) and token.style in ("|", ">"):
            inside.update(range(start.line, end.line))
            continue
        inside.update(range(start.line, end.line))
        ends[end.line] = max(ends.get(end.line, 0), end.column)
    beside, alone = {}, {}
    for number, line in enumerate(lines):
        rest = line[ends.get(number, 0) :].strip()
        if number not in inside and rest.startswith("#"):
            (beside if number in ends else alone)[number] = rest[1:].strip()
    return beside, alone


def _first_line(line: int, alone: dict[int, str]) -> int:
    while line - 1 in alone:
        line -= 1
    return line


def _entries(
    node: yaml.MappingNode, prefix: str, text: str, beside: dict[int, str], alone: dict[int, str]
) -> Iterator[Entry]:
    for key, value in node.value:
        path = f"{prefix}{key.value}"
        line = key.start_mark.line
        above = [alone[number] for number in range(_first_line(line, alone), line)]
        is_open = isinstance(value, yaml.MappingNode) and not value.flow_style
        own = beside.get(line) or ("" if is_open else beside.get(value.end_mark.line, ""))
        comment = " ".join([*above, own]).strip()
        yield Entry(path, None if is_open else _written(value, text), comment)
        if is_open:
            yield from _entries(value, f"{path}.", text, beside, alone)


def _written(node: yaml.Node, text: str, inside: bool = False) -> str:
    """A value on one line; lists and mappings in lines of their own as within brackets."""
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return f"[{', '.join(_written(item, text, True) for item in node.value)}]"
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return f"{{{', '.join(f'{key.value}: {_written(value, text, True)}' for key, value in node.value)}}}"
    written = " ".join(text[node.start_mark.index : node.end_mark.index].split())
    is_plain = isinstance(node, yaml.ScalarNode) and node.style is None
    return f"'{written}'" if inside and is_plain and re.search(r"[][{},]", written) else written
