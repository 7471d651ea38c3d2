"""``alasca-train doctor``."""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.arguments import ordered, quote_paths
from alasca_pl.cli.common import find_own_parts, one_message, plain_config
from alasca_pl.cli.composition import NO_FOLDER, compose_command
from alasca_pl.cli.refusals import in_one_line
from alasca_pl.cli.tables import show
from alasca_pl.core.errors import UserError


def doctor() -> None:
    """``alasca-train doctor [OVERRIDES]``: what this machine has, and what such a run lacks; status 1 if it lacks something."""
    with one_message():
        if any(item in ("-m", "--multirun") for item in sys.argv):
            raise UserError("alasca-train doctor takes one combination of values at a time; leave out -m")
        # Nothing is written: no folder of a run, no log.
        sys.argv[1:] = [*ordered(quote_paths(sys.argv[2:])), "hydra/job_logging=none", NO_FOLDER]
    find_own_parts()
    with one_message(), in_one_line(sys.argv):
        _doctor()


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train")
def _doctor(cfg: DictConfig) -> None:
    with one_message():
        composed = compose_command()
        config = plain_config(composed.config)
        # Imported late, so that a wrong option is reported at once.
        from alasca_pl.runs.doctor import examine, render

        findings = examine(config, composed.choices, Path(composed.run_dir).expanduser().absolute())
    show(render(findings))
    if any(finding.status == "missing" for finding in findings):
        sys.exit(1)
