"""The command that trains as a run did, on other labels of its data."""

from collections.abc import Iterator
from pathlib import Path

from alasca_pl.audit import tables
from alasca_pl.core.errors import UserError
from alasca_pl.core.overrides import option_name
from alasca_pl.core.record import RunRecord
from alasca_pl.core.run_folder import RunFolder

# What says which labels a run has; the written file says it instead.
_OF_LABELS = ("data", "noise", "setting", "experiment", "audit", "ckpt_path")
# Groups that an experiment may have chosen besides.
_OF_EXPERIMENT = ("method", "alasca", "aux", "model", "optim", "scale")
# Settings of all data sets that hold for the written file, too.
COMMON = (
    "num_val", "noisy_val", "split_seed", "subset_size", "subset_redraw", "batch_size", "eval_batch_size", "drop_last",
    "mean", "std", "augment", "padding", "flip",
)  # fmt: skip
# Further settings of images in files, which data=folder and data=csv share.
OF_FILES = ("image_size", "channels", "grey_range", "loader", "memory_limit_mb", "num_workers", "check", "on_corrupt")


def retrain_command(run: str | Path, form: str, path: Path, root: str | None) -> str:
    """Command that trains on a written list as a run was trained: by its method, recipe, network, number of epochs and so on.

    Args:
        run: Folder of the run; without its record only the list is named.
        form: Name of group data that reads the list.
        path: The list.
        root: What its paths are relative to, or None.
    """
    try:
        record = RunRecord.read(RunFolder(run).record)
    except UserError:
        return tables.command(form, path, root)
    return tables.command(form, path, root, [*record.config_dirs, *_kept(record, form)])


def _kept(record: RunRecord, form: str) -> Iterator[str]:
    names = [option_name(item) for item in record.overrides]
    if "experiment" in names:
        chosen = {group: record.choices.get(group) for group in _OF_EXPERIMENT if group not in names}
        yield from (f"{group}={choice}" for group, choice in chosen.items() if choice is not None)
    if {"scale", "experiment"} & set(names):
        # The written file holds the subset that they chose.
        sizes = (
            name for name in ("max_train_samples", "max_test_samples") if record.config["data"].get(name) is not None
        )
        yield from (f"data.{name}=null" for name in sizes)
    shared = (*COMMON, *OF_FILES) if form == "csv" and record.choices.get("data") in ("folder", "csv") else COMMON
    for name, item in zip(names, record.overrides, strict=True):
        group, _, rest = name.partition(".")
        if group not in _OF_LABELS or (group == "data" and rest.partition(".")[0] in shared):
            yield item
