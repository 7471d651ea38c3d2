"""The 1,797 real 8 x 8 grey digits that scikit-learn includes: nothing to download."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from alasca_pl.data.samples import ImageArrays, RawData, as_images


def read_digits(num_test: int = 400) -> RawData:
    """Read the digits; the test split is the same in every run.

    Args:
        num_test: Size of the test split, drawn evenly over the classes.

    Returns:
        Grey images of 8 x 8 pixels, 10 classes.
    """
    bunch = load_digits()
    images = as_images(np.round(bunch.images * (255 / 16)).astype(np.uint8), "digits")
    labels = bunch.target.astype(np.int64)
    train, test = train_test_split(np.arange(len(labels)), test_size=num_test, stratify=labels, random_state=0)
    everything = ImageArrays(images, labels)
    names = tuple(str(name) for name in bunch.target_names)
    return RawData(everything.take(np.sort(train)), everything.take(np.sort(test)), class_names=names)
