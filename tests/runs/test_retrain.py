"""Commands that train as a run did, on other labels of its data."""

import shlex
from pathlib import Path

import pytest
import yaml

from alasca_pl.cli import CONF_DIR
from alasca_pl.runs.retrain import COMMON, OF_FILES, retrain_command
from report.trees import make_run
from running import compose_config, initialize_config_dir


def options_of(top: Path, overrides: str, form: str, **choices: str) -> list[str]:
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        made = compose_config("train", overrides.split())
    make_run(top, overrides=overrides.split(), choices={**made.choices, **choices})
    words = shlex.split(retrain_command(top, form, Path("clean.csv"), "images" if form == "csv" else None))
    assert words[0] == "alasca-train"
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        # It is accepted.
        assert compose_config("train", words[1:]).choices["noise"] == "none"
    return words[1:]


NEW = ["data=npz", "data.path=clean.csv"]


@pytest.mark.parametrize(
    ("overrides", "form", "expected"),
    [
        ("data=folder data.root=a method=elr epochs=9 seed=3 data.image_size=32 data.num_val=7", "csv",
         ["method=elr", "epochs=9", "seed=3", "data.image_size=32", "data.num_val=7", "data=csv", "data.path=clean.csv",
          "data.root=images"]),
        # Of other data sets, what all data sets have.
        ("data=csv data.path=a.csv data.image_size=32 data.batch_size=8 data.labels_are_clean=true", "npz",
         ["data.batch_size=8", *NEW]),
        # The written labels are those to train on.
        ("noise=symmetric noise.rate=0.4 audit.plant=0.1 method=gce criterion.q=0.5 data.max_train_samples=100", "npz",
         ["method=gce", "criterion.q=0.5", *NEW]),
        ("setting=symmetric50 component=none trainer=smoke", "npz", ["component=none", "trainer=smoke", *NEW]),
    ],
)  # fmt: skip
def test_options_of_the_run_are_kept_but_not_those_of_its_labels(tmp_path, overrides, form, expected):
    assert options_of(tmp_path, overrides, form) == expected


def test_an_experiment_is_named_by_what_it_chose(tmp_path):
    words = options_of(tmp_path, "experiment=a_coteaching seed=2", "npz")
    assert {"method=co_teaching", "alasca=paper", "seed=2"} <= set(words)
    assert not any(word.startswith("experiment") for word in words)


def test_a_scale_takes_no_subset_of_a_subset(tmp_path):
    made = {"data.max_train_samples": 2500}
    make_run(tmp_path, overrides=["scale=small", "data=cifar10"], choices={"data": "cifar10"}, config=made)
    line = retrain_command(tmp_path, "npz", Path("b.npz"), None)
    assert line == "alasca-train data.max_train_samples=null scale=small data=npz data.path=b.npz"


def test_folders_of_configs_are_kept_and_a_run_that_is_gone_does_no_harm(tmp_path):
    make_run(tmp_path, overrides=["method=mine"], config_dirs=["--config-dir", "/my conf"])
    line = retrain_command(tmp_path, "npz", Path("b.npz"), None)
    assert line == "alasca-train --config-dir '/my conf' method=mine data=npz data.path=b.npz"
    assert retrain_command(tmp_path / "gone", "npz", Path("b.npz"), None) == "alasca-train data=npz data.path=b.npz"


def test_the_settings_of_all_data_sets_are_those_of_the_config():
    known = yaml.safe_load((CONF_DIR / "train.yaml").read_text())["data"].keys()
    # Those that say which samples there are, which the written file says.
    of_samples = {
        "num_classes",
        "num_samples",
        "max_train_samples",
        "max_test_samples",
        "class_map",
        "class_groups",
        "_target_",
    }
    assert set(COMMON) == known - of_samples
    of_files = yaml.safe_load((CONF_DIR / "data" / "folder.yaml").read_text())["data"].keys()
    assert set(OF_FILES) == of_files - {
        "name",
        "root",
        "extract_to",
        "_paths_",
        "reader",
        "num_val",
        "labels_are_clean",
    }
