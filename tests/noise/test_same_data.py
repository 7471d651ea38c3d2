import pytest

from alasca_pl.noise.labels import same_data


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("pixels:ab", "pixels:ab", True),
        ("pixels:ab", "pixels:cd", False),
        ("files:ab", "pixels:ab", None),
        (None, "pixels:ab", None),
        ("files:ab", None, None),
    ],
)
def test_hashes_are_compared_where_that_tells_something(one, other, expected):
    assert same_data(one, other) is expected
