"""Commands: thin Hydra entries."""

from alasca_pl.cli.common import CONF_DIR
from alasca_pl.cli.evaluate_command import evaluate
from alasca_pl.cli.noise_command import noise
from alasca_pl.cli.report_command import report
from alasca_pl.cli.sweep_command import sweep
from alasca_pl.cli.train_command import train

__all__ = ["CONF_DIR", "evaluate", "noise", "report", "sweep", "train"]
