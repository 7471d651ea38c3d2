"""The wheel carries its configs and works from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import alasca_pl

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


def test_wheel_holds_every_config(installed):
    packed = {path.relative_to(installed / "alasca_pl" / "conf") for path in installed.glob("alasca_pl/conf/**/*.yaml")}
    assert packed == {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").glob("**/*.yaml")}


def test_wheel_says_that_it_is_typed(installed):
    assert (installed / "alasca_pl" / "py.typed").is_file()


@pytest.mark.slow
def test_both_archives_are_fit_for_an_index(tmp_path):
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    made = sorted(tmp_path.iterdir())
    assert {file.suffix for file in made} >= {".gz", ".whl"}, made
    check = [sys.executable, "-m", "twine", "check", "--strict", *map(str, made)]
    done = subprocess.run(check, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == alasca_pl.__version__
    assert citation["license"] == "MIT" and citation["references"][0]["year"] == 2023
    assert f"version = {{{alasca_pl.__version__}}}" in (ROOT / "docs" / "howto" / "cite.md").read_text()


@pytest.mark.slow
def test_wheel_trains_from_another_folder(installed, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    where = "import alasca_pl.cli as cli; print(cli.CONF_DIR)"
    asked = subprocess.run([sys.executable, "-c", where], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert asked.stdout.strip() == str(installed / "alasca_pl" / "conf")
    command = [sys.executable, "-m", "alasca_pl.cli", "trainer=smoke", "hydra.run.dir=run"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Test accuracy" in done.stdout
    assert (tmp_path / "run" / "record.json").is_file()
    # wandb stays away unless its logger is chosen.
    assert "wandb" not in done.stdout + done.stderr
