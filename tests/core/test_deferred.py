"""Libraries that wait behave as if they had been imported at once."""

import importlib
import subprocess
import sys
import threading

import pytest

from alasca_pl.core import deferred


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A package that says when it is initialised; ``toy.sub`` imports a name of it."""
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "__init__.py").write_text(
        "import builtins\nbuiltins.toy_log.append('toy')\nfrom toy.sub import inner\nlight = 'real'\nvalue = 7\n"
    )
    (tmp_path / "toy" / "sub.py").write_text("import builtins\nbuiltins.toy_log.append('sub')\ninner = 1\n")
    log: list[str] = []
    monkeypatch.setattr("builtins.toy_log", log, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(deferred._DEFERRED, "toy", {"light": lambda: "light"})
    finder = deferred._Finder()
    monkeypatch.setattr(sys, "meta_path", [finder, *sys.meta_path])
    yield log
    for name in [name for name in sys.modules if name.split(".")[0] == "toy"]:
        del sys.modules[name]


def test_a_module_of_a_package_that_waits_does_not_initialise_it(toy):
    assert importlib.import_module("toy.sub").inner == 1
    assert toy == ["sub"] and not deferred.is_loaded("toy") and deferred.is_loaded("toy.sub")
    package = importlib.import_module("toy")
    assert package.light == "light"
    assert toy == ["sub"]


def test_any_other_name_initialises_it_once(toy):
    package = importlib.import_module("toy")
    assert toy == []
    assert (package.value, package.inner, package.light) == (7, 1, "real")
    assert toy == ["toy", "sub"] and deferred.is_loaded("toy")
    assert importlib.import_module("toy") is package
    with pytest.raises(AttributeError, match="nothing"):
        _ = package.nothing
    assert toy == ["toy", "sub"]


def test_a_failure_is_that_of_the_package(toy, tmp_path):
    (tmp_path / "toy" / "__init__.py").write_text("raise OSError('broken')\n")
    with pytest.raises(OSError, match="broken"):
        _ = importlib.import_module("toy").value


def test_another_thread_waits_until_it_is_whole(toy, tmp_path):
    (tmp_path / "toy" / "__init__.py").write_text("import time\ntime.sleep(0.3)\nvalue = 7\n")
    package, seen = importlib.import_module("toy"), []
    threads = [threading.Thread(target=lambda: seen.append(package.value)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [7] * 4


def test_versions_that_were_not_tested_are_left_alone(monkeypatch):
    before = list(sys.meta_path)
    monkeypatch.setitem(deferred._TESTED, "torchmetrics", "0.1")
    assert not deferred.install()
    assert sys.meta_path == before


def outcome_of(code: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


def test_what_waits_is_whole_when_it_is_used():
    code = """
from alasca_pl.core import deferred
assert deferred.install() and deferred.install()
import torch, lightning
from lightning.fabric.wrappers import OptimizedModule
from torchmetrics.classification import MulticlassAccuracy
net = torch.nn.Linear(2, 2)
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
net(torch.ones(1, 2)).sum().backward()
optimizer.step()
optimizer.zero_grad()
accuracy = MulticlassAccuracy(2, average="micro")
accuracy.update(torch.tensor([1, 0]), torch.tensor([1, 1]))
print(accuracy.compute().item(), isinstance(net, OptimizedModule))
print([name for name in deferred._DEFERRED if deferred.is_loaded(name)])

import matplotlib
matplotlib.use("Agg")
figure, _ = accuracy.plot()
print(type(figure).__name__)
compiled = torch.compile(net, backend="eager")
print(isinstance(compiled, OptimizedModule), isinstance(net, OptimizedModule))
print(torch.equal(compiled(torch.ones(1, 2)), net(torch.ones(1, 2))))
compiled(torch.ones(1, 2)).sum().backward()
optimizer.step()
import torch._dynamo, torchmetrics, torchvision
print(torch._dynamo.OptimizedModule is type(compiled), torchmetrics.Accuracy.__name__)
print(torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]]), torch.tensor([1.0, 2]), 0.5).tolist())
print(torchvision.ops.roi_align.__name__, torchvision.models.get_model("resnet18").fc.in_features)
print(torchmetrics.functional.accuracy.__name__)
print([name for name in deferred._DEFERRED if not deferred.is_loaded(name)])
"""
    assert outcome_of(code) == [
        "0.5 False",
        "[]",
        "Figure",
        "True False",
        "True",
        "True Accuracy",
        "[1]",
        "roi_align 512",
        "accuracy",
        "[]",
    ]


def test_the_compiler_stays_out_of_functions_that_want_it():
    code = """
from alasca_pl.core import deferred
deferred.install()
import torch
from torch._dynamo import disable
seen = []
outer = disable(lambda x: (seen.append(torch.compiler.is_compiling()), x + 1)[1], recursive=True, wrapping=False)
print(outer(torch.ones(1)).item())
compiled = torch.compile(lambda x: outer(x) * 2, backend="eager")
print(compiled(torch.ones(1)).item(), seen)
"""
    assert outcome_of(code) == ["2.0", "4.0 [False, False]"]
