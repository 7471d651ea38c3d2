"""The number of epochs has two names and one value."""

import json

import pytest

from alasca_pl.cli.arguments import epoch_arguments
from alasca_pl.core.errors import UserError
from alasca_pl.runs.early import check_early
from running import command, config_for


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["trainer.max_epochs=5"], ["epochs=5"]),
        (["-m", "trainer.max_epochs=5,7"], ["-m", "epochs=5,7"]),
        (["trainer=smoke", "epochs=5"], ["trainer=smoke", "epochs=5"]),
        (["epochs=5"], ["epochs=5"]),
        (["trainer=smoke"], ["trainer=smoke"]),
        (["epochs=5", "trainer.max_epochs=5"], ["epochs=5", "trainer.max_epochs=5"]),
        (["epochs=5", "trainer.max_epochs=${epochs}"], ["epochs=5", "trainer.max_epochs=${epochs}"]),
    ],
)
def test_it_is_written_by_one_name(given, expected):
    assert epoch_arguments(given) == expected


def test_two_values_are_refused_before_anything_is_composed(tmp_path):
    outcome = command(tmp_path, "trainer=smoke", "epochs=2", "trainer.max_epochs=5")
    assert outcome.code == 1 and "epochs=2 and trainer.max_epochs=5 are one setting; give epochs only" in outcome.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["epochs=3", "trainer.max_epochs=3"])
def test_a_smoke_test_trains_the_epochs_that_are_asked_for(tmp_path, option):
    outcome = command(tmp_path, "trainer=smoke", "callbacks=quiet", option, "optim=sgd_cosine", "hydra.run.dir=run")
    assert outcome.code == 0, outcome
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["config"]["optim"]["scheduler"]["T_max"] == record["config"]["trainer"]["max_epochs"] == 3
    assert record["metrics"]["last"]["epoch"] == 2
    # Nor does the run print or record an option that nobody gave.
    assert record["overrides"] == ["trainer=smoke", "callbacks=quiet", "epochs=3", "optim=sgd_cosine"]
    assert "max_epochs" not in outcome.out


def test_a_config_file_cannot_part_them():
    config = config_for()
    config["trainer"]["max_epochs"] = 7
    with pytest.raises(UserError, match=r"trainer.max_epochs=7 and epochs=3: .*give epochs only"):
        check_early(config)
    config["trainer"]["limit_train_batches"] = 2
    check_early(config)
