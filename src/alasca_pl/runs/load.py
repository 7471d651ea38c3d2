"""Open a run from its folder."""

import csv
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from alasca_pl.build.make import Config
from alasca_pl.build.module import build_module
from alasca_pl.build.trust import refuse_foreign_targets
from alasca_pl.core.checkpoint import CHECKPOINT_KEY, facts_of, read_checkpoint
from alasca_pl.core.errors import Unchained, UserError
from alasca_pl.core.normalise import Normalise
from alasca_pl.core.record import RunRecord
from alasca_pl.core.rows import Row, read_rows
from alasca_pl.core.run_folder import RunFolder, find_checkpoint, find_run
from alasca_pl.core.types import DataFacts
from alasca_pl.models.network import Network
from alasca_pl.runs.fits import check_weights
from alasca_pl.runs.pixels import Pixels, as_pixels
from alasca_pl.training.module import NoisyLabelModule

if TYPE_CHECKING:
    from alasca_pl.runs.classifier import Classifier
    from alasca_pl.runs.export import Exported
    from alasca_pl.runs.predict import Images, Predictions


log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class LoadedRun:
    """A run opened from its folder.

    Attributes:
        folder: The folder.
        module: The module with the checkpoint's weights and tables, in evaluation mode.
        config: The resolved config.
        facts: Facts about the run's data.
        record: The run's record; None if there is none or it is damaged.
        history: One row of metrics per epoch; empty if there is none or it is damaged.
        epoch: Epoch of the checkpoint, from 0.
    """

    folder: Path
    module: NoisyLabelModule
    config: Config
    facts: DataFacts
    record: RunRecord | None
    history: list[Row]
    epoch: int

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Figures of the run, see ``report.summary.summarise``; empty without a record or before the first epoch."""
        return {} if self.record is None else self.record.metrics

    def __repr__(self) -> str:
        # All fields would be hundreds of lines.
        choices = {} if self.record is None else self.record.choices
        method = " + ".join(str(choices[name]) for name in ("method", "alasca") if choices.get(name, "none") != "none")
        words = [self.facts.name, method, f"epoch {self.epoch + 1}"]
        return f"LoadedRun({str(self.folder)!r}: {', '.join(word for word in words if word)})"

    def normalise(self, images: Pixels, scaled: bool = False) -> Tensor:
        """Normalise pixels for the module.

        Args:
            images: Pixels 0 to 255, uint8, as a tensor (B, C, H, W) or an array (B, H, W[, C]).
            scaled: Whether they are floats in [0, 1] instead.

        Returns:
            float32 (B, C, H, W), on the device of the images.

        Raises:
            UserError: If type, shape or range is another.
        """
        with Unchained():
            pixels = as_pixels(images, self.facts.image_shape[0], scaled)
        return Normalise(self.facts.mean, self.facts.std).to(pixels.device)(pixels)

    def predict(
        self,
        images: "Images",
        batch_size: int = 256,
        device: str = "auto",
        num_workers: int = 0,
        rule: str | None = None,
    ) -> "Predictions":
        """Classify images, given as pixels or as paths of files; see ``predict_images``."""
        from alasca_pl.runs.predict import predict_images

        with Unchained():
            return predict_images(self, images, batch_size, device, num_workers, rule)

    def classifier(self, rule: str | None = None) -> "Classifier":
        """A plain module from pixels, uint8 (B, C, H, W), to probabilities (B, K), to be traced or exported.

        Args:
            rule: Which heads are averaged: ``main``, ``ensemble_all`` or ``main_last``; None for the run's own rule. The mean is
                always over all networks.

        Returns:
            A copy in evaluation mode, which later changes of the run do not reach.

        Raises:
            UserError: If the rule is unknown, or needs auxiliary heads and the run has none.
        """
        from alasca_pl.runs.classifier import Classifier, chosen_rule

        networks: list[Network] = list(self.module.method.networks)  # type: ignore[arg-type]
        with Unchained():
            chosen = chosen_rule(self.module, rule)
        return Classifier(networks, self.facts.mean, self.facts.std, chosen, self.module.predict_average)

    def export(self, form: str, output: str | Path | None = None, rule: str | None = None) -> "Exported":
        """Write the run as one file that needs nothing of this package; see ``export_run``."""
        from alasca_pl.runs.export import export_run

        with Unchained():
            return export_run(self, form, output, rule)


def load_run(folder: str | Path, checkpoint: str = "last", trust: bool = False) -> LoadedRun:
    """Open a run without its data set.

    Args:
        folder: The run's folder.
        checkpoint: ``last`` or ``best``.
        trust: Allow the checkpoint's config to call classes from outside this package. Use it only for files of known
            origin.

    Raises:
        UserError: If the checkpoint cannot be used.

    Example:
        With the folder of a finished run on 8 x 8 digits as ``folder``:

        >>> import torch
        >>> run = load_run(folder)
        >>> images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
        >>> run.module(run.normalise(images)).shape
        torch.Size([2, 10])
        >>> run.predict(images).names == [run.facts.class_names[k] for k in run.predict(images).label]
        True
        >>> run.record.status, len(run.history) == run.epoch + 1
        ('finished', True)
    """
    with Unchained():
        return open_checkpoint(find_run(folder, checkpoint), trust)


def open_checkpoint(path: Path, trust: bool = False) -> LoadedRun:
    """Open the run that a checkpoint belongs to, or a run's folder with its last one; see ``load_run``."""
    path = find_checkpoint(path)
    content = read_checkpoint(path)
    config: Config = content[CHECKPOINT_KEY]["config"]
    if not trust:
        # Loggers and callbacks are not built when a run is opened.
        called = {name: value for name, value in config.items() if name not in ("logger", "callbacks")}
        refuse_foreign_targets(called, path)
    facts = facts_of(content)
    try:
        module = build_module(_without_downloads(config), facts)
        check_weights(content, module)
        module.load_state_dict(content["state_dict"])
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    # A config that was edited makes parts raise errors of many types.
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise UserError(f"{path}: its config builds no module, {type(error).__name__}: {lines[0]}") from error
    module.eval()
    folder = RunFolder.of_checkpoint(path)
    return LoadedRun(
        folder=folder.path,
        module=module,
        config=config,
        facts=facts,
        record=_if_whole(RunRecord.read, folder.record, None),
        history=_if_whole(read_rows, folder.metrics, []),
        epoch=content["epoch"],
    )


def _if_whole(read: Callable[[Path], Any], path: Path, otherwise: Any) -> Any:
    """Read a file that a run can do without."""
    if not path.is_file():
        return otherwise
    try:
        return read(path)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        log.warning("%s is damaged, so the run is opened without it: %s", path, error)
        return otherwise


def _without_downloads(config: Config) -> Config:
    # Weights come from the checkpoint, so pretrained ones need not be fetched.
    model = config["model"]
    if not model["backbone"].get("pretrained"):
        return config
    return {**config, "model": {**model, "backbone": {**model["backbone"], "pretrained": False}}}
