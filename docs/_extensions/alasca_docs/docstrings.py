"""Parts of Google docstrings, read without importing what they describe."""

import ast
import re
from pathlib import Path

_COMMIT = re.compile(r"(?<![\w/`.-])([\w.-]+/[\w.-]+)@([0-9a-f]{7,40})\b")
_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|References|Example|Source|Note):", re.MULTILINE)


def docstring(root: Path, target: str) -> str:
    """Docstring of a class or function of ours; empty if there is none.

    Args:
        root: The repository.
        target: Dotted name.
    """
    module, _, name = target.rpartition(".")
    file = root / "src" / f"{module.replace('.', '/')}.py"
    tree = ast.parse(file.read_text()) if file.is_file() else ast.Module([], [])
    found = [node for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name]
    return ast.get_docstring(found[0]) or "" if found else ""


def lead(text: str) -> str:
    r"""What stands before the first section.

    Example:
        >>> lead("One line.\n\nMore.\n\nArgs:\n    a: B.")
        'One line.\n\nMore.'
    """
    first = _SECTION.search(text)
    return text[: first.start() if first else None].strip()


def arguments(text: str) -> dict[str, str]:
    r"""What ``Args:`` says, by the name of the argument.

    Example:
        >>> arguments("X.\n\nArgs:\n    a: First,\n        and on.\n    b: Second.\n\nReturns:\n    c: No.")
        {'a': 'First, and on.', 'b': 'Second.'}
    """
    section = re.search(r"^Args:\n((?:(?: +.*)?\n?)+)", text, re.MULTILINE)
    found: dict[str, str] = {}
    for entry in re.split(r"^    (?=\w)", section.group(1) if section else "", flags=re.MULTILINE):
        name, colon, said = entry.partition(":")
        if colon:
            found[name.strip("* ")] = " ".join(said.split())
    return found


def restructured(line: str) -> str:
    r"""A line of a docstring of which reStructuredText would make something else.

    A letter with a full stop is no list of one item, and a commit of a repository is no address for mail but a link.

    Example:
        >>> print(restructured("    num_classes: K."))
            num_classes: \K.
        >>> print(restructured("Code: OWNER/NAME@0123abc"))
        Code: `OWNER/NAME@0123abc <https://github.com/OWNER/NAME/tree/0123abc>`__
        >>> restructured("    index: int64 (B,).")
        '    index: int64 (B,).'
    """
    line = re.sub(r": ([A-Z]\.)$", r": \\\1", line)
    return _COMMIT.sub(r"`\1@\2 <https://github.com/\1/tree/\2>`__", line)
