"""From a resolved config to the trainer with its callbacks."""

from collections.abc import Mapping

import lightning as L
from lightning.pytorch.loggers import Logger

from alasca_pl.build.make import Config, make_part
from alasca_pl.core.errors import UserError
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.training.callbacks.checkpoints import AtomicCheckpointIO, checkpoint_callbacks
from alasca_pl.training.callbacks.early_end import EarlyEnd
from alasca_pl.training.callbacks.guards import ParallelGuard, RankRng
from alasca_pl.training.callbacks.history import History
from alasca_pl.training.callbacks.label_evidence import LabelEvidence
from alasca_pl.training.callbacks.monitor import NoiseMonitor
from alasca_pl.training.callbacks.scans import ScanCallback
from alasca_pl.training.callbacks.stopping import Stopping


def build_trainer(
    config: Config, data: NoisyDataModule, folder: RunFolder, run_ids: Mapping[str, str] | None = None
) -> L.Trainer:
    """Make the trainer with its callbacks and loggers.

    Args:
        config: Resolved config as plain containers.
        data: The data.
        folder: The run's folder.
        run_ids: Ids of the run in the services of its loggers, by the loggers' names in the config, if it is resumed.

    Raises:
        UserError: If a value is wrong.
    """
    identity = {
        "the config": config,
        "the noisy labels": data.facts.noise_digest,
        "the run's folder": str(folder.path),
    }
    try:
        checkpoints = checkpoint_callbacks(folder, "val" in data.sizes, config["checkpoint"]["every_n_steps"])
        # Without an evaluation split there is nothing to validate, and Lightning would warn about it.
        nothing = {} if data.facts.eval_splits else {"limit_val_batches": 0}
        callbacks = [
            make_part(f"callbacks.{name}", L.Callback, node) for name, node in config["callbacks"].items() if node
        ]
        for callback in callbacks:
            _check_monitor(callback, data)
        return L.Trainer(
            **{**config["trainer"], **nothing},
            logger=[
                make_part(
                    f"logger.{name}",
                    Logger,  # type: ignore[type-abstract]
                    node,
                    save_dir=str(folder.path),
                    config=config,
                    run_id=(run_ids or {}).get(name),
                )
                for name, node in config["logger"].items()
                if node
            ]
            or False,
            callbacks=[
                Stopping(),
                ParallelGuard(identity),
                ScanCallback(),
                NoiseMonitor(data.noisy_labels),
                *(
                    [LabelEvidence(data.noisy_labels, config["num_networks"], data.image_names, folder.samples)]
                    if config["report"].get("samples", True)
                    else []
                ),
                *callbacks,
                # Configs that were recorded before there was this option have none.
                EarlyEnd(config.get("early_end", {}).get("patience")),
                # After all callbacks that log at the end of an epoch.
                History(folder.metrics),
                RankRng(config["seed"]),
                *checkpoints,
            ],
            plugins=[AtomicCheckpointIO()],
            default_root_dir=str(folder.path),
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
        )
    except (ValueError, TypeError, L.fabric.utilities.exceptions.MisconfigurationException) as error:
        raise error if isinstance(error, UserError) else UserError(f"trainer: {error}") from error


def _check_monitor(callback: L.Callback, data: NoisyDataModule) -> None:
    """Refuse a callback that waits for a metric of no split; Lightning would notice after the first epoch."""
    monitor = getattr(callback, "monitor", None)
    splits = ["train", *data.facts.eval_splits]
    if isinstance(monitor, str) and monitor.partition("/")[0] not in splits:
        raise UserError(
            f"{type(callback).__name__} waits for the metric {monitor!r}; metrics begin with the name of a split "
            f"({', '.join(splits)}), e.g. {splits[-1] if 'val' not in splits else 'val'}/acc"
        )
