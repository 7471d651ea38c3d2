"""A report before it is written in one of its forms."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from alasca_pl.core.terminal import aligned


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of short texts."""

    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    """Lines for a terminal."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table as it is printed, and its numbers in full.

    Attributes:
        name: Name of its files.
        caption: What it shows.
        header: Heads of the columns.
        rows: Printed cells.
        numeric: Number of the first column that holds numbers; those are set to the right.
        data_header: Heads of the columns of the CSV file.
        data: Rows of the CSV file, numbers in full.
    """

    name: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric: int
    data_header: Sequence[str]
    data: Sequence[Sequence[str]]

    def __str__(self) -> str:
        return "\n".join((self.caption, *aligned([self.header, *self.rows])))


@dataclass(frozen=True)
class Figure:
    """A picture.

    Attributes:
        name: Name of its files.
        caption: What it shows.
        svg: For a page; empty if nothing was drawn.
        files: Further forms by suffix, ``png`` and ``pdf``.
    """

    name: str
    caption: str
    svg: str
    files: Mapping[str, bytes] = field(default_factory=dict)


Block = Text | Items | Code | Table | Figure


@dataclass(frozen=True)
class Section:
    """A part of the report under a heading."""

    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Document:
    """A report.

    Attributes:
        title: Its title.
        sections: Its parts.
    """

    title: str
    sections: Sequence[Section]

    @property
    def tables(self) -> list[Table]:
        """All tables."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Table)]

    @property
    def figures(self) -> list[Figure]:
        """All pictures."""
        return [block for section in self.sections for block in section.blocks if isinstance(block, Figure)]
