"""Weights & Biases, imported only if it is used."""

import hashlib
from typing import Any

from alasca_pl.core.errors import UserError


def make_wandb_logger(save_dir: str, config: dict[str, Any], offline: bool = False, **options: Any) -> Any:
    """Make Lightning's logger with its files inside the run's folder.

    Args:
        save_dir: The run's folder.
        config: Resolved config as plain containers, shown beside the run.
        offline: Write files for a later ``wandb sync`` and use no network.
        options: Further arguments of ``lightning.pytorch.loggers.WandbLogger``, e.g. project, group, name.

    Raises:
        UserError: If wandb is not installed.
    """
    from lightning.pytorch.loggers import WandbLogger

    try:
        # An id that belongs to the folder, so that a resumed run continues the same W&B run.
        identity = hashlib.sha256(save_dir.encode()).hexdigest()[:16]
        return WandbLogger(save_dir=save_dir, offline=offline, config=config, id=identity, resume="allow", **options)
    except ModuleNotFoundError as error:
        raise UserError("logger=wandb needs wandb; install it with pip install 'alasca-pl[wandb]'") from error
