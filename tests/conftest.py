"""What all tests share: a tiny network, random numbers of their own, and a check that no process group is left."""

import json
import os

from alasca_pl.core import threads

# Before torch is imported, for this process and those that tests start.
threads.stop_spinning()
os.environ.setdefault("OMP_NUM_THREADS", "1")

# ruff: noqa: E402
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from alasca_pl.alasca.heads import AuxiliaryHead
from alasca_pl.core.types import Batch, Progress
from alasca_pl.models.backbones import small_resnet
from alasca_pl.models.network import Network
from alasca_pl.models.norms import norm_layer

NUM_CLASSES = 4
NUM_SAMPLES = 20
_OF_LAUNCHERS = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "MASTER_ADDR")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_process_group_is_left() -> Iterator[None]:
    yield
    left = [name for name in _OF_LAUNCHERS if name in os.environ]
    assert not left, f"the test left {', '.join(left)} in the environment, which later tests would take for a launcher"
    assert not (dist.is_available() and dist.is_initialized()), "the test left a process group"


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1234)


def _as_array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


@pytest.fixture
def agreement(record_property: Callable[[str, object], None]) -> Callable[..., None]:
    """Assert that ours equals an independent computation; ``tests/tools/fidelity.py`` collects the largest differences."""

    def check(part: Any, what: str, ours: Any, reference: Any, *, atol: float, rtol: float = 0.0) -> None:
        """Compare two arrays of numbers.

        Args:
            part: Our class or function that computed ``ours``, or that has it as a part.
            what: What is compared, in a few words for the table.
            ours, reference: Tensors, arrays or numbers of one shape.
            atol, rtol: The difference may be ``atol + rtol * |reference|``.
        """
        found, expected = _as_array(ours), _as_array(reference)
        assert found.shape == expected.shape, f"{found.shape} is compared with {expected.shape}"
        assert found.size, "nothing is compared"
        difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
        bound = atol + rtol * np.abs(expected.astype(np.float64))
        assert (difference <= bound).all(), f"{what} differs by up to {difference.max()}: {found} and {expected}"
        entry = {
            "part": f"{part.__module__}.{part.__qualname__}",
            "what": what,
            "dtype": str(found.dtype),
            "difference": float(difference.max()),
        }
        record_property("agreement", json.dumps(entry))

    return check


@pytest.fixture
def make_progress() -> Callable[..., Progress]:
    """Progress at an epoch; the rest has defaults."""

    def make(epoch: int = 0, step: int = 0, max_epochs: int = 100, steps_per_epoch: int = 10) -> Progress:
        return Progress(epoch, step, max_epochs, steps_per_epoch)

    return make


@pytest.fixture
def make_network() -> Callable[..., Network]:
    """A network for 8 x 8 grey images with auxiliary heads after stages 1 and 2 of 3.

    The heads are made last and from their own stream: with and without them the rest has the same weights.
    """

    def make(
        seed: int = 0, heads: Sequence[int] = (1, 2), norm: str = "batch", num_classes: int = NUM_CLASSES
    ) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = Network(small_resnet(in_channels=1, width=4, num_stages=3, norm=norm), num_classes)
            torch.manual_seed(seed + 1000)
            channels, reductions = network.backbone.channels, network.backbone.reductions
            network.attach(
                {
                    stage: AuxiliaryHead(
                        kind="bottleneck",
                        channels=channels[stage - 1],
                        stride=reductions[-1] // reductions[stage - 1],
                        width=network.feature_size,
                        num_classes=num_classes,
                        norm=norm_layer(norm),
                    )
                    for stage in heads
                }
            )
        return network

    return make


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """A batch of random 8 x 8 grey images with labels below ``NUM_CLASSES`` and indices below ``NUM_SAMPLES``."""

    def make(seed: int = 0, size: int = 6) -> Batch:
        random = torch.Generator().manual_seed(seed)
        return Batch(
            torch.randn(size, 1, 8, 8, generator=random),
            torch.randint(NUM_CLASSES, (size,), generator=random),
            torch.randperm(NUM_SAMPLES, generator=random)[:size],
        )

    return make
