"""Names of folders that commands choose themselves."""

import re
from pathlib import Path

from omegaconf import OmegaConf

# Groups data for data sets of one's own; the others name a data set.
OWN_DATA = ("folder", "csv", "npz", "huggingface")


def data_word(choice: str, *places: str | None) -> str:
    """The word for the data in a run's folder: the chosen group, or, for data of one's own, where they are.

    Args:
        choice: Choice of the group data.
        places: Paths, of which the first that is given counts.

    Example:
        >>> data_word("cifar10", "/files/data"), data_word("csv", None, "/files/my images/train.csv")
        ('cifar10', 'train')
    """
    given = next((place for place in places if place), None)
    if choice not in OWN_DATA or given is None:
        return choice
    path = Path(str(given)).expanduser().absolute()
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError):
        # A name that no file can have; the reader says so.
        is_folder = False
    name = path.name if is_folder else path.name.partition(".")[0]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:60] or choice


def register() -> None:
    """Let configs call ``data_word``."""
    OmegaConf.register_new_resolver("data_word", data_word, replace=True)
