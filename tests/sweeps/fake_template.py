"""The process that forks jobs, with fake jobs: ``python -m fake_template LINK PARENT``."""

import runpy
from pathlib import Path

from alasca_pl import cli
from alasca_pl.cli import warm

if __name__ == "__main__":
    warm._LOADED = ()
    cli.train = lambda: runpy.run_path(str(Path(__file__).with_name("fake_job.py")), run_name="__main__")
    warm.main()
