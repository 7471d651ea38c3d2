import logging
import tarfile
import zipfile

import numpy as np
import pytest
from pictures import names_of, pixels, save, save_all, snapshot

from alasca_pl.data.folder import read_folder

FLAT = ("cat/2.jpg", "cat/1.png", "dog/1.JPG", "dög <b>&amp; x/1.png")
SPLIT = ("cat/1.png", "cat/2.png", "dog/1.png")


def test_classes_and_images_are_in_order(tmp_path):
    root = save_all(tmp_path / "data", *FLAT)
    before = snapshot(tmp_path)
    raw = read_folder(root)
    assert raw.class_names == ("cat", "dog", "dög <b>&amp; x")
    assert names_of(raw.train) == ["cat/1.png", "cat/2.jpg", "dog/1.JPG", "dög <b>&amp; x/1.png"]
    assert raw.train.labels.dtype == np.int64
    assert raw.train.labels.tolist() == [0, 0, 1, 2]
    assert raw.train.clean is None and raw.test is None and raw.val is None
    assert np.array_equal(np.asarray(raw.train.images.read(0)), pixels(1))
    assert snapshot(tmp_path) == before


def test_classes_with_numbers_for_names_are_ordered_as_text(tmp_path):
    raw = read_folder(save_all(tmp_path, *(f"{k}/1.png" for k in (0, 2, 10))))
    assert raw.class_names == ("0", "10", "2")


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_splits_are_read(tmp_path, val):
    root = save_all(tmp_path, *(f"{part}/{name}" for part in ("train", val, "test") for name in SPLIT))
    raw = read_folder(root)
    assert raw.class_names == ("cat", "dog")
    for files, part in ((raw.train, "train"), (raw.val, val), (raw.test, "test")):
        assert names_of(files) == [f"{part}/{name}" for name in SPLIT]
        assert files.labels.tolist() == [0, 0, 1]


def test_a_class_may_be_called_like_a_split(tmp_path):
    raw = read_folder(save_all(tmp_path, "train/1.png", "bus/1.png", "test/1.png"))
    assert raw.class_names == ("bus", "test", "train")


def test_files_in_folders_within_a_class_belong_to_it(tmp_path):
    raw = read_folder(save_all(tmp_path, "cat/b/1.png", "cat/a.png", "dog/x/y/1.png"))
    assert names_of(raw.train) == ["cat/a.png", "cat/b/1.png", "dog/x/y/1.png"]


def test_hidden_and_other_files_are_ignored(tmp_path, caplog):
    root = save_all(tmp_path, *SPLIT, ".hidden/1.png", "cat/.1.png", "cat/.thumbs/2.png")
    for name in ("readme.txt", "cat/notes.txt", "dog/list.csv", "dog/.DS_Store"):
        (root / name).write_text("x")
    with caplog.at_level(logging.INFO):
        raw = read_folder(root)
    assert names_of(raw.train) == list(SPLIT)
    assert [record.getMessage()[:17] for record in caplog.records] == ["ignored 3 file(s)"]


def test_folders_beside_splits_are_ignored_and_named(tmp_path, caplog):
    root = save_all(tmp_path, *(f"train/{name}" for name in SPLIT), "extra/1.png")
    raw = read_folder(root)
    assert raw.class_names == ("cat", "dog")
    assert "'extra'" in caplog.text


def test_links_to_classes_and_images_are_followed(tmp_path):
    save_all(tmp_path / "store", *SPLIT)
    root = tmp_path / "data"
    (root / "dog").mkdir(parents=True)
    (root / "cat").symlink_to(tmp_path / "store/cat")
    (root / "dog/link.png").symlink_to(tmp_path / "store/dog/1.png")
    raw = read_folder(root)
    assert names_of(raw.train) == ["cat/1.png", "cat/2.png", "dog/link.png"]
    assert np.array_equal(np.asarray(raw.train.images.read(2)), pixels(2))


def test_an_absent_root_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*absent; set data\.root"):
        read_folder(tmp_path / "absent")


def test_a_root_without_classes_says_what_is_there(tmp_path):
    root = save_all(tmp_path / "data", "1.png", "2.jpg")
    (root / "x.txt").write_text("x")
    with pytest.raises(ValueError, match=r"data has no folders of classes; found 2 image\(s\) and 1 other"):
        read_folder(root)
    (tmp_path / "void").mkdir()
    with pytest.raises(ValueError, match=r"void has no folders of classes; found 0 image\(s\)"):
        read_folder(tmp_path / "void")


def test_an_empty_class_is_named(tmp_path):
    root = save_all(tmp_path, *SPLIT)
    (root / "emu").mkdir()
    (root / "emu/notes.txt").write_text("x")
    with pytest.raises(ValueError, match=r"empty class: no image in .*/emu; images end in \.bmp"):
        read_folder(root)


