"""The page that lists the notebooks."""

import json
from pathlib import Path

from alasca_docs.markdown import table


def pages(root: Path) -> dict[str, str]:
    """One page with the title and the first words of each notebook."""
    rows = []
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        title, about = said(json.loads(path.read_text()))
        # The page is three folders below the repository's.
        rows.append([f"{{download}}`{path.name} <../../../notebooks/{path.name}>`", title, about])
    listed = table(["notebook", "title", "what it does"], rows) if rows else "There are none yet."
    return {"notebooks": f"# Notebooks\n\nThey are in the repository's folder `notebooks/`.\n\n{listed}\n"}


def said(notebook: dict[str, list[dict[str, str | list[str]]]]) -> tuple[str, str]:
    r"""Title of a notebook and the paragraph below it, from its first cell of text.

    Example:
        >>> said({"cells": [{"cell_type": "markdown", "source": ["# A run\n", "\n", "How to\n", "read it.\n", "\n", "More."]}]})
        ('A run', 'How to read it.')
        >>> said({"cells": []})
        ('', '')
    """
    texts = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"]
    title, _, rest = (texts[0] if texts else "").strip().partition("\n")
    return title.lstrip("# "), " ".join(rest.strip().partition("\n\n")[0].split()).replace("|", "\\|")
