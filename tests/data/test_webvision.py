import numpy as np
import pytest
from pictures import names_of, pixels, save, snapshot

from alasca_pl.data.webvision import read_webvision

TRAIN = [("google/q0001/a b.jpg", 0), ("google/q0002/2.jpg", 49), ("google/q0051/3.jpg", 50), ("google/q0002/4.jpg", 1)]
VAL = [("val000001.jpg", 1), ("val000002.jpg", 999), ("val000003.jpg", 49)]
IMAGENET = [("n01440764/ILSVRC2012_val_1.JPEG", 0), ("n02000000/ILSVRC2012_val_2.JPEG", 70)]


def write_list(path, pairs):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{key} {label}\n" for key, label in pairs))


def write_images(folder, pairs, seed):
    for key, _ in pairs:
        path = folder / key
        save(path.with_suffix(".png"), seed).rename(path)
        seed += 1


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "webvision"
    write_list(folder / "info/train_filelist_google.txt", TRAIN)
    write_list(folder / "info/val_filelist.txt", VAL)
    write_images(folder, TRAIN, 0)
    write_images(folder / "val_images_256", VAL, 10)
    return folder


def add_imagenet(lists, images):
    write_list(lists / "imagenet_val.txt", IMAGENET)
    write_images(images, IMAGENET, 20)


def test_the_first_classes_are_kept(root, caplog):
    before = snapshot(root)
    raw = read_webvision(root)
    assert names_of(raw.train) == ["google/q0001/a b.jpg", "google/q0002/2.jpg", "google/q0002/4.jpg"]
    assert raw.train.labels.tolist() == [0, 49, 1] and raw.train.labels.dtype == np.int64
    assert names_of(raw.test) == ["val000001.jpg", "val000003.jpg"]
    assert raw.test.labels.tolist() == raw.test.clean.tolist() == [1, 49]
    assert raw.val is None and raw.train.clean is None and raw.extra == {}
    assert np.array_equal(np.asarray(raw.train.images.read(2)), pixels(3))
    assert np.array_equal(np.asarray(raw.test.images.read(1)), pixels(12))
    assert "not be tested on ImageNet" in caplog.text
    assert snapshot(root) == before


def test_more_or_fewer_classes_can_be_kept(root):
    assert read_webvision(root, 51).train.labels.tolist() == [0, 49, 50, 1]
    assert read_webvision(root, 1000).test.labels.tolist() == [1, 999, 49]
    assert read_webvision(root, 2).train.labels.tolist() == [0, 1]
    for wrong in (1, 1001):
        with pytest.raises(ValueError, match=f"must be 2 to 1000, got {wrong}"):
            read_webvision(root, wrong)


@pytest.mark.parametrize("images", ["imagenet", "imagenet/val", "."])
def test_imagenet_is_found_beside(root, images):
    add_imagenet(root / "imagenet", root / images)
    raw = read_webvision(root)
    assert list(raw.extra) == ["imagenet"]
    assert raw.extra["imagenet"].labels.tolist() == [0]
    assert np.array_equal(np.asarray(raw.extra["imagenet"].images.read(0)), pixels(20))


def test_imagenet_can_be_elsewhere(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no imagenet_val\.txt in .*other"):
        read_webvision(root, imagenet_root=tmp_path / "other")
    add_imagenet(tmp_path / "other", tmp_path / "other/val")
    raw = read_webvision(root, imagenet_root=tmp_path / "other")
    assert np.array_equal(np.asarray(raw.extra["imagenet"].images.read(0)), pixels(20))


def test_missing_lists_and_images_are_named(root):
    write_list(root / "imagenet/imagenet_val.txt", IMAGENET)
    with pytest.raises(FileNotFoundError, match=r"no images of imagenet_val\.txt found: looked for 'n01440764"):
        read_webvision(root)
    (root / "imagenet/imagenet_val.txt").unlink()
    (root / "info/val_filelist.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"no val_filelist\.txt in .*info"):
        read_webvision(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("google/a.jpg 1000\n", "line 1: label 1000 must be below 1000"),
        ("google/a.jpg\n", "is not a path and a label"),
        ("../a.jpg 1\n", "line 1: path '../a.jpg' leads out"),
        ("google/a.jpg 60\n", "has no image of the first 50 classes"),
        ("", "is empty"),
    ],
)
def test_damaged_lists_are_named(root, content, message):
    (root / "info/train_filelist_google.txt").write_text(content)
    with pytest.raises(ValueError, match=rf"train_filelist_google\.txt.*{message}"):
        read_webvision(root)
