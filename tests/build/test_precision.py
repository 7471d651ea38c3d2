"""The precision that suits the processor."""

import pytest
import torch

from alasca_pl.build import precision
from alasca_pl.build.precision import computes_bf16, resolve_precision
from running import config_for, train


@pytest.mark.parametrize(
    ("asked", "native", "before", "taken", "word"),
    [
        ("auto", True, None, "bf16-mixed", "precision: bf16-mixed (trainer.precision=auto)"),
        ("auto", False, None, "32-true", "precision: 32-true (trainer.precision=auto)"),
        ("auto", True, "32-true", "32-true", "as the run started"),
        ("auto", False, "bf16-mixed", "bf16-mixed", "only emulates"),
        ("bf16-mixed", False, None, "bf16-mixed", "15 times"),
        ("bf16-mixed", True, None, "bf16-mixed", None),
        ("32-true", False, None, "32-true", None),
    ],
)
def test_precision_follows_the_processor(monkeypatch, asked, native, before, taken, word):
    monkeypatch.setattr(precision, "computes_bf16", lambda on_gpu: native)
    found, remark = resolve_precision({"precision": asked, "accelerator": "cpu"}, before)
    assert found == taken
    assert remark is None if word is None else word in remark


@pytest.mark.parametrize(
    ("line", "native"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile", True),
        ("flags\t\t: fpu amx_bf16", True),
        ("flags\t\t: fpu avx2 avx512f", False),
        ("Features\t: fp asimd bf16", True),
        ("Features\t: fp asimd", False),
    ],
)
def test_the_processor_is_asked(tmp_path, monkeypatch, line, native):
    file = tmp_path / "cpuinfo"
    file.write_text(f"processor : 0\n{line}\n")
    monkeypatch.setattr("platform.system", lambda: "Linux")
    assert precision._says_bf16(file) == native
    capabilities = {"avx512_bf16": native, "amx_bf16": False, "avx2": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert computes_bf16(on_gpu=False) == native


def test_experiments_for_processors_leave_the_choice():
    for name in ("cifar10_small", "cifar10n_small"):
        assert config_for(f"experiment={name}")["trainer"]["precision"] == "auto"


def test_a_run_says_its_precision_and_goes_on_with_it(tmp_path, monkeypatch):
    size = ("trainer.precision=auto", "data.max_train_samples=128")
    monkeypatch.setattr(precision, "computes_bf16", lambda on_gpu: True)
    assert train(tmp_path / "run", *size, "epochs=1").precision == "bf16-mixed"
    # On a machine without such instructions.
    monkeypatch.setattr(precision, "computes_bf16", lambda on_gpu: False)
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert train(tmp_path / "run", *size, "epochs=2", f"ckpt_path={last}").precision == "bf16-mixed"
    assert train(tmp_path / "other", *size, "epochs=1").precision == "32-true"
