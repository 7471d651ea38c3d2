"""Random images, for measurements of speed."""

import numpy as np

from alasca_pl.data.samples import ImageArrays, RawData


def read_synthetic(
    num_train: int = 5000, num_test: int = 1000, pixels: int = 32, colours: int = 3, classes: int = 10
) -> RawData:
    """Make random images with random labels; the same in every run.

    Args:
        num_train: Number of training images, at least 1.
        num_test: Number of test images; 0 makes no test split.
        pixels: Height and width, at least 1.
        colours: 1 (grey) or 3 (RGB).
        classes: Number of classes, at least 2, about equally frequent.

    Raises:
        ValueError: If a value is outside its range.

    Example:
        >>> raw = read_synthetic(num_train=4, num_test=2, pixels=8, classes=2)
        >>> raw.train.images.shape, raw.test.labels.tolist()
        ((4, 8, 8, 3), [1, 0])
    """
    if num_train < 1:
        raise ValueError(f"num_train must be at least 1, got {num_train}")
    if num_test < 0:
        raise ValueError(f"num_test must be at least 0, got {num_test}; 0 makes no test split")
    if pixels < 1:
        raise ValueError(f"pixels must be at least 1, got {pixels}")
    if colours not in (1, 3):
        raise ValueError(f"colours must be 1 (grey) or 3 (RGB), got {colours}")
    if classes < 2:
        raise ValueError(f"classes must be at least 2, got {classes}")
    rng = np.random.default_rng(0)

    def split(count: int) -> ImageArrays:
        images = rng.integers(0, 256, (count, pixels, pixels, colours), dtype=np.uint8)
        return ImageArrays(images, rng.permutation(np.arange(count) % classes))

    names = tuple(str(number) for number in range(classes))
    return RawData(split(num_train), split(num_test) if num_test else None, class_names=names)
