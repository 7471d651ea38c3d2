"""Recipes for images of one's own: chosen by their size, overruled by hand, and trained."""

import csv
import json
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from alasca_pl.build.schema import oracle_slots
from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.composition import Composed, compose_config
from alasca_pl.cli.recipes import choose
from alasca_pl.core.errors import UserError
from cli.test_own_data import write_folder
from running import command, slow_unless

RECIPES = sorted(file.stem for file in (CONF_DIR / "recipe").glob("*.yaml"))
BY_SIZE = {
    "small": ["model=small", "model.backbone.width=32", "suggested.lr=0.05"],
    "large": ["model=timm", "model.backbone.name=resnet18", "data.image_size=128", "epochs=9"],
}


def composed(*overrides: str) -> tuple[dict, Composed]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        found = compose_config("train", overrides)
    return OmegaConf.to_container(found.config, resolve=True, throw_on_missing=True), found


@pytest.mark.parametrize(
    ("size", "given", "expected"),
    [
        (64, [], BY_SIZE["small"]),
        ([40, 65], [], BY_SIZE["large"]),
        (64, ["data=folder", "seed=1"], BY_SIZE["small"]),
        (64, ["model=resnet50"], ["suggested.lr=0.05"]),
        # The same network, another width.
        (64, ["model=small", "model.backbone.width=8"], ["suggested.lr=0.05"]),
        (64, ["model=small"], BY_SIZE["small"][1:]),
        (64, ["optim.lr=0.3", "suggested.lr=0.3"], BY_SIZE["small"][:2]),
        (200, ["epochs=3", "data.image_size=200"], BY_SIZE["large"][:2]),
    ],
)
def test_options_are_chosen_by_size_and_given_by_hand(size, given, expected):
    found = choose("quick", BY_SIZE, {"image_size": size}, "folder", given)
    assert found.options == expected
    height, width = size if isinstance(size, list) else (size, size)
    assert found.remark == f"recipe quick for images of {height} x {width}: {' '.join(expected)}"


def test_the_size_is_the_median_of_what_is_there(tmp_path: Path):
    write_folder(tmp_path / "images", test=0, train=4, size=12)
    write_folder(tmp_path / "images", classes=("cat",), test=0, train=1, size=900)
    (tmp_path / "images" / "cat" / "00.jpg").write_bytes(b"damaged")
    config, found = composed("data=folder", f"data.root={tmp_path / 'images'}", "recipe=quick")
    assert found.remarks[0].startswith("recipe quick for images of 12 x 12: model=small")
    assert config["model"]["backbone"]["width"] == 32 and "recipe" not in config and found.choices["recipe"] == "quick"
    # Arrays have the size that they have.
    np.savez(
        tmp_path / "own.npz", train_images=np.zeros((8, 70, 80, 3), np.uint8), train_labels=np.arange(8) % 2
    )  # fmt: skip
    config, found = composed("data=npz", f"data.path={tmp_path / 'own.npz'}", "recipe=quick")
    assert "recipe quick for images of 70 x 80: model=timm" in found.remarks[0]
    assert config["data"].get("image_size") is None and config["model"]["backbone"]["name"] == "resnet18"


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("size", [32, 200])
def test_values_by_hand_win_and_nothing_true_is_told(recipe, size):
    base = ("data=folder", "data.root=x", f"data.image_size={size}", f"recipe={recipe}")
    plain, _ = composed(*base)
    assert plain["regularizers"]["alasca"] and plain["noise"]["_target_"].endswith("NoiseModel")
    assert oracle_slots(plain) == [] and plain["data"]["num_val"] > 0 and plain["early_end"]["patience"] > 1
    assert plain["early_end"]["patience"] < plain["epochs"] == plain["trainer"]["max_epochs"]
    by_hand = {"epochs": 7, "optim.lr": 0.7, "early_end.patience": None, "data.augment": "none", "data.batch_size": 9}
    words = [f"{name}={'null' if value is None else value}" for name, value in by_hand.items()]
    config, _ = composed(*base, *words, "model=resnet34_cifar", "optim=sgd_steps", "alasca=none", "trainer=smoke")
    for name, value in by_hand.items():
        assert OmegaConf.select(OmegaConf.create(config), name) == value, name
    assert config["model"]["backbone"]["name"] == "resnet34" and "alasca" not in config["regularizers"]
    assert config["optim"]["scheduler"]["_target_"].endswith("MultiStepLR")


