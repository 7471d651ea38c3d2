"""Small pieces of Markdown."""

import re
from collections.abc import Sequence

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#$~])")


def escaped(text: str) -> str:
    r"""Plain text whose characters mean nothing in Markdown; options are code, so that no dash is made of their hyphens.

    Example:
        >>> print(escaped("noise=a|b, [1] and *"))
        noise=a\|b, \[1\] and \*
        >>> escaped("with --explain, a--b")
        'with `--explain`, a--b'
    """
    return re.sub(r"(?<!\S)(--[a-z][a-z-]*)", r"`\1`", _SPECIAL.sub(r"\\\1", text))


def code(text: str) -> str:
    r"""Text in the font of code, in a cell of a table as well.

    Example:
        >>> print(code("a|b"))
        `a\|b`
    """
    fence = "``" if "`" in text else "`"
    inside = text.replace("|", r"\|")
    return f"{fence} {inside} {fence}" if fence == "``" else f"`{inside}`"


def from_docstring(text: str) -> str:
    r"""A sentence of a docstring, which has code between two backticks, on one line.

    Example:
        >>> print(from_docstring("At least 0, see ``a_b``;\n    a_c"))
        At least 0, see `a_b`; a\_c
    """
    parts = re.split(r"``(.+?)``", " ".join(text.split()))
    return "".join(code(part) if number % 2 else escaped(part) for number, part in enumerate(parts))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; cells are Markdown. Columns that are empty in all rows are left out."""
    used = [place for place, title in enumerate(head) if not title or any(row[place] for row in rows)]
    lines = [[line[place] for place in used] for line in (head, ["---"] * len(head), *rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def class_link(target: str) -> str:
    """A link to the entry of a class or function of ours in the API reference; other names as code."""
    if not target.startswith("alasca_pl."):
        return code(target)
    kind = "class" if target.rpartition(".")[2][:1].isupper() else "func"
    return f"{{py:{kind}}}`~{target}`"


def fenced(text: str, language: str) -> str:
    """A block of code, which may hold fences itself."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