def test_an_empty_class_of_a_split_is_named(tmp_path):
    root = save_all(tmp_path, *(f"train/{name}" for name in SPLIT), "test/cat/1.png")
    (root / "test/dog").mkdir()
    with pytest.raises(ValueError, match=r"empty class: no image in .*/test/dog"):
        read_folder(root)


def test_different_classes_of_splits_are_named(tmp_path):
    root = save_all(tmp_path, *(f"train/{name}" for name in SPLIT), "valid/cat/1.png", "valid/emu/1.png")
    with pytest.raises(ValueError, match=r"differ: compared with train/, valid/ lacks 'dog' and has 'emu' in addition"):
        read_folder(root)


def test_a_single_class_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has only one class, 'cat'"):
        read_folder(save_all(tmp_path / "flat", "cat/1.png"))
    with pytest.raises(ValueError, match="split/train has only one class, 'cat'"):
        read_folder(save_all(tmp_path / "split", "train/cat/1.png", "test/cat/1.png"))


def test_two_folders_for_one_split_and_a_missing_training_split_are_refused(tmp_path):
    twice = save_all(tmp_path / "twice", *(f"{part}/{name}" for part in ("train", "val", "valid") for name in SPLIT))
    with pytest.raises(ValueError, match="has both val/ and valid/ for the val split"):
        read_folder(twice)
    with pytest.raises(ValueError, match="has test/, val/, but no train/"):
        read_folder(save_all(tmp_path / "none", *(f"{part}/{name}" for part in ("val", "test") for name in SPLIT)))


def pack(path, source, prefix=""):
    names = sorted(file.relative_to(source).as_posix() for file in source.rglob("*") if file.is_file())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name in names:
                file.write(source / name, prefix + name)
    else:
        with tarfile.open(path, "w:gz") as file:
            for name in names:
                file.add(source / name, prefix + name)
    return path


@pytest.mark.parametrize("ending", [".zip", ".tar.gz"])
@pytest.mark.parametrize("prefix", ["", "./", "animals/", "a/b/"])
@pytest.mark.parametrize("parts", [False, True])
def test_archives_are_read(tmp_path, ending, prefix, parts):
    source = save_all(
        tmp_path / "source", *([f"{p}/{n}" for p in ("train", "test") for n in SPLIT] if parts else SPLIT)
    )
    (tmp_path / "user").mkdir()
    archive = pack(tmp_path / "user" / f"data{ending}", source, prefix)
    before = snapshot(tmp_path / "user")
    raw = read_folder(archive, extract_to=tmp_path / "target")
    assert raw.class_names == ("cat", "dog")
    assert [name.removeprefix("train/") for name in names_of(raw.train)] == list(SPLIT)
    assert (raw.test is not None) == parts
    assert np.array_equal(np.asarray(raw.train.images.read(2)), pixels(2))
    assert snapshot(tmp_path / "user") == before
    again = read_folder(archive, extract_to=tmp_path / "target")
    assert again.train.images.fingerprint() == raw.train.images.fingerprint()


def test_a_packed_training_split_alone_is_read(tmp_path):
    archive = pack(tmp_path / "data.zip", save_all(tmp_path / "source", *(f"train/{name}" for name in SPLIT)))
    assert read_folder(archive, tmp_path / "target").class_names == ("cat", "dog")


def test_an_archive_needs_a_place(tmp_path):
    archive = pack(tmp_path / "data.zip", save_all(tmp_path / "source", *SPLIT))
    before = snapshot(tmp_path)
    with pytest.raises(ValueError, match=r"is an archive; set data\.extract_to"):
        read_folder(archive)
    assert snapshot(tmp_path) == before


def test_a_hostile_archive_writes_nothing_outside(tmp_path):
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as file:
        file.writestr("cat/1.png", b"x")
        file.writestr("../../canary", b"x")
    with pytest.raises(ValueError, match=r"'\.\./\.\./canary' leads out"):
        read_folder(tmp_path / "data.zip", tmp_path / "a/target")
    assert not (tmp_path / "canary").exists() and not (tmp_path / "a/canary").exists()


def test_another_file_is_named(tmp_path):
    save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png is a file; set data\.root to a folder or"):
        read_folder(tmp_path / "a.png", tmp_path / "target")


@pytest.mark.parametrize("other", ["cafe\u0301", "caf\u00e9 "])
@pytest.mark.parametrize("parts", [("", ""), ("train/", "test/")])
def test_class_folders_that_look_the_same_are_named(tmp_path, other, parts):
    paths = [f"{parts[0]}caf\u00e9/1.png", f"{parts[0]}tea/1.png", f"{parts[1]}{other}/1.png", f"{parts[1]}tea/1.png"]
    root = save_all(tmp_path, *dict.fromkeys(paths))
    with pytest.raises(ValueError, match=r"'caf\\xe9.*look the same; rename") as refused:
        read_folder(root)
    assert ascii(other) in str(refused.value)
