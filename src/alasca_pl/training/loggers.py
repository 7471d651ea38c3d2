"""Loggers of Lightning; where they write cannot be chosen by a config, because configs also come from elsewhere."""

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger

from alasca_pl.core.errors import UserError


def make_tensorboard_logger(save_dir: str) -> Logger:
    """Event files in ``tensorboard`` in the run's folder; a resumed run adds to them.

    Args:
        save_dir: The run's folder.

    Raises:
        UserError: If TensorBoard is not installed.
    """
    try:
        return TensorBoardLogger(save_dir, name="tensorboard", version="")
    except ModuleNotFoundError as error:
        raise UserError(
            "logger=tensorboard needs TensorBoard; install it with pip install 'alasca-pl[tensorboard]'"
        ) from error


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
    try:
        import mlflow
    except ModuleNotFoundError as error:
        raise UserError("logger=mlflow needs MLflow; install it with pip install 'alasca-pl[mlflow]'") from error
    # Lightning's own choice is a folder of files, which MLflow no longer takes.
    uri = mlflow.get_tracking_uri()
    return MLFlowLogger(experiment_name=experiment_name, run_name=run_name, tracking_uri=uri, run_id=run_id)
