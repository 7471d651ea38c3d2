"""What a command is asked of runs, files and libraries is checked before torch is loaded, and leaves everything as it was."""

import json
import subprocess
import sys

import numpy as np
import pytest

from alasca_pl.core.measurement import Measurement
from alasca_pl.core.record import DataRecord, NoiseRecord, RunRecord
from alasca_pl.core.sample_file import SampleFile

# Several commands in one process that has loaded nothing, and what they have loaded then. Packages of HIDDEN are not installed.
_TYPED = """
import contextlib, io, json, sys
HIDDEN = ("onnxscript", "cleanlab", "timm", "wandb", "mlflow", "tensorboard", "tensorboardX", "datasets")
sys.modules.update(dict.fromkeys(HIDDEN))
from alasca_pl import cli
said = []
for entry, *words in json.loads(sys.stdin.read()):
    sys.argv = ["alasca-" + entry, *words]
    err, code = io.StringIO(), 0
    with contextlib.redirect_stderr(err), contextlib.redirect_stdout(io.StringIO()):
        try:
            getattr(cli, entry)()
        except SystemExit as stop:
            code = stop.code
    loaded = sorted({"torch", "lightning", "torchvision", "torchmetrics"} & set(sys.modules))
    said.append((code, err.getvalue(), loaded))
print(json.dumps(said))
"""
_NO_RUN = {
    "nowhere": "there is no folder nowhere; give the folder of a run",
    "empty": "empty holds no run, it has no record.json",
    "sweeps/first": "holds 2 runs and is none itself, as the folder of a sweep; give one of them, e.g. sweeps/first/ce-0",
    "stopped": "stopped before its first one",
    "a.png": "a.png is a file; give the folder of a run",
    "run/checkpoints/last.ckpt": "is a file; give the folder of a run, e.g.",
}
_OF_RUNS = {"predict": ["a.png"], "export": ["torch"], "audit": []}
_WRONG = {
    "train lr=0.1": "there is no option lr (did you mean optim.lr?)",
    "train criterion.temperature=2": "+criterion.temperature=... would add it",
    "train trainer.max_steps=9": "no option trainer.max_steps in this config; +trainer.max_steps=... adds it, a whole number",
    "train method=co_teaching selector.seed=1": "+selector.seed=... adds it, a whole number",
    "train method=jocor regularizers.agreement=null": "criterion.agreement takes its value from regularizers.agreement, which",
    "train method=pes phases.select=null": "from phases.select, which has none; give selector.start_epoch=..., too",
    "train momentum=0": "there is no option momentum (did you mean optim.momentum or regularizers.alasca.momentum?)",
    "train data=folder data.root=images root=images": "there is no option root (did you mean data.root?)",
    "train data=folder images": "images is no option; options are of the form NAME=VALUE; data=folder data.root=images",
    "train data=images": "webvision; data=folder data.root=images takes the images in that folder",
    "train run": "run is no option; options are of the form NAME=VALUE; ckpt_path=run names that run",
    "train fast": "fast is no option; options are of the form NAME=VALUE",
    "predict run a.png checkpoint=best": "best.ckpt; the run has last",
    "predict run b.png": "no file or folder b.png",
    "predict run empty": "no image in empty",
    "predict run a.png rule=mian": "unknown prediction rule 'mian'; choose one of main",
    "predict run a.png device=gpu": "unknown device 'gpu'; choose one of auto, cpu, cuda",
    "predict run a.png data.on_corrupt=drop": "unknown data.on_corrupt=drop; choose one of error, skip",
    "predict run a.png output=a.png": "a.png exists already",
    "export run onxx": "unknown form 'onxx' (did you mean onnx?)",
    "export run onnx": "onnx needs onnxscript; install what is missing with pip install 'alasca-pl[export]'",
    "export run torch rule=mian": "unknown prediction rule 'mian'",
    "export run torch output=a.png": "a.png exists already",
    "export run torch": "run/model.pt2 exists already",
    "evaluate ckpt_path=nowhere": "no checkpoint nowhere/checkpoints/last.ckpt: there is no folder nowhere",
    "evaluate ckpt_path=stopped": "stopped before its first one",
    "evaluate ckpt_path=sweeps/first": "give one of them, e.g. sweeps/first/ce-0",
    "evaluate ckpt_path=run split=tset": "the data digits have no split 'tset'; give split=test or split=train",
    "evaluate ckpt_path=run output=a.png": "a.png exists already",
    "evaluate ckpt_path=run device=gpu": "unknown device 'gpu'",
    "measure nowhere": "nothing is at 'nowhere'",
    "measure empty": "empty holds no run: there is no record.json in it",
    "measure stopped run": "stopped holds no run",
    "measure sweeps/first": "no run in sweeps/first has the checkpoint last.ckpt",
    "measure run what=jacobain": "unknown what=jacobain",
    "measure run checkpoint=bset": "unknown checkpoint=bset; choose one of last, best",
    "measure run split=tset": "have no split 'tset'",
    "measure run device=gpu": "unknown device 'gpu'",
    "measure run what=norms": "norms.json is there with other settings (samples)",
    "audit run score=margn": "unknown score 'margn' (did you mean margin?)",
    "audit run with=cleanlab": "with=cleanlab needs cleanlab, which is not installed: pip install 'alasca-pl[audit]'",
    "audit run with=cleanlub": "unknown second score 'cleanlub' (did you mean cleanlab?)",
    "audit run folds=3": "folds=3 is for with=cleanlab; give both",
    "audit run output=empty": "empty exists and is not empty",
    "audit run device=gpu": "unknown device 'gpu'",
    "audit audited": "audited is audited already, see audited/audit/audit.html; output=DIR audits it anew",
    "train data=folder data.root=nowhere": "nowhere; set data.root to a folder with one folder of images per class",
    "train data=csv data.path=no.csv": "no.csv; set data.path to a csv file",
    "train data=csv data.path=a.png data.root=nowhere": "nowhere; set data.root to the folder that paths in",
    "train data=npz data.path=no.npz": "no.npz; set data.path to a .npz file with the keys train_images",
    "audit images": "images holds no run; alasca-audit data=folder data.root=images trains on the images in it, and audits them",
    "audit unscored": "unscored has no samples.npz",
    "audit data=digits with=cleanlab": "with=cleanlab needs cleanlab",
    "audit data=digits score=margn": "unknown score 'margn'",
    "audit compare nowhere": "nothing is at 'nowhere'",
    "audit compare run with=cleanlab": "with=cleanlab needs cleanlab",
    "audit simulate run decisions=9 output=a.png": "a.png exists already",
    "train hydra.run.dir=run": "run already holds a finished run; choose another folder with hydra.run.dir=...",
    "train hydra.run.dir=stopped": "stopped holds config.yaml, which a run would overwrite",
    "train hydra.run.dir=broken": "record.json",
    "train ckpt_path=nowhere": "no checkpoint",
    "train ckpt_path=sweeps/first": "give one of them, e.g.",
    "train ckpt_path=stopped": "stopped before its first one",
    "train model=timm model.backbone.name=resnet18": "model=timm needs timm; install it with pip install 'alasca-pl[timm]'",
    "train logger=wandb": "logger=wandb needs wandb",
    "train logger=mlflow": "logger=mlflow needs MLflow",
    "train logger=tensorboard": "logger=tensorboard needs TensorBoard",
    "train data=huggingface data.path=x": "pip install 'alasca-pl[huggingface]'",
    "train method=simifeat": "an encoder of timm needs timm",
    "train model=resnet50 model.backbone.name=resnet51": "resnet51",
}  # fmt: skip


