"""Profiles of steps."""

import gzip
import json

import pytest

from alasca_pl.training.callbacks.step_profile import StepProfile
from running import SMALLER, train

PROFILE = ("debug=profile", "callbacks.profile.steps=2", "callbacks.profile.after=1")


def test_operations_of_the_profiled_steps_are_listed_and_traced(tmp_path):
    train(tmp_path, *SMALLER, *PROFILE, "epochs=2")
    listing = (tmp_path / "profile" / "operations.txt").read_text()
    assert listing.startswith("2 steps after the first 2;") and "convolution_backward" in listing
    trace = json.loads(gzip.decompress((tmp_path / "profile" / "trace.json.gz").read_bytes()))
    steps = [event for event in trace["traceEvents"] if event.get("name", "").startswith("ProfilerStep")]
    assert len({event["name"] for event in steps}) == 2


def test_a_run_that_is_too_short_says_so(tmp_path, caplog):
    train(tmp_path, *SMALLER, *PROFILE, "callbacks.profile.after=500")
    assert "no profile: it takes 503 steps" in caplog.text
    assert not (tmp_path / "profile").exists()


@pytest.mark.parametrize(("option", "value"), [("steps", 0), ("after", -1)])
def test_values_out_of_range_are_refused(option, value):
    with pytest.raises(ValueError, match=f"{option} must be at least .*{value}"):
        StepProfile(**{option: value})
