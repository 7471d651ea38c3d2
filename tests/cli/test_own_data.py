"""Images of one's own, as folders, tables, arrays and the layouts of data sets, from the command to the figures."""

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import alasca_pl
from running import Outcome, assert_same_bits, checkpoint, command, train, train_killed

CLASSES = ("cat", "dog", "owl")
# Two epochs of a narrow network. Without batch norm, so that a batch of few samples is no special case.
QUICK = (
    "epochs=2",
    "data.batch_size=16",
    "data.eval_batch_size=16",
    "model.backbone.width=4",
    "model.norm=group",
    "callbacks=quiet",
    "hydra.run.dir=run",
)
PNG = b"\x89PNG\r\n\x1a\n"


class Run(NamedTuple):
    record: dict[str, Any]
    rows: list[dict[str, str]]
    outcome: Outcome
    folder: Path

    @property
    def metrics(self) -> set[str]:
        """Names of everything that was measured, in the file or in the record."""
        measured = {name for row in self.rows for name, value in row.items() if value != ""}
        return measured | {name for summary in self.record["metrics"].values() for name in summary}

    @property
    def shown(self) -> str:
        return self.outcome.out


def run(folder: Path, *arguments: str, draws: bool = False) -> Run:
    folder.mkdir(exist_ok=True)
    outcome = command(folder, *QUICK, *arguments, draws=draws)
    assert outcome.code == 0, outcome
    with (folder / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert not draws or (folder / "run" / "curves.png").read_bytes().startswith(PNG)
    record = json.loads((folder / "run" / "record.json").read_text())
    assert record["status"] == "finished"
    return Run(record, rows, outcome, folder / "run")


def picture(label: int, seed: int, size: int = 12) -> Image.Image:
    """Noise, brighter in one channel or another by class, so that there is something to learn."""
    pixels = np.random.default_rng([label, seed]).integers(0, 156, (size, size, 3))
    pixels[..., label % 3] += 25 * (label + 1) % 100
    return Image.fromarray(pixels.astype(np.uint8))


def save(path: Path, label: int, seed: int, size: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(label, seed, size).save(path, format="JPEG", quality=95)


def write_folder(root: Path, classes: Sequence[str] = CLASSES, train: int = 20, test: int = 8, size: int = 12) -> Path:
    """Images in ``{train,test}/<class>``, or in ``<class>`` if there is no test split."""
    for part, count in (("train", train), ("test", test)):
        for label, name in enumerate(classes):
            for number in range(count):
                where = root / part if test else root
                save(where / name / f"{number:02d}.jpg", label, number + 1000 * (part == "test"), size)
    return root


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def snapshot(root: Path) -> dict[str, tuple[int, int]]:
    paths = [root, *root.rglob("*")]
    return {str(path): (path.lstat().st_size * path.is_file(), path.lstat().st_mtime_ns) for path in paths}


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """The same images in the same order as a folder, as a table and as decoded pixels."""
    root = tmp_path_factory.mktemp("own")
    folder = write_folder(root / "folder")
    arrays: dict[str, list[Any]] = {}
    lines = []
    for part in ("train", "test"):
        for label, name in enumerate(CLASSES):
            for path in sorted((folder / part / name).iterdir()):
                lines.append({"path": path.relative_to(folder), "label": name, "split": part})
                arrays.setdefault(f"{part}_images", []).append(np.asarray(Image.open(path)))
                arrays.setdefault(f"{part}_labels", []).append(label)
    write_table(root / "list.csv", lines)
    np.savez(root / "images.npz", **{name: np.stack(values) for name, values in arrays.items()})
    return root


@pytest.fixture(scope="module")
def undivided(tmp_path_factory) -> Path:
    """A folder of classes only: no test split."""
    return write_folder(tmp_path_factory.mktemp("undivided") / "images", test=0)


def arguments_for(own: Path, form: str) -> list[str]:
    return {
        "folder": ["data=folder", f"data.root={own / 'folder'}"],
        "csv": ["data=csv", f"data.path={own / 'list.csv'}", f"data.root={own / 'folder'}"],
        "npz": ["data=npz", f"data.path={own / 'images.npz'}"],
    }[form]


def assert_forms_train_the_same(own: Path, folder: Path, augment: str, others: Sequence[tuple[str, str, int]]) -> None:
    common = ("noise=symmetric", "noise.rate=0.4", "data.num_val=0.1", f"data.augment={augment}", "seed=3")
    before = snapshot(own)
    arrays = run(folder / "npz", *arguments_for(own, "npz"), *common)
    assert arrays.record["noise"]["realised_rate"] > 0.1
    for number, (form, loader, workers) in enumerate(others):
        how = (f"data.loader={loader}", f"data.num_workers={workers}")
        other = run(folder / str(number), *arguments_for(own, form), *common, *how)
        assert other.record["noise"]["sha256"] == arrays.record["noise"]["sha256"]
        assert other.record["val_noise"]["sha256"] == arrays.record["val_noise"]["sha256"]
        with np.load(other.folder / "noise.npz") as mine, np.load(arrays.folder / "noise.npz") as theirs:
            for name in ("label", "clean_label", "index"):
                assert np.array_equal(mine[name], theirs[name])
        assert other.rows == arrays.rows
        assert other.record["data"]["class_names"] == list(CLASSES)
        assert_same_bits(checkpoint(other.folder)["state_dict"], checkpoint(arrays.folder)["state_dict"])
    assert snapshot(own) == before


@pytest.mark.parametrize(
    ("augment", "form", "loader", "workers"),
    [("none", "csv", "arrays", 0), ("weak", "folder", "files", 0), ("strong", "csv", "files", 2)],
)
def test_the_same_images_in_another_form_train_the_same(own, tmp_path, augment, form, loader, workers):
    assert_forms_train_the_same(own, tmp_path, augment, [(form, loader, workers)])


@pytest.mark.slow
@pytest.mark.parametrize("augment", ["none", "weak", "strong"])
def test_the_same_images_in_every_form_train_the_same(own, tmp_path, augment):
    how = [("arrays", 0), ("files", 0), ("files", 2)]
    assert_forms_train_the_same(own, tmp_path, augment, [(form, *one) for form in ("folder", "csv") for one in how])


def test_what_was_found_is_said(own, tmp_path):
    found = run(tmp_path, *arguments_for(own, "folder"), "data.loader=files", "data.num_workers=0")
    for text in ("54 train, 6 val, 24 test", "3 classes: cat, dog, owl", "12 x 12, RGB", "augmentation: weak"):
        assert text in found.shown
    assert found.record["data"]["image_shape"] == [3, 12, 12]


def test_a_loaded_run_predicts_from_files(own, tmp_path):
    made = run(tmp_path, *arguments_for(own, "folder"), "data.loader=files", "data.num_workers=0")
    (tmp_path / "elsewhere").mkdir()
    where = f"ckpt_path={made.folder / 'checkpoints' / 'last.ckpt'}"
    outcome = command(tmp_path / "elsewhere", where, "device=cpu", entry="evaluate")
    assert outcome.code == 0, outcome
    assert f"{made.record['metrics']['last']['test/acc_main']:.2%}" in outcome.out
    assert alasca_pl.load_run(made.folder).facts.class_names == CLASSES


@pytest.mark.parametrize(
    ("kind", "ending"), [pytest.param("zip", ".zip", marks=pytest.mark.slow), ("gztar", ".tar.gz")]
)
def test_an_archive_trains_as_its_folder(own, tmp_path, kind, ending):
    (tmp_path / "archives").mkdir()
    archive = shutil.make_archive(str(tmp_path / "archives" / "images"), kind, own / "folder")
    assert archive.endswith(ending)
    before = snapshot(tmp_path / "archives")
    packed = run(tmp_path / "packed", "data=folder", f"data.root={archive}", "data.extract_to=unpacked")
    plain = run(tmp_path / "plain", *arguments_for(own, "folder"))
    assert packed.rows == plain.rows
    assert snapshot(tmp_path / "archives") == before
    assert {path.name for path in (tmp_path / "packed").iterdir()} == {"run", "unpacked"}


def test_corrupt_images_are_left_out_on_request_and_counted(own, tmp_path):
    folder = shutil.copytree(own / "folder", tmp_path / "damaged")
    (folder / "train" / "cat" / "03.jpg").write_bytes(b"")
    (folder / "test" / "owl" / "01.jpg").write_text("no image")
    before = snapshot(folder)
    made = run(tmp_path / "made", "data=folder", f"data.root={folder}", "data.on_corrupt=skip", "data.num_val=0")
    assert (made.record["data"]["sizes"]["train"], made.record["data"]["sizes"]["test"]) == (59, 23)
    assert made.record["data"]["skipped"] == 2
    assert "left out" in made.shown
    assert "'train/cat/03.jpg' (the file is empty)" in made.shown
    assert snapshot(folder) == before


@pytest.mark.parametrize("loader", ["files", pytest.param("arrays", marks=pytest.mark.slow)])
def test_images_of_all_sizes_are_brought_to_one(tmp_path, loader):
    root = write_folder(tmp_path / "images", ("cat", "dog"), train=8, test=4)
    for number, size in enumerate((9, 20, 41)):
        save(root / "train" / "cat" / f"more{number}.jpg", 0, number, size)
    made = run(tmp_path / "made", "data=folder", f"data.root={root}", f"data.loader={loader}", "data.num_workers=0",
               "data.batch_size=8", "data.num_val=0", "data.drop_last=true")  # fmt: skip
    assert made.record["data"]["image_shape"] == [3, 28, 28]
    assert "images differ in size; all are resized to 28 x 28" in made.shown


def resumable(own: Path) -> tuple[str, ...]:
    return (
        *arguments_for(own, "folder"), "noise=symmetric", "noise.rate=0.4", "data.batch_size=8", "data.augment=strong",
        "data.loader=files", "data.num_workers=2", "checkpoint.every_n_steps=4",
    )  # fmt: skip


@pytest.mark.slow
def test_killed_and_resumed_from_files_equals_uninterrupted(own, tmp_path):
    # 7 steps make an epoch: the kill falls into the second, the checkpoint 3 steps before it.
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    train(whole, *resumable(own))
    train_killed(killed, 11, *resumable(own))
    assert checkpoint(killed)["global_step"] == 8
    train(killed, *resumable(own), f"ckpt_path={killed}/checkpoints/last.ckpt", "data.num_workers=0")
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    mine, theirs = checkpoint(killed), checkpoint(whole)
    for part in ("epoch", "global_step", "state_dict", "optimizer_states", "lr_schedulers"):
        assert_same_bits(mine[part], theirs[part])


def test_resuming_takes_other_workers_but_no_other_augmentation(own, tmp_path):
    made = run(tmp_path, *arguments_for(own, "folder"), "data.loader=files", "data.num_workers=0")
    last = f"ckpt_path={made.folder / 'checkpoints' / 'last.ckpt'}"
    refused = command(tmp_path, last, "data.augment=strong", "epochs=3")
    assert refused.code == 1
    assert "data.augment (was 'weak', now 'strong')" in refused.err
    assert len((made.folder / "metrics.csv").read_text().splitlines()) == 3
    resumed = command(tmp_path, last, "data.num_workers=1", "data.check=none", "epochs=3")
    assert resumed.code == 0, resumed
    assert len((made.folder / "metrics.csv").read_text().splitlines()) == 4


def write_clothing1m(root: Path) -> Path:
    """14 classes with 3 noisy images each and some that nobody would expect, lists in the root, images in folders."""
    noisy = {f"images/{k}/{n}/{k}{n}.jpg": k for k in range(14) for n in range(3)} | {"images/0/9/09.jpg": 0}
    val, test = ({f"images/{part}/0/{k}.jpg": k for k in range(14)} for part in ("7", "8"))
    for number, (key, label) in enumerate({**noisy, **val, **test}.items()):
        save(root / key, label, number, 12 + number % 3)
    for name, labels in (("noisy_train", noisy), ("clean_val", val), ("clean_test", test)):
        (root / f"{name}_key_list.txt").write_text("".join(f"{key}\n" for key in labels))
    for name, labels in (("noisy", noisy), ("clean", val | test)):
        (root / f"{name}_label_kv.txt").write_text("".join(f"{key} {label}\n" for key, label in labels.items()))
    return root


LAYOUT = ("model=small", "data.image_size=32", "data.num_workers=0", "noise=none")


@pytest.mark.parametrize("redraw", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_the_layout_of_clothing1m_trains(tmp_path, redraw):
    root = write_clothing1m(tmp_path / "clothing1m")
    before = snapshot(root)
    made = run(
        tmp_path / "made", "data=clothing1m", f"data.root={root}", *LAYOUT,
        "data.batch_size=7", "data.subset_size=28", f"data.subset_redraw={str(redraw).lower()}",
    )  # fmt: skip
    data = made.record["data"]
    assert (data["sizes"], data["num_classes"]) == ({"train": 43, "val": 14, "test": 14}, 14)
    assert data["class_names"][8] == "Down Coat"
    # 28 of 43 samples, 2 of each class, make 4 batches of 7.
    assert [row["step"] for row in made.rows] == ["4", "8"]
    assert {"val/acc_main", "test/acc_main"} <= made.metrics
    assert "best on" in made.shown
    assert snapshot(root) == before


def write_webvision(root: Path) -> Path:
    def write_list(path: Path, pairs: dict[str, int], images: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{key} {label}\n" for key, label in pairs.items()))
        for number, (key, label) in enumerate(pairs.items()):
            save(images / key, label, number)

    google = {f"google/q{k:04d}/a b {n}.jpg": k for k in range(52) for n in range(2)}
    write_list(root / "info" / "train_filelist_google.txt", google, root)
    validation = {f"val{k:06d}.jpg": k for k in range(0, 60, 4)}
    write_list(root / "info" / "val_filelist.txt", validation, root / "val_images_256")
    ilsvrc = {f"n{k:08d}/ILSVRC2012_val_{k}.JPEG": k for k in range(0, 60, 5)}
    write_list(root / "imagenet" / "imagenet_val.txt", ilsvrc, root / "imagenet" / "val")
    return root


def test_the_layout_of_mini_webvision_trains_and_is_measured_on_imagenet(tmp_path):
    root = write_webvision(tmp_path / "webvision")
    before = snapshot(root)
    made = run(tmp_path / "made", "data=webvision", f"data.root={root}", *LAYOUT, draws=True)
    data = made.record["data"]
    assert (data["sizes"], data["num_classes"]) == ({"train": 100, "test": 13, "imagenet": 10}, 50)
    for rule in ("main", "ensemble_all", "main_last"):
        name = f"imagenet/acc_{rule}"
        assert made.rows[-1][name] != ""
        assert made.record["metrics"]["last"][name] == pytest.approx(float(made.rows[-1][name]))
        assert name in made.record["metrics"]["mean_of_last"]
    assert "main head, imagenet" in made.shown
    assert "100 train, 13 test, 10 imagenet" in made.shown
    assert snapshot(root) == before


@pytest.mark.parametrize(
    ("method", "settings", "noise"),
    [
        ("co_teaching", ["selector.estimate_epoch=1", "selector.ramp_epochs=2"], "symmetric"),
        pytest.param("dividemix", ["selector.warmup_epochs=1", "step.ramp_epochs=2"], "none", marks=pytest.mark.slow),
        pytest.param("crust", ["selector.warmup_epochs=1", "mixer.start_epoch=1"], "symmetric", marks=pytest.mark.slow),
    ],
)
def test_methods_that_select_and_mix_see_the_same_from_files(own, tmp_path, method, settings, noise):
    made = {}
    for loader in ("arrays", "files"):
        made[loader] = run(
            tmp_path / loader, *arguments_for(own, "folder"), f"method={method}", "alasca=none", *settings,
            f"noise={noise}", "data.num_val=0", f"data.loader={loader}", "data.num_workers=0",
        )  # fmt: skip
    assert made["files"].rows == made["arrays"].rows
    assert_same_bits(*(checkpoint(one.folder)["state_dict"] for one in made.values()))
    known = noise != "none"
    assert any(name.startswith("select/precision") for name in made["files"].metrics) == known
    assert any(name.startswith("select/rate") for name in made["files"].metrics) >= known


OF_CLEAN_LABELS = ("train/acc_clean", "train/memorised", "auroc", "confidence_clean", "confidence_wrong",
                   "select/precision", "select/recall")  # fmt: skip


def of_clean_labels(made: Run) -> list[str]:
    return [name for name in made.metrics if any(part in name for part in OF_CLEAN_LABELS)]


@pytest.mark.parametrize("method", ["ce", "co_teaching"])
def test_without_clean_labels_nothing_that_needs_them_is_measured(undivided, tmp_path, method):
    before = snapshot(undivided)
    made = run(tmp_path, "data=folder", f"data.root={undivided}", f"method={method}", "data.num_val=0.2", draws=True)
    assert not of_clean_labels(made)
    assert "train/acc_observed" in made.metrics
    text = (made.folder / "record.json").read_text() + (made.folder / "metrics.csv").read_text()
    assert "nan" not in text.lower()
    assert made.record["noise"]["realised_rate"] is None
    assert made.record["noise"]["rate"] is None
    # Without a test split the table shows the validation accuracies, and says so.
    assert not any(name.startswith("test/") for name in made.metrics)
    assert "Validation accuracy (given labels)" in made.shown
    assert f"{made.record['metrics']['last']['val/acc_main']:.2%}" in made.shown
    # What is known without them.
    estimate, low, high = made.record["estimated_noise"]
    assert 0 <= low <= estimate <= high <= 1
    assert f"which labels are wrong is not known; {estimate:.1%} of them are estimated to be wrong" in made.shown
    assert any(name.split("/")[:2] == ["train", "confidence"] for name in made.metrics)
    assert "memorised" not in made.shown
    assert "AUROC" not in made.shown
    with np.load(made.folder / "noise.npz") as file:
        assert "clean_label" not in file.files or not file["clean_label"].size
    assert snapshot(undivided) == before


def test_the_oracle_is_refused_where_nobody_knows_the_rate(undivided, tmp_path):
    outcome = command(
        tmp_path, *QUICK, "data=folder", f"data.root={undivided}", "method=co_teaching", "selector.noise_rate=oracle"
    )
    assert outcome.code == 1
    assert "selector.noise_rate=estimated" in outcome.err
    assert not (tmp_path / "run" / "record.json").exists()


def table_with_clean_labels(root: Path, path: Path, shift: int) -> Path:
    """Every third image of cats is called a dog; ``shift`` changes what the table says of the clean labels."""
    rows = []
    for label, name in enumerate(CLASSES):
        for number, image in enumerate(sorted((root / name).iterdir())):
            given = "dog" if name == "cat" and number % 3 == 0 else name
            clean = CLASSES[(label + shift) % 3] if number % 2 else name
            rows.append({"path": f"{name}/{image.name}", "label": given, "clean_label": clean})
    return write_table(path, rows)


def test_clean_labels_of_a_table_are_measured_with_and_nothing_else(undivided, tmp_path):
    made = {}
    for shift in (0, 1):
        table = table_with_clean_labels(undivided, tmp_path / f"{shift}.csv", shift)
        made[shift] = run(
            tmp_path / str(shift), "data=csv", f"data.path={table}", f"data.root={undivided}", "alasca=short",
            "data.num_val=0.25",
        )  # fmt: skip
    first, second = made[0], made[1]
    assert {"train/acc_clean", "train/memorised", "alasca/auroc"} <= first.metrics
    with np.load(first.folder / "noise.npz") as file:
        share = float((file["label"] != file["clean_label"]).mean())
    assert first.record["noise"]["realised_rate"] == pytest.approx(share)
    # 7 of 60 in the table, about as many in the training split.
    assert 0.05 < share < 0.2
    assert f"{share:.1%} of the training labels differ from the clean ones" in first.shown
    assert second.record["noise"]["realised_rate"] > share
    assert first.record["noise"]["sha256"] == second.record["noise"]["sha256"]
    assert_same_bits(checkpoint(first.folder)["state_dict"], checkpoint(second.folder)["state_dict"])
    same = ("val/acc_main", "train/loss", "train/acc_observed")
    assert [[row[name] for name in same] for row in first.rows] == [[row[name] for name in same] for row in second.rows]


def test_a_run_without_validation_and_test_split_still_ends_well(undivided, tmp_path):
    made = run(tmp_path, "data=folder", f"data.root={undivided}", "data.num_val=0", draws=True)
    assert {path.name for path in (made.folder / "checkpoints").iterdir()} == {"last.ckpt"}
    assert made.record["data"]["sizes"]["train"] == 60
    assert "Test accuracy" not in made.shown


def test_links_to_images_are_followed_but_nothing_is_written_there(own, tmp_path):
    root = tmp_path / "linked"
    root.mkdir()
    (root / "train").symlink_to(own / "folder" / "train")
    (root / "test").symlink_to(own / "folder" / "test")
    before = snapshot(own)
    made = run(tmp_path / "made", "data=folder", f"data.root={root}")
    assert made.record["data"]["sizes"]["train"] + made.record["data"]["sizes"]["val"] == 60
    assert snapshot(own) == before
