"""Paths are found again from any folder, whatever they are called."""

import numpy as np
import pytest

from alasca_pl.build.data import build_data
from alasca_pl.core.errors import UserError
from alasca_pl.core.paths import absolute_paths
from alasca_pl.data.samples import ImageArrays, RawData
from running import command, config_for


@pytest.fixture
def elsewhere(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    return tmp_path / "elsewhere"


def test_a_run_with_a_matrix_from_a_relative_path_is_measured_from_another_folder(tmp_path, elsewhere):
    np.savetxt(tmp_path / "m.csv", 0.8 * np.eye(10) + 0.02, delimiter=",")
    made = command(tmp_path, "trainer=smoke", "noise=matrix", "noise.matrix=m.csv", "hydra.run.dir=run")
    assert made.code == 0, made.err
    measured = command(elsewhere, f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt", entry="evaluate")
    assert measured.code == 0, measured.err


def test_the_images_of_imagenet_are_found_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = absolute_paths(config_for("data=webvision", "model=small", "data.root=web", "data.imagenet_root=nets"))
    assert config["data"]["root"] == str(tmp_path / "web")
    assert config["data"]["imagenet_root"] == str(tmp_path / "nets")


def test_a_name_on_the_hub_is_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_paths(config_for("data=huggingface", "data.path=owner/set"))["data"]["path"] == "owner/set"


def read_own(lists: str, root: str | None = None) -> RawData:
    images = np.zeros((40, 4, 4, 1), dtype=np.uint8)
    assert (lists, root) == ("a", "b")
    return RawData(ImageArrays(images, np.arange(40) % 4))


def own(**values: object) -> dict:
    config = config_for("noise.rate=0.5")
    reader = {"_target_": f"{__name__}.read_own", "lists": "a", "_paths_": ["lists"]}
    node = {"_target_": "alasca_pl.data.datamodule.NoisyDataModule", "name": "own", "reader": reader, "root": "b"}
    return {**config, "data": {**node, "batch_size": 8, "_paths_": ["root"], **values}}


def test_a_data_set_of_ones_own_lists_its_paths_and_its_reader_gets_its_values():
    data = build_data(own(padding=1, num_val=8, extract_to=None))
    assert data.sizes == {"train": 32, "val": 8}
    assert data.batch_size == 8


def test_a_value_that_nothing_takes_is_refused():
    with pytest.raises(
        UserError, match=r"group data has no option extract_to, rot; it takes .*batch_size.*num_val.*root"
    ):
        build_data(own(extract_to="x", rot=90))
