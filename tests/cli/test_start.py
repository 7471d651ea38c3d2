"""What is wrong is said before the libraries are loaded, and no more of them is loaded than a run needs."""

import subprocess
import sys

import pytest

# Each takes seconds to import. Of libraries that can wait (core/deferred.py), a module that only a whole import brings.
_HEAVY = (
    "datasets", "jinja2", "matplotlib", "networkx", "pandas", "scipy", "sklearn", "sympy", "tensorboard", "timm",
    "torch._dynamo.eval_frame", "torch._inductor", "torch.distributed.tensor", "torchmetrics.functional.image",
    "torchmetrics.text", "torchvision.models.detection", "wandb",
)  # fmt: skip
_ENTRY = f"""
import sys
from alasca_pl.cli import train
try:
    train()
finally:
    print(sorted(set(("torch", "lightning", "torchmetrics", *{_HEAVY})) & set(sys.modules)))
"""
_PROBE = f"""
import sys
import lightning as L

class Probe(L.Callback):
    def on_train_batch_end(self, trainer, *rest):
        print("heavy at step", trainer.global_step, sorted(set({_HEAVY}) & set(sys.modules)))
"""


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("epochs=abc", ["epochs", "'abc'", "at least 1"]),
        ("threads=0", ["threads", "auto", "at least 1"]),
        ("seed=-1", ["seed", "-1"]),
        ("noise.rate=1.5", ["rate", "1.5", "[0, 1]"]),
        ("+noise.foo=1", ["foo", "variant"]),
        ("metod=ce", ["metod", "did you mean method?", "elr_plus"]),
        ("method=elrr", ["method/elrr", "did you mean elr?", "elr_plus"]),
        ("data=null", ["data=null", "cifar10"]),
        ("optim.optimizer.lerning_rate=1", ["lerning_rate", "momentum"]),
        ("optim.optimizer=null", ["optim.optimizer", "_target_"]),
        ("predict.rule=foo", ["predict.rule", "ensemble_all"]),
        ("no_such_key=1", ["no_such_key"]),
    ],
)
def test_a_wrong_value_is_named_before_torch_is_loaded(tmp_path, option, words):
    done = subprocess.run(
        [sys.executable, "-c", _ENTRY, option], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2 and "Traceback" not in done.stderr
    assert not [word for word in words if word not in done.stderr], done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("question", ["--help", "--explain", "--info"])
def test_a_question_is_answered_before_torch_is_loaded(tmp_path, question):
    done = subprocess.run(
        [sys.executable, "-c", _ENTRY, question], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == "[]"


def test_nothing_heavy_is_loaded_up_to_the_first_step(tmp_path):
    (tmp_path / "probe.py").write_text(_PROBE)
    options = ("epochs=1", "data.max_train_samples=128", "+callbacks.probe._target_=probe.Probe", "hydra.run.dir=run")
    done = subprocess.run(
        [sys.executable, "-c", _ENTRY, *options], cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-2000:]
    steps = [line for line in done.stdout.splitlines() if line.startswith("heavy")]
    assert steps == ["heavy at step 1 []", "heavy at step 2 []"]
    # At the end the training curves are drawn, and nothing else needs what waits.
    at_end = done.stdout.splitlines()[-1]
    assert "matplotlib" in at_end and "torch._dynamo" not in at_end and "sklearn" not in at_end


@pytest.mark.parametrize("line", [["-m"], ["sweep=x"], ["--dry-run"]], ids=" ".join)
def test_all_wrong_jobs_of_a_sweep_are_named_before_the_first_starts(tmp_path, line):
    done = subprocess.run(
        [sys.executable, "-c", _ENTRY, *line, "epochs=1,abc,1.5", "metod=ce"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1 and "did you mean method?" in done.stderr
    done = subprocess.run(
        [sys.executable, "-c", _ENTRY, *line, "epochs=1,abc,1.5"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1 and "2 of 3 jobs are wrong" in done.stderr
    assert "epochs=abc: epochs must be" in done.stderr and "epochs=1.5: epochs must be" in done.stderr
    assert done.stdout.splitlines()[-1] == "[]"
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_for_gpus_is_refused_here_but_not_for_a_cluster(tmp_path, monkeypatch):
    from running import command

    monkeypatch.setattr("alasca_pl.runs.early.has_gpu", lambda: False)
    outcome = command(tmp_path, "trainer=gpu", "seed=0,1", "--dry-run")
    assert outcome.code == 1 and outcome.err.count("trainer=cpu") == 2 and list(tmp_path.iterdir()) == []
    outcome = command(tmp_path, "trainer=gpu", "seed=0,1", "--dry-run", "hydra/launcher=slurm")
    assert outcome.code == 0, outcome


def test_without_a_gpu_the_way_out_is_the_cpu(tmp_path, monkeypatch):
    from running import command

    monkeypatch.setattr("alasca_pl.runs.early.has_gpu", lambda: False)
    outcome = command(tmp_path, "trainer=gpu")
    assert outcome.code == 1 and "trainer=cpu" in outcome.err
