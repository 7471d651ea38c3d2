"""A toy data set in memory and in files, for tests of batches and of the data module."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from alasca_pl.core.types import Batch
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.data.prepared import PreparedData
from alasca_pl.data.samples import ImageArrays, RawData
from alasca_pl.noise.model import NoiseModel
from alasca_pl.noise.symmetric import SymmetricNoise

# For batches.
N = 23
IMAGES = torch.randint(0, 256, (N, 3, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
LABEL = torch.arange(N) * 10
MEAN, STD = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
NAMES = [f"{i:02d}.png" for i in range(N)]


def write_images(folder: Path) -> Path:
    for name, image in zip(NAMES, IMAGES):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / name)
    return folder


def order(batches) -> list[int]:
    return [i for batch in batches for i in batch.index.tolist()]


def _tensors(batch: Batch) -> list[torch.Tensor]:
    return [t for field in batch for t in (field if isinstance(field, tuple) else (field,)) if t is not None]


def same(one: Batch, other: Batch) -> bool:
    mine, theirs = _tensors(one), _tensors(other)
    return len(mine) == len(theirs) and all(torch.equal(a, b) for a, b in zip(mine, theirs))


# For whole data sets.
K = 4


def arrays(size: int, channels: int = 3, seed: int = 0) -> ImageArrays:
    images = np.random.default_rng(seed).integers(0, 256, (size, 5, 6, channels)).astype(np.uint8)
    # The first two pixels of the first row say which sample it is.
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.arange(size) // 256, np.arange(size) % 256
    return ImageArrays(images, np.arange(size) % K)


def raw_data(train: int = 200, val: int | None = None, channels: int = 3) -> RawData:
    return RawData(arrays(train, channels), arrays(40, channels, 1), None if val is None else arrays(val, channels, 2))


def prepare(raw: RawData | None = None, noise: NoiseModel | None = None, **options) -> PreparedData:
    raw = raw or raw_data()
    return PreparedData("toy", lambda: raw, noise or SymmetricNoise(0.5), **options)


_SHELL = (
    "seed",
    "batch_size",
    "eval_batch_size",
    "augment",
    "padding",
    "flip",
    "drop_last",
    "subset_size",
    "subset_redraw",
)


def build(raw: RawData | None = None, noise: NoiseModel | None = None, **options) -> NoisyDataModule:
    own = {"batch_size": 10} | {name: value for name, value in options.items() if name in _SHELL}
    return NoisyDataModule(prepare(raw, noise, **{k: v for k, v in options.items() if k not in _SHELL}), **own)
