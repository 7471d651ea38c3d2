"""The examples in docstrings, run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import alasca_pl
from running import train

# Importing the first runs the command line.
NOT_IMPORTED = ("alasca_pl.cli.__main__",)
MODULES = sorted(
    module.name for module in pkgutil.walk_packages(alasca_pl.__path__, "alasca_pl.") if module.name not in NOT_IMPORTED
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_give_what_they_say(name: str, tmp_path):
    given = {}
    if name in ("alasca_pl.runs.load", "alasca_pl.runs.audit", "alasca_pl.runs.compare_scores"):
        train(tmp_path, "epochs=1")
        given["folder"] = tmp_path
    if name == "alasca_pl.runs.export":
        train(tmp_path, "epochs=1")
        given["run"] = alasca_pl.load_run(tmp_path)
    if name == "alasca_pl.cli.in_python":
        given["folder"] = tmp_path / "run"
    assert doctest.testmod(importlib.import_module(name), extraglobs=given).failed == 0


def test_examples_exist():
    """A count of statements, so that none is lost because its form is not recognised."""
    finder = doctest.DocTestFinder(exclude_empty=True)
    found = {
        test.name: len(test.examples)
        for name in MODULES
        for test in finder.find(importlib.import_module(name))
        if test.examples
    }
    assert len(found) >= 30
    assert sum(found.values()) >= 150
