"""A run as one file for other programs: what it gives, what it says of itself, and what is refused."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import alasca_pl
from alasca_pl.core.errors import UserError
from alasca_pl.core.normalise import Normalise
from alasca_pl.models.backbones import TimmBackbone, small_resnet, torchvision_resnet
from alasca_pl.models.network import Network
from alasca_pl.models.preact import preact_resnet18
from alasca_pl.runs import export
from alasca_pl.runs.classifier import Classifier
from running import command, slow_unless, train

# Two networks with heads, averaged in both ways, so that every rule differs.
PAIR = (
    "method=co_teaching",
    "alasca=digits",
    "epochs=1",
    "predict.rule=ensemble_all",
    "trainer=smoke",
    "selector.noise_rate=0.3",
)


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "run"
    train(folder, *PAIR, "predict.average=probs")
    return folder


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A run without auxiliary heads."""
    folder = tmp_path_factory.mktemp("plain") / "run"
    train(folder, "alasca=none", "epochs=1", "trainer=smoke")
    return folder


def pixels(count: int, shape=(1, 8, 8)) -> torch.Tensor:
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(count))


@torch.no_grad()
def by_hand(run: alasca_pl.LoadedRun, images: torch.Tensor, rule: str) -> np.ndarray:
    """Probabilities by loops over networks and heads."""
    mean, std = (torch.tensor(each).view(1, -1, 1, 1) for each in (run.facts.mean, run.facts.std))
    heads = []
    for network in run.module.method.networks:
        output = network((images.double() / 255 - mean).div(std).float())
        heads.append(output.logits)
        heads += {"main": [], "ensemble_all": [*output.aux_logits], "main_last": [output.aux_logits[-1]]}[rule]
    if run.module.predict_average == "probs":
        return (sum(head.softmax(1) for head in heads) / len(heads)).numpy()
    return (sum(heads) / len(heads)).softmax(1).numpy()


@pytest.mark.parametrize("average", ["logits", "probs"])
@pytest.mark.parametrize("rule", [None, "main", "main_last"])
def test_the_classifier_follows_the_rule_over_all_networks(rule, average, pair):
    run = alasca_pl.load_run(pair)
    run.module.predict_average = average
    classifier = run.classifier(rule)
    expected = by_hand(run, pixels(6), rule or "ensemble_all")
    np.testing.assert_allclose(classifier(pixels(6)).numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(run.predict(pixels(6), rule=rule).probs, expected, atol=1e-5)
    heads = {None: 2, "main": 0, "main_last": 1}[rule]
    assert [len(network.aux_heads) for network in classifier.networks] == [heads, heads]
    # A copy: the run keeps its heads and its weights.
    assert all(len(network.aux_heads) == 2 for network in run.module.method.networks)
    for parameter in classifier.parameters():
        parameter.zero_()
    np.testing.assert_allclose(by_hand(run, pixels(6), rule or "ensemble_all"), expected)


def test_the_classifier_can_be_traced(pair):
    run = alasca_pl.load_run(pair)
    traced = torch.export.export(run.classifier(), (pixels(2),)).module()
    np.testing.assert_allclose(traced(pixels(2)).numpy(), by_hand(run, pixels(2), "ensemble_all"), atol=1e-5)


@pytest.mark.parametrize("rule", [None, "main"])
def test_onnx_gives_what_the_run_gives_and_says_what_it_is(rule, pair, tmp_path):
    import onnxruntime

    run = alasca_pl.load_run(pair)
    found = run.export("onnx", tmp_path / "own.onnx", rule)
    assert found.path == tmp_path / "own.onnx" and found.difference < 1e-5
    assert [path.name for path in tmp_path.iterdir()] == ["own.onnx"]
    session = onnxruntime.InferenceSession(found.path)
    for count in (1, 2, 7):
        (given,) = session.run(None, {"image": pixels(count).numpy()})
        np.testing.assert_allclose(given, by_hand(run, pixels(count), rule or "ensemble_all"), atol=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert json.loads(about["class_names"]) == list(run.facts.class_names)
    assert json.loads(about["image_shape"]) == [1, 8, 8] and about["networks"] == "2"
    assert about["rule"] == (rule or "ensemble_all") and about["average"] == run.module.predict_average
    assert session.get_inputs()[0].type == "tensor(uint8)"


def test_the_file_of_torch_opens_without_this_package(pair, tmp_path):
    run = alasca_pl.load_run(pair)
    found = run.export("torch", tmp_path / "own.pt2")
    assert found.difference < 1e-5
    np.save(tmp_path / "pixels.npy", pixels(5).numpy())
    code = """
import json, sys, numpy, torch
sys.modules["alasca_pl"] = None
extra = {"alasca_pl.json": ""}
program = torch.export.load("own.pt2", extra_files=extra).module()
probs = program(torch.from_numpy(numpy.load("pixels.npy")))
numpy.save("probs.npy", probs.detach().numpy())
print(json.loads(extra["alasca_pl.json"])["class_names"])
"""
    words = [sys.executable, "-P", "-c", code]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, timeout=200, env={"OMP_NUM_THREADS": "1"}
    )
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "probs.npy"), by_hand(run, pixels(5), "ensemble_all"), atol=1e-5)
    assert done.stdout.strip() == str(list(run.facts.class_names))


