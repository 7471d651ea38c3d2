"""``alasca-evaluate``."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.arguments import ordered, quote_paths
from alasca_pl.cli.common import find_own_parts, one_message, plain_config
from alasca_pl.cli.refusals import composed, in_one_line
from alasca_pl.cli.tables import show
from alasca_pl.core import deferred
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import check_new
from alasca_pl.core.overrides import option_name
from alasca_pl.core.run_folder import RunFolder, find_checkpoint
from alasca_pl.runs.early import check_device, check_split


def evaluate() -> None:
    """``alasca-evaluate``: measure a checkpoint on a split of its data."""
    sys.argv[1:] = ordered(quote_paths(sys.argv[1:]))
    find_own_parts()
    with one_message(), in_one_line(sys.argv):
        chosen = next((item for item in sys.argv[1:] if option_name(item) == "data"), None)
        if chosen is not None:
            raise UserError(
                f"{chosen}: a checkpoint is measured on the data that it was trained on; data.root=... or data.path=... says "
                "where they are now, and alasca-predict RUN FOLDER classifies other images"
            )
        _evaluate()


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="evaluate")
def _evaluate(cfg: DictConfig) -> None:
    composed()
    with one_message():
        config = plain_config(cfg)
        output = Path(config["output"]) if config["output"] else None
        _check(config, output)
        deferred.install()
        from alasca_pl.runs.evaluate import evaluate_checkpoint, render_evaluation

        result = evaluate_checkpoint(
            Path(config["ckpt_path"]),
            split=config["split"],
            source={name: value for name, value in config["data"].items() if value is not None},
            device=config["device"],
            trust=config["trust"],
            output=output,
        )
    show(render_evaluation(result))


def _check(config: Mapping[str, Any], output: Path | None) -> None:
    """Refuse what needs no torch to be refused."""
    if output is not None:
        check_new(output)
    check_device(config["device"])
    checkpoint = find_checkpoint(config["ckpt_path"])
    # Other data may have other splits.
    if all(value is None for value in config["data"].values()):
        check_split(RunFolder.of_checkpoint(checkpoint), config["split"])
