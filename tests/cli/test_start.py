"""What is wrong is said before the libraries are loaded."""

import subprocess
import sys

import pytest

_ENTRY = """
import sys
from alasca_pl.cli import train
try:
    train()
finally:
    print(sorted({"torch", "lightning", "torchmetrics", "sklearn", "matplotlib", "scipy"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("epochs=abc", ["epochs", "'abc'", "at least 1"]),
        ("seed=-1", ["seed", "-1"]),
        ("noise.rate=1.5", ["rate", "1.5", "[0, 1]"]),
        ("method=elrr", ["method/elrr", "elr_plus"]),
        ("+noise.foo=1", ["foo", "variant"]),
    ],
)
def test_a_wrong_value_is_named_before_torch_is_loaded(tmp_path, option, words):
    done = subprocess.run(
        [sys.executable, "-c", _ENTRY, option], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert not [word for word in words if word not in done.stderr], done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert list(tmp_path.iterdir()) == []


def test_without_a_gpu_the_way_out_is_the_cpu(tmp_path, monkeypatch):
    from running import command

    monkeypatch.setattr("alasca_pl.runs.early._has_gpu", lambda: False)
    outcome = command(tmp_path, "trainer=gpu")
    assert outcome.code == 1 and "trainer=cpu" in outcome.err
