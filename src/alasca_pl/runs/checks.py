"""Whether a checkpoint belongs to a run."""

import shlex
from collections.abc import Callable, Mapping
from typing import Any

from alasca_pl.build.make import Config
from alasca_pl.core.checkpoint import facts_of
from alasca_pl.core.errors import UserError
from alasca_pl.core.experiment import differing_keys
from alasca_pl.core.record import RunRecord
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.runs.fits import rows_of
from alasca_pl.runs.resume import needs_trust
from alasca_pl.training.callbacks.early_end import EarlyEnd


def check_config(old: Config, new: Config, recompose: Callable[[], Mapping[str, Any] | None] | None = None) -> None:
    """Raise ``UserError`` unless two configs, as composed, describe the same experiment.

    Args:
        old: The checkpoint's config.
        new: The run's config.
        recompose: Gives the config that the checkpoint's command has today, or None. Options that were added since count
            with their default.
    """
    different = differing_keys(old, new)
    if different and recompose is not None and any(before is None for before, _ in different.values()):
        different = differing_keys(old, new, recompose())
    if different:
        listing = ", ".join(f"{name} (was {before!r}, now {now!r})" for name, (before, now) in different.items())
        raise UserError(
            f"this is not the run that the checkpoint is from, these values differ: {listing}; "
            "leave them as they were, or start a new run without ckpt_path"
        )


def check_epochs(stored: dict[str, Any], previous: RunRecord | None, config: Config, folder: RunFolder) -> None:
    """Refuse a checkpoint from which there is nothing to train.

    Args:
        stored: The checkpoint.
        previous: Record of the run that goes on in its own folder, or None.
        config: The run's config.
        folder: The run's folder.

    Raises:
        UserError: If the checkpoint has all epochs or steps that are asked for, or training ended early.
    """
    done, steps = len(rows_of(stored)), stored.get("global_step")
    is_finished = previous is not None and previous.status == "finished"
    patience, most = config.get("early_end", {}).get("patience"), config["trainer"].get("max_steps")
    early = stored["callbacks"].get(EarlyEnd.__qualname__)
    # What was edited is refused when the module is there to compare with.
    waited = early.get("waited", 0) if isinstance(early, Mapping) else 0
    if patience is not None and isinstance(waited, int) and waited >= patience:
        what = f"training ended early after {done} epochs, {waited} of them without a better accuracy on the validation split"
        raise UserError(_nothing_left(what, "early_end.patience=null", previous, folder))
    if isinstance(most, int) and isinstance(steps, int) and 0 < most <= steps:
        what = f"the checkpoint has {steps} steps, trainer.max_steps={most} asks for no more"
        raise UserError(_nothing_left(what, None, previous, folder))
    asked, name = config["trainer"]["max_epochs"], "trainer.max_epochs"
    if asked == config["epochs"]:
        name = "epochs"
    if asked is None or asked < 0:
        return
    if done > asked or (done == asked and is_finished):
        what = f"the checkpoint has {done} finished epochs, {name}={asked} asks for no more"
        raise UserError(_nothing_left(what, f"epochs={2 * done}", previous, folder))


def _nothing_left(what: str, option: str | None, previous: RunRecord | None, folder: RunFolder) -> str:
    """Why nothing is trained, where the result of a finished run is, and the option that trains longer, if there is one."""
    longer = "it cannot be trained longer" if option is None else f"{option} trains longer"
    if previous is None or previous.status != "finished":
        return f"{what}; {longer}"
    if option is not None:
        trust = ["trust=true"] if needs_trust(previous.overrides, previous.config_dirs) else []
        longer = f"to train longer: {shlex.join(['alasca-train', f'ckpt_path={folder.path}', option, *trust])}"
    files = f"{folder.record.name}, {folder.metrics.name}, {folder.curves.name}"
    return f"this run is finished: {what}. Its result is in {folder.path} ({files}); {longer}"


def check_data(data: NoisyDataModule, stored: dict[str, Any]) -> None:
    """Raise ``UserError`` unless a checkpoint was trained on these data and labels."""
    facts = facts_of(stored)
    for name in ("name", "num_classes", "num_samples", "image_shape", "noise_digest"):
        before, now = getattr(facts, name), getattr(data.facts, name)
        if before != now:
            what = "noisy labels (SHA-256)" if name == "noise_digest" else f"data {name}"
            raise UserError(
                f"the checkpoint was made with other {what}: {before}, now {now}; point data.root or data.path to the "
                "same data, or start a new run without ckpt_path"
            )
