import pytest

from alasca_pl.data.names import name_some, unsafe


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a.png", "a/../../b.png", "a/..", "..\\a.png", "C:\\a.png", "C:a.png", "\\a", "", "a\0.png"],
)
def test_paths_that_lead_out_are_found(name):
    assert unsafe(name) is not None


@pytest.mark.parametrize("name", ["a.png", "a/b c/ä.png", "..a/b..png", "./a.png", "<b>.png"])
def test_paths_that_stay_in_are_allowed(name):
    assert unsafe(name) is None


def test_many_names_are_cut():
    assert name_some(list("abc")) == "a, b, c"
    assert name_some(list("abcdefg")) == "a, b, c, d, e and 2 more"
