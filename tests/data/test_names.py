import pytest

from alasca_pl.data.names import lookalikes, name_some, spelled_on_disk, unsafe


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


COMPOSED, DECOMPOSED = "caf\u00e9", "cafe\u0301"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ((COMPOSED, "b", DECOMPOSED), (COMPOSED, DECOMPOSED)),
        (("a b", "a\u00a0b"), ("a b", "a\u00a0b")),
        (("a", " a"), ("a", " a")),
        (("\uac00", "\u1100\u1161"), ("\uac00", "\u1100\u1161")),
        (("a", "A", "a.", "ab"), None),
        # A name that occurs twice is one name; superscripts can be seen.
        (("a", "a", "m2", "m\u00b2"), None),
    ],
)
def test_names_that_look_the_same_are_found(names, found):
    assert lookalikes(names) == found


def test_names_in_another_normal_form_are_found_on_disk(tmp_path):
    (tmp_path / DECOMPOSED).mkdir()
    (tmp_path / DECOMPOSED / f"{COMPOSED}.png").touch()
    listed = {}
    for part in (COMPOSED, DECOMPOSED):
        for file in (COMPOSED, DECOMPOSED):
            found = spelled_on_disk(f"{part}/{file}.png", str(tmp_path), listed)
            assert found == f"{DECOMPOSED}/{COMPOSED}.png"
    assert spelled_on_disk("caf\u00e8/x.png", str(tmp_path), {}) is None
    assert spelled_on_disk("cafe/x.png", str(tmp_path), {}) is None
    (tmp_path / COMPOSED).mkdir()
    assert spelled_on_disk("cafe\u0301\u0327/x.png", str(tmp_path), {}) is None
    # Each of both is there in its own form.
    assert spelled_on_disk(f"{COMPOSED}/{COMPOSED}.png", str(tmp_path), {}) is None
