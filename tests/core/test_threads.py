"""How many threads a run gets, and how they wait."""

import pytest

from alasca_pl.core import threads
from alasca_pl.core.threads import choose_threads, stop_spinning


def test_waiting_threads_sleep_unless_the_user_says_how_they_wait():
    environment = {"PATH": "x"}
    stop_spinning(environment)
    assert environment == {"PATH": "x", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        own = {name: "ACTIVE"}
        stop_spinning(own)
        assert own == {name: "ACTIVE"}


@pytest.mark.parametrize(
    ("asked", "pixels", "parameters", "processes", "number"),
    [
        ("auto", 64, 20_000, 1, 1),
        ("auto", 64, 20_000_000, 1, 8),
        ("auto", 32 * 32, 20_000, 1, 8),
        ("auto", 32 * 32, 20_000, 2, 4),
        ("auto", 32 * 32, 20_000, 20, 1),
        (3, 64, 20_000, 2, 3),
    ],
)
def test_the_number_follows_from_the_work_and_the_cores(monkeypatch, asked, pixels, parameters, processes, number):
    monkeypatch.setattr(threads, "cores", lambda: 8)
    assert choose_threads(asked, pixels, parameters, processes, {})[0] == number


def test_what_the_environment_says_stays_unless_a_number_is_asked_for():
    environment = {"OMP_NUM_THREADS": "5"}
    assert choose_threads("auto", 64, 20_000, 1, environment) == (None, "from OMP_NUM_THREADS")
    assert choose_threads(2, 64, 20_000, 1, environment)[0] == 2
    threads.pass_on(2, environment)
    assert environment == {"OMP_NUM_THREADS": "2"}