NETWORKS = {
    "small": (small_resnet, 12),
    "small_group": (lambda: small_resnet(norm="group"), 12),
    "preact_resnet18": (lambda: preact_resnet18(in_channels=3), 16),
    "resnet34_cifar": (lambda: torchvision_resnet("resnet34"), 16),
    "timm": (lambda: TimmBackbone("resnet18"), 64),
    # Channels last within, and named modules instead of feature maps.
    "timm_nhwc": (lambda: TimmBackbone("swin_tiny_patch4_window7_224", options={"img_size": 64, "window_size": 2}), 64),
    "timm_modules": (lambda: TimmBackbone("resnet18", modules=["layer2", "layer4"]), 64),
}


@pytest.mark.parametrize("form", ["onnx", "torch"])
@pytest.mark.parametrize("name", slow_unless(("small", "timm"), NETWORKS))
def test_every_kind_of_network_can_be_exported(name, form):
    make, size = NETWORKS[name]
    torch.manual_seed(0)
    network = Network(make(), num_classes=3)
    network.use_memory_format("channels_last")
    classifier = Classifier([network], [0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
    images = pixels(3, (3, size, size))
    with export._quiet():
        _, check = getattr(export, f"_{form}")(classifier, images[:2], {"class_names": ["a"]})
    np.testing.assert_allclose(check(images.numpy()), classifier(images).numpy(), atol=1e-5)
    normalised = Normalise([0.4, 0.5, 0.6], [0.2, 0.25, 0.3])(images)
    with torch.no_grad():
        np.testing.assert_allclose(
            check(images.numpy()), network.eval()(normalised).logits.softmax(1).numpy(), atol=1e-5
        )


def test_a_file_that_would_give_something_else_is_not_written(plain, tmp_path, monkeypatch):
    run = alasca_pl.load_run(plain)
    real = export._torch

    def wrong(*arguments):
        content, check = real(*arguments)
        return content, lambda images: check(images) + np.float32(0.01) * (len(images) > 1)

    monkeypatch.setattr(export, "_torch", wrong)
    with pytest.raises(UserError, match=r"differ from the run's by 1\.0e-02, more than 1\.0e-04; nothing was written"):
        run.export("torch", tmp_path / "own.pt2")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tflite",), "unknown form 'tflite'; choose one of onnx, torch"),
        (("torch", None, "median"), "unknown prediction rule 'median'"),
        (("torch", None, "ensemble_all"), "needs auxiliary heads, but the run has none; choose rule=main"),
    ],
)
def test_wrong_values_are_refused(arguments, message, plain):
    with pytest.raises(UserError, match=message):
        alasca_pl.load_run(plain).export(*arguments)
    assert not list(plain.glob("model*"))


def test_a_missing_library_is_named(plain, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"needs onnxscript; .* pip install 'alasca-pl\[export\]'"):
        alasca_pl.load_run(plain).export("onnx")


def test_the_command_exports_once(pair):
    outcome = command(pair.parent, "run", "torch", "rule=main", entry="export")
    assert outcome.code == 0, outcome
    assert "uint8 (n, 1, 8, 8), grey" in outcome.out and "by rule main, mean of 2 networks" in outcome.out
    assert "largest difference from the run:" in outcome.out and outcome.out.endswith("run/model.pt2\n")
    before = (pair / "model.pt2").read_bytes()
    for words, message in (
        (["run", "torch"], "run/model.pt2 exists already; choose another output"),
        (["run"], "takes the folder of a run, and onnx or torch"),
        (["run", "onnx", "checkpoint=first"], "unknown checkpoint=first"),
        (["run", "onnx", "head=main"], "unknown option head="),
        (["nowhere", "onnx"], "nowhere"),
    ):
        outcome = command(pair.parent, *words, entry="export")
        assert outcome.code == 1 and message in outcome.err and "Traceback" not in outcome.err, (words, outcome)
    assert (pair / "model.pt2").read_bytes() == before
    assert command(pair.parent, "--help", entry="export").code == 0
    assert 'alasca-export = "alasca_pl.cli:export"' in (Path(__file__).parents[2] / "pyproject.toml").read_text()
