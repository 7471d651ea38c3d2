import csv

import lightning as L

from running import config_for, train


class LogsTheEpoch(L.Callback):
    """A user's callback."""

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        pl_module.log("own", float(trainer.current_epoch))


def test_what_a_callback_logs_is_in_the_row_of_its_epoch(tmp_path):
    assert config_for()["epochs"] == 3
    record = train(tmp_path, "+callbacks.own={_target_: training.test_history.LogsTheEpoch}")
    with (tmp_path / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["own"]) for row in rows] == [0.0, 1.0, 2.0]
    assert record.metrics["last"]["own"] == 2.0