def _record(folder):
    data = DataRecord("digits", {"train": 3, "test": 3}, 3, [1, 8, 8], ["a", "b", "c"], "00")
    noise = NoiseRecord("none", None, None, None, "00")
    RunRecord("finished", ".", "now", 0, None, data, noise, None, [], {}, {}, None, {}, 1, "32").write(
        folder / "record.json"
    )


def _places(top):
    """Folders that look like runs from outside; no checkpoint is one."""
    for name in ("run/checkpoints", "run/measured", "unscored/checkpoints", "sweeps/first/ce-0", "sweeps/first/ce-1",
                 "stopped", "broken", "empty", "images/cat", "audited/audit", "audited/checkpoints"):  # fmt: skip
        (top / name).mkdir(parents=True)
    for name in ("run/checkpoints/last.ckpt", "unscored/checkpoints/last.ckpt", "run/model.pt2", "stopped/config.yaml",
                 "broken/record.json", "a.png", "empty/notes.txt", "images/cat/1.png", "audited/audit/audit.html",
                 "audited/checkpoints/last.ckpt"):  # fmt: skip
        (top / name).write_text("?")
    for name in ("run", "unscored", "audited", "sweeps/first/ce-0", "sweeps/first/ce-1"):
        _record(top / name)
    label = np.array([0, 1, 2])
    evidence = {name: np.ones((1, 3), dtype=np.float32) for name in ("margin", "loss", "confidence")}
    SampleFile(label, np.arange(3), np.ones(3, dtype=np.int64), None, evidence).save(top / "run/samples.npz")
    settings = {"checkpoint": "last", "split": "train", "of": "features", "samples": 3, "epoch": 1}
    Measurement("norms", settings, [0], [1], None, [[1.0]], ["a", "b", "c"]).write(top / "run/measured/norms.json")


def _files(top):
    return {path: path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    top = tmp_path_factory.mktemp("early")
    _places(top)
    before = _files(top)
    lines = {
        " ".join((entry, place, *rest)): said for entry, rest in _OF_RUNS.items() for place, said in _NO_RUN.items()
    }
    lines |= _WRONG
    done = subprocess.run(
        [sys.executable, "-c", _TYPED], input=json.dumps([line.split() for line in lines]), cwd=top, capture_output=True,
        text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(lines, json.loads(done.stdout))), lines, before == _files(top)


def test_what_is_wrong_is_said_in_one_line(outcomes):
    found, lines, _ = outcomes
    wrong = {
        line: (code, said)
        for line, (code, said, _) in found.items()
        if code != 1 or lines[line] not in said or "Traceback" in said or len(said.splitlines()) != 2
    }
    assert not wrong, "\n".join(f"{line}: {code} {said}" for line, (code, said) in wrong.items())


def test_nothing_of_torch_was_loaded(outcomes):
    found, _, _ = outcomes
    assert next((line for line, (_, _, loaded) in found.items() if loaded), None) is None


def test_everything_is_as_it_was(outcomes):
    assert outcomes[2]
