"""Temporary evaluation mode of networks."""

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def evaluating(*networks: nn.Module) -> Iterator[None]:
    """Use evaluation mode, which does not change batch-norm statistics, then restore each module's mode."""
    # Module by module: a network may have frozen layers in evaluation mode while the rest trains.
    modes = {module: module.training for network in networks for module in network.modules()}
    try:
        for network in networks:
            network.eval()
        yield
    finally:
        for module, training in modes.items():
            module.training = training
