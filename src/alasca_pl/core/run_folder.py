"""Names of all files of a run, in one place."""

from os import PathLike
from pathlib import Path

from alasca_pl.core.errors import UserError


class RunFolder:
    """The folder of a run.

    Args:
        path: The folder; it need not exist.

    Example:
        >>> RunFolder("runs/first").last.as_posix()
        'runs/first/checkpoints/last.ckpt'
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    @classmethod
    def of_checkpoint(cls, checkpoint: Path) -> "RunFolder":
        """Return the folder of the run that a checkpoint belongs to; the checkpoint need not exist."""
        return cls(checkpoint.absolute().parent.parent)

    @property
    def config(self) -> Path:
        """The resolved config."""
        return self.path / "config.yaml"

    @property
    def record(self) -> Path:
        """Config, environment and results; see ``RunRecord``."""
        return self.path / "record.json"

    @property
    def metrics(self) -> Path:
        """One row of metrics per epoch."""
        return self.path / "metrics.csv"

    @property
    def noise(self) -> Path:
        """Observed and clean labels of the training split."""
        return self.path / "noise.npz"

    @property
    def samples(self) -> Path:
        """What training showed about each label; see ``SampleFile``."""
        return self.path / "samples.npz"

    @property
    def job(self) -> Path:
        """What a sweep knows of the run, if it is a job of one."""
        return self.path / "job.json"

    @property
    def curves(self) -> Path:
        """Picture of the training curves."""
        return self.path / "curves.png"

    @property
    def measured(self) -> Path:
        """Folder of what was measured on checkpoints, see ``Measurement``."""
        return self.path / "measured"

    @property
    def second(self) -> Path:
        """Second scores of the labels, see ``SecondScores``."""
        return self.path / "second.npz"

    @property
    def folds(self) -> Path:
        """Folder of the runs that were trained without a fold of this run's labels each."""
        return self.path / "folds"

    @property
    def log(self) -> Path:
        """What was logged."""
        return self.path / "train.log"

    @property
    def lock_name(self) -> str:
        """Name of the file that is there while a process works in the folder."""
        return ".lock"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """Checkpoint of the last epoch, or of a later step: the one to continue from."""
        return self.checkpoint("last")

    @property
    def best(self) -> Path:
        """Checkpoint of the epoch with the best accuracy on the validation split."""
        return self.checkpoint("best")

    def checkpoint(self, name: str) -> Path:
        """Checkpoint by its name without suffix."""
        return self.checkpoints / f"{name}.ckpt"

    def would_overwrite(self) -> list[str]:
        """Names of existing files, other than the record, that a new run in this folder would overwrite."""
        files = (self.config, self.noise, self.metrics, self.samples, self.curves, self.checkpoints, self.measured)
        return [file.name for file in files if file.exists()]


def find_checkpoint(place: str | Path, name: str = "last") -> Path:
    """A checkpoint that exists, from its own path or from the folder of its run.

    Args:
        place: The run's folder, or the file.
        name: Which checkpoint of the folder, ``last`` or ``best``.

    Raises:
        UserError: If there is none; the message says what is there instead.
    """
    path = Path(place).expanduser()
    if path.is_file():
        return path
    run = RunFolder.of_checkpoint(path) if path.suffix == ".ckpt" else RunFolder(path)
    wanted = path if path.suffix == ".ckpt" else run.checkpoint(name)
    if wanted.is_file():
        return wanted
    raise UserError(f"no checkpoint {wanted}{_instead(run, wanted.stem)}")


def find_run(folder: str | Path, checkpoint: str = "last") -> Path:
    """A checkpoint that exists, from the folder of its run.

    Args:
        folder: The run's folder.
        checkpoint: ``last`` or ``best``.

    Raises:
        UserError: If the folder is none of a run that has such a checkpoint.
    """
    if not isinstance(folder, str | PathLike):
        raise UserError(f"the folder of a run is a path, e.g. 'runs/first', got {folder!r}")
    path = Path(folder).expanduser()
    if path.is_file():
        of = RunFolder.of_checkpoint(path).path if path.suffix == ".ckpt" else "runs/first"
        raise UserError(f"{path} is a file; give the folder of a run, e.g. {of}")
    return find_checkpoint(path, checkpoint)


def _instead(run: RunFolder, name: str) -> str:
    """Why there is no such checkpoint, and what to do."""
    if not run.path.is_dir():
        return f": there is no folder {run.path}; give the folder of a run, e.g. runs/first"
    others = sorted(file.stem for file in run.checkpoints.glob("*.ckpt")) if run.checkpoints.is_dir() else []
    if others:
        return f"; the run has {', '.join(others)}; give another one"
    if run.record.is_file() or run.config.is_file():
        return (
            ": the run was stopped before its first one, its checkpoints were removed, or only its record was imported; the "
            "alasca-train command that made the folder starts an unfinished run again"
        )
    inside = sorted(record.parent for record in run.path.glob(f"*/{run.record.name}"))
    if inside:
        runs = f"{len(inside)} runs" if len(inside) > 1 else "a run"
        return f": {run.path} holds {runs} and is none itself, as the folder of a sweep; give one of them, e.g. {inside[0]}"
    return f": {run.path} holds no run, it has no {run.record.name}; give the folder of a run, e.g. runs/first"
