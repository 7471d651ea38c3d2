"""A report as Markdown, CSV, LaTeX and HTML."""

import csv
import io
import re
from pathlib import Path

from jinja2 import Environment

from alasca_pl.report.document import Code, Document, Figure, Items, Table, Text

_PAGE = Path(__file__).with_name("page.html.j2")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|#])")
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "×": r"$\times$", "–": "--", "−": "$-$", "≥": r"$\geq$",
}  # fmt: skip


def markdown(document: Document, pictures: str | None = None) -> str:
    """The report in Markdown.

    Args:
        document: The report.
        pictures: Folder with its pictures, as the text should name it; without one they are left out.
    """
    parts = [f"# {escape_markdown(document.title)}"]
    for section in document.sections:
        if pictures is None and section.blocks and all(isinstance(block, Figure) for block in section.blocks):
            continue
        parts.append(f"## {escape_markdown(section.heading)}")
        for block in section.blocks:
            if isinstance(block, Text):
                parts.append(escape_markdown(block.text))
            elif isinstance(block, Items):
                parts.append("\n".join(f"- {escape_markdown(item)}" for item in block.items))
            elif isinstance(block, Code):
                fence = "`" * max(3, *(len(run) + 1 for line in block.lines for run in re.findall("`+", line)), 3)
                parts.append("\n".join((fence, *block.lines, fence)))
            elif isinstance(block, Table):
                parts += [escape_markdown(block.caption), markdown_table(block)]
            elif pictures is not None:
                parts.append(f"![{escape_markdown(block.caption)}]({pictures}/{block.name}.png)")
    return "\n\n".join(parts) + "\n"


def markdown_table(table: Table) -> str:
    """A table in Markdown."""
    lines = [table.header, ["---"] * table.numeric + ["---:"] * (len(table.header) - table.numeric), *table.rows]
    return "\n".join(
        "| " + " | ".join(cell if number == 1 else escape_markdown(cell) for cell in line) + " |"
        for number, line in enumerate(lines)
    )


def csv_table(table: Table) -> str:
    """The numbers of a table in full."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.data_header, *table.data])
    return text.getvalue()


def latex_table(table: Table) -> str:
    """A table for LaTeX with the package booktabs."""
    columns = "l" * table.numeric + "r" * (len(table.header) - table.numeric)
    lines = [" & ".join(map(escape_latex, line)) + r" \\" for line in (table.header, *table.rows)]
    return "\n".join(
        (
            f"% {' '.join(table.caption.split())}",
            r"% needs \usepackage{booktabs}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        )
    )


def html(document: Document) -> str:
    """One page that needs no other file; everything but the pictures is escaped."""
    kinds = {Text: "text", Items: "items", Code: "code", Table: "table", Figure: "figure"}
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_PAGE.read_text(encoding="utf-8"))
    return template.render(document=document, kind=lambda block: kinds[type(block)]) + "\n"


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def escape_latex(text: str) -> str:
    """Text that LaTeX shows as it is, on one line."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))
