"""Weights & Biases, imported only if it is used."""

import contextlib
import hashlib
import logging
import netrc
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from alasca_pl.core.errors import UserError

log = logging.getLogger(__name__)


def make_wandb_logger(save_dir: str, config: dict[str, Any], offline: bool = False, **options: Any) -> Any:
    """Make Lightning's logger with its files inside the run's folder.

    Who is not logged in gets files for a later ``wandb sync``: training does not wait for an answer, and nothing is lost.

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
        offline = offline or not _logged_in()
        # An id that belongs to the folder, so that a resumed run continues the same W&B run.
        identity = hashlib.sha256(save_dir.encode()).hexdigest()[:16]
        return WandbLogger(save_dir=save_dir, offline=offline, config=config, id=identity, resume="allow", **options)
    except ModuleNotFoundError as error:
        raise UserError("logger=wandb needs wandb; install it with pip install 'alasca-pl[wandb]'") from error


def _logged_in() -> bool:
    if os.environ.get("WANDB_MODE", "online") != "online" or os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    for file in (os.environ.get("NETRC"), Path.home() / ".netrc", Path.home() / "_netrc"):
        # Where wandb login leaves the key; wandb's own question for it prompts or uses the network.
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if file and netrc.netrc(file).authenticators(host):
                return True
    log.warning(
        "not logged in to Weights & Biases: files are kept for wandb sync; wandb login sends further runs at once"
    )
    return False
