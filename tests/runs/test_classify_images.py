"""Classify new images with a run: as its evaluation does, from pixels and from files, in Python and as a command."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import alasca_pl
from alasca_pl.core.errors import UserError
from alasca_pl.runs.stored import data_of
from cli.test_own_data import QUICK, save, write_folder
from running import command


@pytest.fixture(scope="module", params=["logits", "probs"])
def trained(request, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("predict")
    write_folder(root / "images", test=0)
    # Of other sizes, as new images are.
    for number in range(4):
        save(root / "images" / "cat" / f"large {number}.jpg", 0, number, size=20)
    average = f"predict.average={request.param}"
    outcome = command(
        root,
        *QUICK,
        "data=folder",
        "data.root=images",
        "data.image_size=12",
        "predict.rule=ensemble_all",
        average,
        "alasca=digits",
    )
    assert outcome.code == 0, outcome
    return root


def test_files_are_classified_as_in_the_evaluation(trained: Path):
    run = alasca_pl.load_run(trained / "run")
    data = data_of(run)
    names = data.image_names("train")
    with torch.no_grad():
        scores = torch.cat([run.module(batch.image) for batch in data.eval_batches("train")])
    found = run.predict([trained / "images" / name for name in names], batch_size=7)
    assert found.label.tolist() == scores.argmax(1).tolist()
    expected = scores if run.module.predict_average == "probs" else scores.softmax(1)
    np.testing.assert_allclose(found.probs, expected, atol=1e-6)
    np.testing.assert_allclose(found.probs.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(found.probability, expected.max(1).values, atol=1e-6)
    assert found.names == [run.facts.class_names[label] for label in found.label]


def test_pixels_and_files_give_the_same(trained: Path):
    run = alasca_pl.load_run(trained / "run")
    paths = sorted((trained / "images" / "dog").iterdir())
    pixels = np.stack([np.asarray(Image.open(path)) for path in paths])
    by_path = run.predict(paths)
    for images in (pixels, torch.from_numpy(pixels).permute(0, 3, 1, 2)):
        np.testing.assert_allclose(run.predict(images).probs, by_path.probs, atol=1e-6)


def test_images_that_do_not_fit_are_refused(trained: Path, tmp_path: Path):
    run = alasca_pl.load_run(trained / "run")
    for images, message in (
        (np.zeros((2, 9, 9, 3), dtype=np.uint8), r"shape \(2, 3, 9, 9\); the run takes \(n, 3, 12, 12\)"),
        (torch.zeros(2, 3, 12, 12), "type torch.float32"),
        ([], "no images"),
        ([tmp_path / "missing.jpg"], "the file is missing"),
    ):
        with pytest.raises(UserError, match=message):
            run.predict(images)


def test_files_that_cannot_be_read_are_counted_before_any_is_classified(trained: Path, tmp_path: Path):
    for number in range(3):
        save(tmp_path / "new" / f"{number}.jpg", 0, number)
    whole = (tmp_path / "new" / "0.jpg").read_bytes()
    (tmp_path / "new" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "new" / "empty.png").write_bytes(b"")
    words = [str(trained / "run"), "new"]
    outcome = command(tmp_path, *words, entry="predict")
    assert outcome.code == 1 and not outcome.out and "2 of 5 images cannot be read: new/cut.jpg (" in outcome.err, (
        outcome
    )
    assert "new/empty.png (the file is empty); data.on_corrupt=skip leaves them out" in outcome.err
    outcome = command(tmp_path, *words, "data.on_corrupt=skip", entry="predict")
    assert outcome.code == 0 and "left out 2 images that cannot be read" in outcome.err, outcome
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    assert [row["path"] for row in rows] == [f"new/{number}.jpg" for number in range(3)]
    for arguments, message in (
        (["new/empty.png", "data.on_corrupt=skip"], "1 of 1 images cannot be read: new/empty.png (the file is empty)"),
        (["new", "data.on_corrupt=no"], "unknown data.on_corrupt=no; choose one of error, skip"),
    ):
        outcome = command(tmp_path, words[0], *arguments, entry="predict")
        assert outcome.code == 1 and message in outcome.err and "Traceback" not in outcome.err, outcome


def test_forms_and_modes_of_images(trained: Path, tmp_path: Path):
    """Grey, transparent, palettes, 16 bits, CMYK and other formats are classified as the same picture in RGB."""
    pixels = np.asarray(Image.open(trained / "images" / "cat" / "00.jpg"))
    rgb, grey = Image.fromarray(pixels), Image.fromarray(pixels[..., 0])
    run = alasca_pl.load_run(trained / "run")
    same = {"a.png": rgb, "a.bmp": rgb, "A.TIF": rgb, "rgba.png": rgb.convert("RGBA"), "ppm.ppm": rgb}
    same_grey = {"grey.png": grey, "bits.png": Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)}
    for images, expected in ((same, pixels), (same_grey, np.stack([pixels[..., 0]] * 3, axis=-1))):
        for name, image in images.items():
            image.save(tmp_path / name)
        found = run.predict([tmp_path / name for name in images])
        np.testing.assert_allclose(found.probs, np.repeat(run.predict(expected[None]).probs, len(images), 0), atol=1e-6)
    rgb.convert("CMYK").save(tmp_path / "cmyk.jpg")
    rgb.convert("P").save(tmp_path / "palette.gif")
    Image.fromarray(pixels[:1, :1]).save(tmp_path / "one pixel.png")
    odd = run.predict([tmp_path / name for name in ("cmyk.jpg", "palette.gif", "one pixel.png")])
    np.testing.assert_allclose(odd.probs.sum(1), 1, atol=1e-5)


def test_an_image_too_thin_to_be_scaled_is_named(trained: Path, tmp_path: Path):
    Image.fromarray(np.zeros((1, 700_000, 3), np.uint8)).save(tmp_path / "thin.png")
    with pytest.raises(UserError, match=r"thin\.png' of 700000 x 1 pixels is too long and thin"):
        alasca_pl.load_run(trained / "run").predict([tmp_path / "thin.png"])


def test_the_command_writes_a_table(trained: Path):
    run = alasca_pl.load_run(trained / "run")
    outcome = command(trained, "run", "images/owl", "images/cat/00.jpg", entry="predict")
    assert outcome.code == 0, outcome
    rows = list(csv.DictReader(io.StringIO(outcome.out)))
    paths = [*sorted((trained / "images" / "owl").iterdir()), trained / "images" / "cat" / "00.jpg"]
    found = run.predict(paths)
    assert [row["path"] for row in rows] == [str(path.relative_to(trained)) for path in paths]
    assert [row["label"] for row in rows] == found.names
    assert [float(row["probability"]) for row in rows] == pytest.approx(found.probability, abs=1e-4)
    (trained / "there.csv").write_text("mine")
    for arguments, message in (
        (["run", "images", "output=there.csv"], "there.csv exists already"),
        (["run", "nothing"], "no file or folder nothing"),
        (["run", "run/checkpoints"], "no image in run/checkpoints"),
        (["run"], "takes the folder of a run and images"),
        (["run", "images", "rules=main"], "unknown option rules="),
        (["run", "images", "rule=median"], "unknown prediction rule 'median'; choose one of main"),
        (["run", "images", "checkpoint=first"], "unknown checkpoint=first"),
    ):
        outcome = command(trained, *arguments, entry="predict")
        assert outcome.code == 1 and message in outcome.err and "Traceback" not in outcome.err, (arguments, outcome)
    assert (trained / "there.csv").read_text() == "mine"
