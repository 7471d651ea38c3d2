"""Loggers of Lightning; where they write cannot be chosen by a config, because configs also come from elsewhere."""

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger

from alasca_pl.core.errors import UserError
from alasca_pl.core.extras import is_installed


def make_tensorboard_logger(save_dir: str) -> Logger:
    """Event files in ``tensorboard`` in the run's folder; a resumed run adds to them.

    Args:
        save_dir: The run's folder.

    Raises:
        UserError: If TensorBoard is not installed.
    """
    if not is_installed("tensorboard") and not is_installed("tensorboardX"):
        raise UserError("logger=tensorboard needs TensorBoard; install it with pip install 'alasca-pl[tensorboard]'")
    return TensorBoardLogger(save_dir, name="tensorboard", version="")


def make_mlflow_logger(
    experiment_name: str = "alasca_pl", run_name: str | None = None, run_id: str | None = None
) -> Logger:
    """A run of MLflow at ``MLFLOW_TRACKING_URI``, or in ``mlflow.db`` in the current folder, where ``mlflow ui`` finds it.

    Args:
        experiment_name: Experiment in MLflow.
        run_name: Name of the run; None: MLflow chooses one.
        run_id: Id of the run in MLflow that is continued, or None for a new one.

    Raises:
        UserError: If MLflow is not installed.
    """
    if not is_installed("mlflow"):
        raise UserError("logger=mlflow needs MLflow; install it with pip install 'alasca-pl[mlflow]'")
    import mlflow

    # Lightning's own choice is a folder of files, which MLflow no longer takes.
    uri = mlflow.get_tracking_uri()
    return MLFlowLogger(experiment_name=experiment_name, run_name=run_name, tracking_uri=uri, run_id=run_id)
