"""Names of all files of a run, in one place."""

from pathlib import Path


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

    @classmethod
    def checkpoint_at(cls, place: str | Path) -> Path:
        """Return a checkpoint from its own path, or the last one of the run whose folder is given."""
        path = Path(place).expanduser()
        return cls(path).last if path.is_dir() else path

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
