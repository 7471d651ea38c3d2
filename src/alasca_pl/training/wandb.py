"""Weights & Biases, imported only if it is used."""

import contextlib
import logging
import netrc
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import rank_zero_experiment
from lightning.pytorch.utilities import rank_zero_only

from alasca_pl.core.errors import UserError
from alasca_pl.core.extras import is_installed
from alasca_pl.core.metric_names import LOSS_OF_STEP, VAL
from alasca_pl.core.paths import change_paths
from alasca_pl.core.run_folder import RunFolder

log = logging.getLogger(__name__)

# What wandb would send about the machine, the command and the code: names of hosts, users, folders and packages.
_PRIVATE: dict[str, Any] = {
    "console": "off",
    "disable_git": True,
    "host": "",
    "save_code": False,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_save_requirements": False,
}


class WandbRunLogger(WandbLogger):
    """Lightning's logger for one run, which ends with it.

    Curves have the epoch as their horizontal axis, those of single steps the step. The accuracy on the validation split is
    summarised by its last and its largest value.

    Args:
        suspects: How many of the most suspicious labels are shown with their images when the run ends.
        options: See ``lightning.pytorch.loggers.WandbLogger``.
    """

    def __init__(self, suspects: int = 100, **options: Any) -> None:
        super().__init__(**options)
        self.suspects = suspects

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        is_new = self._experiment is None
        run = super().experiment
        if is_new:
            run.define_metric("epoch", hidden=True)
            run.define_metric("*", step_metric="epoch")
            run.define_metric(f"{VAL}/*", step_metric="epoch", summary="last,max")
            run.define_metric(LOSS_OF_STEP, step_metric="trainer/global_step", step_sync=True)
        return run

    @property
    def folder(self) -> Path | None:
        """Folder of the files that ``wandb sync`` sends, or None if this run sends them itself."""
        settings = getattr(self._experiment, "settings", None)
        return Path(settings.sync_dir) if settings is not None and getattr(settings, "_offline", False) else None

    @rank_zero_only
    def end(self, is_finished: bool) -> None:
        """End the run in W&B, after which nothing can be added to it. Without it, a later run in this process joins this one."""
        if self._experiment is None:
            return
        folder = self.folder
        self._experiment.finish(exit_code=0 if is_finished else 1)
        self._experiment = None
        if folder is not None:
            log.info("%s sends this run to Weights & Biases", shlex.join(["wandb", "sync", str(folder)]))


def make_wandb_logger(
    save_dir: str,
    config: dict[str, Any],
    offline: bool = False,
    project: str = "alasca_pl",
    entity: str | None = None,
    name: str | None = None,
    group: str | None = None,
    job_type: str | None = None,
    tags: Sequence[str] = (),
    notes: str | None = None,
    suspects: int = 100,
    private: bool = True,
    run_id: str | None = None,
) -> WandbRunLogger:
    """Make Lightning's logger with its files inside the run's folder.

    Who is not logged in gets files for a later ``wandb sync``: training does not wait for an answer, and nothing is lost. If
    such a run is killed, wandb loses up to 32 KiB that it has not written yet; the run's own ``metrics.csv`` has all epochs.

    Args:
        save_dir: The run's folder.
        config: Resolved config as plain containers, shown beside the run. Of paths the last component is shown.
        offline: Write files for a later ``wandb sync`` and use no network.
        project: Project in W&B.
        entity: User or team in W&B; None: the user's default.
        name: Name of the run; None: W&B chooses one.
        group: Group of the run; None: the sweep that it is a job of, else the first two tags.
        job_type: Type of the run.
        tags: Tags of the run.
        notes: A longer description.
        suspects: How many of the most suspicious labels are shown with their images when the run ends; 0: none.
        private: Send nothing about the machine, the command, the installed packages and the code.
        run_id: Id of the run in W&B that is continued, or None for a new one.

    Raises:
        UserError: If wandb is not installed.
    """
    # Arguments are listed one by one: a config from elsewhere must not choose the server that gets the user's key.
    if not is_installed("wandb"):
        raise UserError("logger=wandb needs wandb; install it with pip install 'alasca-pl[wandb]'")
    import wandb

    if group is None:
        folder = RunFolder(save_dir)
        group = folder.path.parent.name if folder.job.is_file() else "_".join(tags[:2]) or None
    # Without a mode, wandb goes by its environment variable; without an id, by that of an agent of a sweep of W&B.
    is_offline = offline or not _logged_in()
    return WandbRunLogger(
        suspects=suspects,
        save_dir=save_dir,
        config=_without_folders(config),
        id=run_id,
        project=project,
        entity=entity,
        name=name,
        group=group,
        job_type=job_type,
        tags=list(dict.fromkeys(tags)),
        notes=notes,
        # What wandb says of a run without a network is said by the run's own log.
        settings=wandb.Settings(**(_PRIVATE if private else {}), quiet=is_offline),
        **({"mode": "offline"} if is_offline else {}),
    )


def _without_folders(config: dict[str, Any]) -> dict[str, Any]:
    """A config with paths cut to their last component: folders tell names of users and machines."""
    shown = change_paths(config, lambda path, _: Path(path).name if isinstance(path, str) else path)
    return {**shown, "ckpt_path": config.get("ckpt_path") and Path(config["ckpt_path"]).name}


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
