"""Sphinx's configuration. ``make docs`` builds the pages without a network."""

import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]
for _folder in ("docs/_extensions", "tests", "src"):
    sys.path.insert(0, str(_ROOT / _folder))

from alasca_pl import __version__  # noqa: E402

project = "alasca_pl"
author = "The authors of alasca_pl"
version = release = __version__
html_title = f"alasca_pl {release}"

extensions = [
    "alasca_docs",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "_extensions"]
html_theme = "furo"
html_copy_source = False
html_show_copyright = False
html_static_path = ["_static"]
html_css_files = ["wide_tables.css"]
highlight_language = "none"

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Types are in signatures already.
napoleon_attr_annotations = False
napoleon_use_rtype = False
add_module_names = False
