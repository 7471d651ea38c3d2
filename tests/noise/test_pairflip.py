import math

import numpy as np
import pytest

from alasca_pl.noise.model import Samples
from alasca_pl.noise.pairflip import PairFlip


@pytest.mark.parametrize(("classes", "rate"), [(10, 0.45), (2, 0.2), (100, 0.3)])
def test_each_class_moves_to_the_next_one_with_the_nominal_rate(classes, rate):
    label = np.arange(45_000) % classes
    labels = PairFlip(rate).draw(Samples(label, np.arange(45_000), classes))
    moved = labels.label != label
    assert np.array_equal(labels.label[moved], (label[moved] + 1) % classes)
    assert labels.realised_rate == pytest.approx(rate, abs=5 * math.sqrt(rate * (1 - rate) / 45_000))
    bound = 5 * math.sqrt(rate * (1 - rate) / (45_000 / classes))
    assert labels.class_rates == pytest.approx([rate] * classes, abs=bound)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, [0, 1, 2]), (1.0, [1, 2, 0])])
def test_limits(agreement, rate, expected):
    drawn = PairFlip(rate).draw(Samples(np.arange(3), np.arange(3), 3)).label
    agreement(PairFlip, "labels at rates 0 and 1", drawn, expected, atol=0.0)


def test_rate_outside_zero_to_one_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 1\], got 1.5"):
        PairFlip(1.5)
