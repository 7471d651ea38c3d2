"""The documentation site: what its pages are made from, and that it builds without a warning."""

import doctest
import importlib
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from alasca_docs import api, cards, commented_yaml, configuration, docstrings, links, markdown, notebooks, write_pages

from alasca_pl.build.schema import allowed
from alasca_pl.cli import CONF_DIR

ROOT = Path(__file__).parents[2]


def nodes(node, prefix=""):
    """Names and values of everything in a config."""
    for name, value in node.items():
        yield f"{prefix}{name}", value
        if isinstance(value, dict):
            yield from nodes(value, f"{prefix}{name}.")


@pytest.mark.parametrize("module", [commented_yaml, docstrings, links, markdown, notebooks])
def test_examples_in_the_generator(module):
    outcome = doctest.testmod(importlib.import_module(module.__name__))
    assert outcome.attempted and not outcome.failed


@pytest.mark.parametrize("path", sorted(CONF_DIR.rglob("*.yaml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_key_and_no_comment_of_a_config_is_lost(path):
    text = path.read_text()
    file = commented_yaml.read(text)
    values = dict(nodes(yaml.safe_load(text) or {}))
    assert [entry.path for entry in file.entries] == [
        name for name in values if not any(name.startswith(f"{each.path}.") for each in file.entries if each.value)
    ]
    for entry in file.entries:
        # Texts of several lines, which Hydra prints as help, are shown as they stand in the file.
        if entry.value is not None and not entry.path.startswith("hydra.help"):
            assert yaml.safe_load(entry.value) == values[entry.path]
    # None of the configs has a number sign in a text.
    said = " ".join([file.header, *(entry.comment for entry in file.entries), *file.blocks.values()])
    for line in text.splitlines():
        comment = re.search(r"(?:^|\s)#\s?(?!\s*@package)(.+)$", line)
        assert comment is None or comment[1].strip() in said


def test_comments_above_beside_and_in_texts():
    file = commented_yaml.read(
        '# @package _global_\n# Head.\na: "x # y"  # beside\n# above\nb:  # of b\n  c: [1,\n    2]  # end\n'
    )
    assert (file.package, file.header) == ("_global_", "Head.")
    assert [tuple(entry) for entry in file.entries] == [
        ("a", '"x # y"', "beside"),
        ("b", None, "above of b"),
        ("b.c", "[1, 2]", "end"),
    ]


def test_the_reference_of_options_has_every_option():
    made = configuration.pages(ROOT)
    for path in sorted(CONF_DIR.glob("method/*.yaml")):
        page = made["configuration/method"]
        for name, value in nodes(yaml.safe_load(path.read_text())):
            if not isinstance(value, dict) and name.split(".")[0] not in ("defaults", "constants"):
                assert f"| `{name}` |" in page, (path.stem, name)
    assert "| `early_end.patience` | `null` | a whole number of at least 1 or null |" in made["configuration/train"]


def test_a_card_has_constants_with_their_meaning_and_comparisons():
    card = cards.pages(ROOT)["method/gce"]
    assert "| `criterion.q` | `0.7` | a number |" in card
    assert "Small values learn faster" in card and "https://arxiv.org/abs/1805.07836" in card
    assert "### Comparisons" not in card and "## Comparisons" in card
    assert "## Constants by data set and noise" in card


def test_every_method_noise_model_and_reader_has_a_card():
    made = cards.pages(ROOT)
    for group, page in (("method", None), ("alasca", None), ("noise", "noise"), ("data", "data")):
        for name in {path.stem for path in CONF_DIR.glob(f"{group}/*.yaml")} - (
            {"none"} if group == "alasca" else set()
        ):
            assert f"## `{name}`" in made[page] if page else f"{group}/{name}" in made


def test_words_for_what_a_value_may_be():
    assert allowed("early_end.patience", {}) == "a whole number of at least 1 or null"
    assert (
        allowed("criterion.q", {"criterion": {"_target_": "alasca_pl.methods.gce.GeneralisedCrossEntropy"}})
        == "a number"
    )
    assert (
        allowed("criterion.nothing", {"criterion": {"_target_": "alasca_pl.methods.gce.GeneralisedCrossEntropy"}})
        is None
    )
    assert allowed("somewhere.else", {}) is None


def test_names_at_the_top_of_the_package_are_in_the_reference():
    import alasca_pl

    found = {target.rpartition(".")[2] for _, target in api.top_level_names(ROOT / "src/alasca_pl/__init__.py")}
    assert found == set(alasca_pl.__all__) - {"__version__"}


def test_pages_that_stay_the_same_are_not_touched_and_others_go(tmp_path):
    write_pages({"a": "1", "b/c": "2"}, tmp_path)
    os.utime(tmp_path / "a.md", (0, 0))
    write_pages({"a": "1", "d": "3"}, tmp_path)
    assert (tmp_path / "a.md").stat().st_mtime == 0
    assert sorted(path.name for path in tmp_path.rglob("*.md")) == ["a.md", "d.md"]


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.names |= {given[key] for key in ("id", "name") if given.get(key)}
        found = [given[key] for key in ("href", "src") if given.get(key)]
        self.links += found
        self.loaded += found if tag != "a" else []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_site_builds_without_a_warning_and_its_links_lead_somewhere(tmp_path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    built = subprocess.run([*command, "docs", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = {}
    for path in tmp_path.rglob("*.html"):
        pages[path] = _Links()
        text = path.read_text()
        pages[path].feed(text)
        # A letter with a full stop is no list, and two hyphens are no dash.
        assert "upperalpha" not in text and "\N{EN DASH}explain" not in text, path
    assert len(pages) > 50
    assert [link for page in pages.values() for link in page.loaded if urlsplit(link).netloc] == []
    assert {urlsplit(link).scheme for page in pages.values() for link in page.links} <= {"", "https", "data"}
    broken = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists() or (
                parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].names
            ):
                broken.append(f"{path.relative_to(tmp_path)}: {link}")
    assert not broken
