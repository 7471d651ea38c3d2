import shutil

import numpy as np
import pytest
from pictures import names_of, pixels, save, snapshot, truncate

from alasca_pl.data.clothing1m import CLASS_NAMES, read_clothing1m
from alasca_pl.data.decode import check_images

KEYS = {
    "noisy_train": ["images/0/0/1.jpg", "images/0/1/2.jpg", "images/1/0/3.jpg"],
    "clean_train": ["images/2/0/4.jpg"],
    "clean_val": ["images/2/1/5.jpg", "images/2/1/6.jpg"],
    "clean_test": ["images/3/0/7.jpg"],
}
NOISY = {"images/0/0/1.jpg": 13, "images/0/1/2.jpg": 0, "images/1/0/3.jpg": 5, "images/2/1/5.jpg": 9}
CLEAN = {"images/2/0/4.jpg": 1, "images/2/1/5.jpg": 2, "images/2/1/6.jpg": 3, "images/3/0/7.jpg": 4}


def lines(labels):
    return "".join(f"{key} {label}\n" for key, label in labels.items())


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "clothing1m"
    for seed, key in enumerate(key for keys in KEYS.values() for key in keys):
        save(folder / key.replace(".jpg", ".png"), seed).rename(folder / key)
    for name, keys in KEYS.items():
        (folder / f"{name}_key_list.txt").write_text("\n".join(keys) + "\n")
    (folder / "noisy_label_kv.txt").write_text(lines(NOISY))
    (folder / "clean_label_kv.txt").write_text(lines(CLEAN))
    return folder


def check(raw):
    assert raw.class_names == CLASS_NAMES and len(CLASS_NAMES) == 14
    assert raw.train.labels.tolist() == [13, 0, 5]
    assert raw.train.labels.dtype == np.int64
    assert raw.train.clean is None
    assert raw.val.labels.tolist() == [2, 3] and raw.val.clean.tolist() == [2, 3]
    assert raw.test.labels.tolist() == [4]
    assert np.array_equal(np.asarray(raw.train.images.read(1)), pixels(1))
    assert np.array_equal(np.asarray(raw.test.images.read(0)), pixels(6))
    assert names_of(raw.train) == ["0/0/1.jpg", "0/1/2.jpg", "1/0/3.jpg"]


@pytest.mark.parametrize("moved", [(), ("*.txt",), ("*_kv.txt",), ("*_key_list.txt",), ("noisy*",)], ids=str)
def test_lists_are_found_in_both_places(root, moved):
    (root / "annotations").mkdir()
    for pattern in moved:
        for path in list(root.glob(pattern)):
            path.rename(root / "annotations" / path.name)
    before = snapshot(root)
    check(read_clothing1m(root))
    assert snapshot(root) == before


def test_images_are_found_without_their_folder(root):
    for path in list((root / "images").iterdir()):
        path.rename(root / path.name)
    (root / "images").rmdir()
    check(read_clothing1m(root))


def test_keys_may_lack_the_prefix(root):
    for path in root.glob("*.txt"):
        path.write_text(path.read_text().replace("images/", ""))
    check(read_clothing1m(root))


def test_clean_labels_of_noisy_images_are_used_if_all_have_one(root):
    some = dict(list(NOISY.items())[:2])
    (root / "clean_label_kv.txt").write_text(lines(CLEAN | dict.fromkeys(some, 7)))
    assert read_clothing1m(root).train.clean is None
    (root / "clean_label_kv.txt").write_text(lines(CLEAN | dict.fromkeys(KEYS["noisy_train"], 7)))
    raw = read_clothing1m(root)
    assert raw.train.labels.tolist() == [13, 0, 5]
    assert raw.train.clean.tolist() == [7, 7, 7]


def test_the_clean_training_list_needs_no_noisy_one(root):
    for path in root.glob("noisy*"):
        path.unlink()
    raw = read_clothing1m(root, train="clean")
    assert names_of(raw.train) == ["2/0/4.jpg"]
    assert raw.train.labels.tolist() == [1] and raw.train.clean.tolist() == [1]
    with pytest.raises(ValueError, match="unknown training list 'both'"):
        read_clothing1m(root, train="both")


def test_images_without_label_are_counted(root):
    (root / "noisy_label_kv.txt").write_text(lines({"images/0/0/1.jpg": 1}))
    with pytest.raises(ValueError, match=r"2 of 3 images of .*noisy_train_key_list\.txt have no label: '0/1/2\.jpg'"):
        read_clothing1m(root)


@pytest.mark.parametrize("name", ["noisy_label_kv", "clean_label_kv", "clean_val_key_list", "noisy_train_key_list"])
def test_a_missing_list_is_named_with_both_places(root, name):
    (root / f"{name}.txt").unlink()
    with pytest.raises(FileNotFoundError, match=rf"no {name}\.txt in .*clothing1m or .*annotations; set data\.root"):
        read_clothing1m(root)


def test_missing_images_are_told(root):
    shutil.rmtree(root / "images")
    with pytest.raises(
        FileNotFoundError, match=r"no images of Clothing1M found: looked for '0/0/1\.jpg' and 2 more in"
    ):
        read_clothing1m(root)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("images/0/0/1.jpg 14\n", "line 1: label 14 must be below 14"),
        ("images/0/0/1.jpg 1\nimages/x.jpg -1\n", "line 2: 'images/x.jpg -1' is not a path and a label"),
        ("images/0/0/1.jpg\n", "line 1: 'images/0/0/1.jpg' is not a path and a label"),
        ("images/0/0/1.jpg 1.5\n", "is not a path and a label"),
        ("images/0/0/1.jpg 99999999999999\n", "is not a path and a label"),
        ("", "is empty"),
    ],
)
def test_damaged_label_files_are_named(root, content, message):
    (root / "noisy_label_kv.txt").write_text(content)
    with pytest.raises(ValueError, match=rf"noisy_label_kv\.txt.*{message}"):
        read_clothing1m(root)


@pytest.mark.parametrize("key", ["/etc/passwd", "images/../../secret.jpg", "C:\\x.jpg"])
def test_keys_that_lead_out_are_refused(root, key):
    (root / "noisy_train_key_list.txt").write_text(f"images/0/0/1.jpg\n{key}\n")
    with pytest.raises(ValueError, match=r"noisy_train_key_list\.txt, line 2: path .* (is absolute|leads out)"):
        read_clothing1m(root)


def test_lists_of_other_encodings_are_named(root):
    (root / "clean_val_key_list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"clean_val_key_list\.txt: it is not UTF-8"):
        read_clothing1m(root)
    (root / "clean_val_key_list.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"clean_val_key_list\.txt is empty"):
        read_clothing1m(root)


def test_corrupt_images_can_be_left_out(root):
    truncate(root / "images/2/1/6.jpg", 0.1)
    raw = read_clothing1m(root)
    with pytest.raises(ValueError, match=r"no image of class Chiffon can be decoded in the val split: '2/1/6\.jpg'"):
        check_images({"train": raw.train, "val": raw.val}, "full", "skip", raw.class_names)
    (root / "clean_label_kv.txt").write_text(lines(CLEAN | {"images/2/1/6.jpg": 2}))
    raw = read_clothing1m(root)
    kept, skipped = check_images({"train": raw.train, "val": raw.val}, "full", "skip", raw.class_names)
    assert skipped == ("2/1/6.jpg",)
    assert kept["val"].labels.tolist() == kept["val"].clean.tolist() == [2]
