"""``alasca-evaluate``."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.arguments import ordered, quote_paths
from alasca_pl.cli.common import find_own_parts, one_message, plain_config
from alasca_pl.cli.refusals import composed, in_one_line
from alasca_pl.cli.tables import show
from alasca_pl.core import deferred
from alasca_pl.core.errors import UserError
from alasca_pl.core.overrides import option_name


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
    deferred.install()
    from alasca_pl.runs.evaluate import evaluate_checkpoint, render_evaluation

    with one_message():
        config = plain_config(cfg)
        result = evaluate_checkpoint(
            Path(config["ckpt_path"]),
            split=config["split"],
            source={name: value for name, value in config["data"].items() if value is not None},
            device=config["device"],
            trust=config["trust"],
            output=Path(config["output"]) if config["output"] else None,
        )
    show(render_evaluation(result))