@pytest.mark.parametrize("recipe", slow_unless(("quick",), RECIPES))
def test_a_recipe_learns_from_a_folder(recipe, tmp_path: Path):
    write_folder(tmp_path / "images", test=0, train=30)
    small = {"quick": ("model.backbone.width=8", "epochs=12"), "good": ("epochs=4",)}[recipe]
    # 81 images: one is left over, which alone is no batch.
    words = ("data=folder", "data.root=images", "data.batch_size=20", f"recipe={recipe}", *small, "hydra.run.dir=run")
    outcome = command(tmp_path, *words)
    assert outcome.code == 0, outcome
    assert "recipe" in outcome.out and "for images of 12 x 12: model=" in outcome.out
    assert f"for {small[-1].removeprefix('epochs=')} epochs" in outcome.out and "about " in outcome.out
    assert "which labels are likely wrong, on a page to decide: alasca-audit" in outcome.out
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        best = max(float(row["val/acc"]) for row in csv.DictReader(file))
    # A third by chance.
    assert best > 0.6
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["choices"]["recipe"] == recipe and record["status"] == "finished"
    # A resume replays the command, recipe included.
    outcome = command(tmp_path, "ckpt_path=run", f"epochs={int(small[-1].removeprefix('epochs=')) + 1}")
    assert outcome.code == 1 and "optim.scheduler.T_max" in outcome.err


def test_large_images_get_a_network_of_timm(tmp_path: Path):
    write_folder(tmp_path / "images", test=0, train=5, size=80)
    words = ("data=folder", "data.root=images", "recipe=quick", "epochs=1", "data.image_size=72", "data.num_val=3")
    outcome = command(tmp_path, *words, "suggested.pretrained=false", "data.batch_size=4", "hydra.run.dir=run")
    assert outcome.code == 0, outcome
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    backbone = record["config"]["model"]["backbone"]
    assert backbone["name"] == "resnet18" and record["data"]["image_shape"] == [3, 72, 72]


def test_missing_weights_are_reported_before_the_images_are_read(tmp_path: Path, monkeypatch):
    def no_network(*arguments, **options):
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(urllib.request, "urlopen", no_network)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    write_folder(tmp_path / "images", test=0, train=3, size=80)
    # The check of the images would complain of this one.
    (tmp_path / "images" / "cat" / "01.jpg").write_bytes(b"damaged")
    outcome = command(tmp_path, "data=folder", "data.root=images", "recipe=quick")
    assert outcome.code == 1 and "no route; connect to the internet once" in outcome.err, outcome
    assert "Traceback" not in outcome.err and [path.name for path in tmp_path.iterdir()] == ["images"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("recipe=quick",), "recipe=quick is for images of your own (data=folder, csv, npz, huggingface); data=digits has"),
        (("data=folder", "recipe=quick"), "data.root has no value"),
        (("data=folder", "data.root=nothing", "recipe=quick"), "no folder"),
        (("data=folder", "data.root=x", "data.image_size=200", "recipe=good", "model.backbone.width=8"),
         "no option model.backbone.width; model.backbone has _target_, name"),
        (("data=folder", "data.root=x", "recipe=best"), "choose one of good, quick"),
        (("early_end.patience=0",), "early_end.patience must be"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(words, message, tmp_path: Path):
    outcome = command(tmp_path, *words)
    assert outcome.code == 1 and message in outcome.err and "Traceback" not in outcome.err, outcome
    assert len(outcome.err.strip().splitlines()) == 2 and not list(tmp_path.iterdir())


def test_a_recipe_is_refused_where_nothing_can_be_read(tmp_path: Path):
    write_folder(tmp_path / "images", test=0, train=1, size=80)
    for path in (tmp_path / "images").rglob("*.jpg"):
        path.write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"none of the images that were looked at can be read, e\.g\. cat/00\.jpg"):
        composed("data=folder", f"data.root={tmp_path / 'images'}", "recipe=quick")


def test_explain_names_the_recipe(tmp_path: Path):
    write_folder(tmp_path / "images", test=0, train=2)
    outcome = command(tmp_path, "--explain", "data=folder", "data.root=images", "recipe=quick", "suggested.lr=0.2")
    lines = outcome.out.splitlines()
    assert any(line.endswith("recipe quick: model.backbone.width=32") for line in lines), outcome
    assert any(line.endswith("option suggested.lr=0.2") for line in lines)
    assert any(line.startswith("early_end.patience: 10") and line.endswith("conf/recipe/quick.yaml") for line in lines)
