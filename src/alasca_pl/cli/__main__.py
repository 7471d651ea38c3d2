"""``python -m alasca_pl.cli`` is ``alasca-train``."""

from alasca_pl.cli import train

train()
