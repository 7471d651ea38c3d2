"""Pages of the documentation that are made from configs, docstrings and the commands' own help.

They are written below ``docs/reference/generated`` before Sphinx reads its sources. A page that is the same as before is not
touched, so that Sphinx does not read it again.
"""

import shutil
from pathlib import Path
from typing import Any

from alasca_docs import api, cards, commands, configuration, gallery, notebooks
from alasca_docs.docstrings import restructured
from alasca_docs.links import to_generated


def pages(root: Path) -> dict[str, str]:
    """All generated pages: their text by path below the folder, without the suffix.

    Args:
        root: The repository.
    """
    made: dict[str, str] = {}
    for make in (cards.pages, configuration.pages, commands.pages, api.pages, gallery.pages, notebooks.pages):
        made |= make(root)
    return made


def write_pages(made: dict[str, str], folder: Path) -> None:
    """Write pages into a folder, and remove others from it."""
    wanted = {folder / f"{name}.md": text for name, text in made.items()}
    for path in set(folder.rglob("*.md")) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        if not path.is_file() or path.read_text() != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def _builder_inited(app: Any) -> None:
    docs = Path(app.srcdir)
    write_pages(pages(docs.parent), docs / "reference" / "generated")


def _build_finished(app: Any, exception: Exception | None) -> None:
    # A file that the methods' page offers for download under its own name.
    if exception is None and app.builder.format == "html":
        shutil.copy(Path(app.srcdir) / "fidelity.json", Path(app.outdir) / "fidelity.json")


def _source_read(app: Any, name: str, content: list[str]) -> None:
    if not name.startswith("reference/generated/"):
        content[0] = to_generated(content[0])


def _docstring_read(app: Any, what: str, name: str, found: Any, options: Any, lines: list[str]) -> None:
    lines[:] = map(restructured, lines)


def setup(app: Any) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("builder-inited", _builder_inited)
    app.connect("build-finished", _build_finished)
    app.connect("source-read", _source_read)
    app.setup_extension("sphinx.ext.autodoc")
    # Before napoleon, whose priority is 500.
    app.connect("autodoc-process-docstring", _docstring_read, priority=400)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
