import io
import pickle
import sys

import numpy as np
import pytest
from pictures import pixels, save, snapshot
from PIL import Image as PillowImage

from alasca_pl.data.decode import check_images, decode_all, infer_channels, infer_size
from alasca_pl.data.huggingface import HuggingFaceImages, read_huggingface

datasets = pytest.importorskip("datasets")
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image, Value  # noqa: E402


def png(seed=0, **shape):
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels(seed, **shape)).save(buffer, "png")
    return {"bytes": buffer.getvalue(), "path": f"{seed}.png"}


def make(labels, first=0, names=("cat", "dög <b>"), **more):
    """A data set with a column of images, one of class labels (or of numbers without names), and more of numbers."""
    content = {"picture": [png(first + i) for i in range(len(labels))], "label": labels} | more
    features = {"picture": Image(), "label": ClassLabel(names=list(names)) if names else Value("int64")}
    return Dataset.from_dict(content, features=Features(features | {name: Value("int32") for name in more}))


def saved(folder, **splits):
    DatasetDict(splits).save_to_disk(str(folder))
    return folder


def test_a_saved_data_set_is_read_and_not_touched(tmp_path):
    folder = saved(tmp_path / "data", train=make([0, 1, 1]), validation=make([1], 10), test=make([0, 1], 20))
    before = snapshot(tmp_path)
    raw = read_huggingface(folder)
    assert raw.class_names == ("cat", "dög <b>")
    assert raw.train.labels.tolist() == [0, 1, 1] and raw.train.labels.dtype == np.int64
    assert raw.val.labels.tolist() == [1] and raw.test.labels.tolist() == [0, 1]
    assert np.array_equal(np.asarray(raw.train.images.read(2)), pixels(2))
    assert np.array_equal(np.asarray(raw.test.images.read(1)), pixels(21))
    assert raw.train.images.size(0) == (12, 9)
    assert raw.train.images.name(2) == "row 2 of column picture"
    assert (infer_channels(raw.train), infer_size(raw.train)) == (3, (9, 12, True))
    assert np.array_equal(decode_all(raw.train, (9, 12), 3, 2).images[1], pixels(1))
    assert snapshot(tmp_path) == before


def test_a_single_split_is_the_training_split(tmp_path):
    make([0, 1]).save_to_disk(str(tmp_path / "data"))
    raw = read_huggingface(tmp_path / "data")
    assert len(raw.train) == 2 and raw.test is None and raw.val is None


def test_splits_can_be_chosen(tmp_path):
    folder = saved(tmp_path / "data", a=make([0]), b=make([1, 1]), test=make([0, 0, 0]))
    raw = read_huggingface(folder, train_split="b", val_split="a", test_split=None)
    assert (len(raw.train), len(raw.val), raw.test) == (2, 1, None)
    with pytest.raises(ValueError, match="has no split 'train' for train; choose one of a, b, test"):
        read_huggingface(folder)
    with pytest.raises(ValueError, match="has no split 'c' for test"):
        read_huggingface(folder, train_split="a", test_split="c")


def test_class_labels_win_over_other_whole_numbers(tmp_path):
    raw = read_huggingface(saved(tmp_path / "data", train=make([1, 0], number=[7, 8])))
    assert raw.train.labels.tolist() == [1, 0]
    raw = read_huggingface(tmp_path / "data", label_column="number")
    assert raw.train.labels.tolist() == [7, 8] and raw.class_names == ()


def test_whole_numbers_are_labels_if_there_are_no_class_labels(tmp_path):
    raw = read_huggingface(saved(tmp_path / "data", train=make([3, 1], names=())))
    assert raw.train.labels.tolist() == [3, 1] and raw.class_names == ()


def test_columns_that_cannot_be_told_apart_are_listed(tmp_path):
    folder = saved(tmp_path / "labels", train=make([0, 1], names=(), fine=[0, 1]))
    with pytest.raises(
        ValueError, match=r"2 of the columns .*label \(int64\), fine \(int32\).* set data\.label_column"
    ):
        read_huggingface(folder)
    none = make([0, 1]).remove_columns("label")
    with pytest.raises(ValueError, match=r"column of labels: 0 of the columns picture"):
        read_huggingface(saved(tmp_path / "none", train=none))
    two = make([0, 1]).add_column("other", [png(8), png(9)], feature=Image())
    folder = saved(tmp_path / "images", train=two)
    with pytest.raises(ValueError, match=r"column of images: 2 of the columns picture .* set data\.image_column"):
        read_huggingface(folder)
    raw = read_huggingface(folder, image_column="other")
    assert np.array_equal(np.asarray(raw.train.images.read(0)), pixels(8))


def test_wrong_columns_are_named(tmp_path):
    text = make([0, 1]).add_column("word", ["a", "b"])
    folder = saved(tmp_path / "data", train=text)
    with pytest.raises(ValueError, match=r"split 'train' has no column 'x'; it has picture"):
        read_huggingface(folder, label_column="x")
    with pytest.raises(ValueError, match=r"column 'label' of split 'train' holds no images"):
        read_huggingface(folder, image_column="label")
    with pytest.raises(
        ValueError, match=r"column 'word' of split 'train' holds neither class labels.*class_encode_column"
    ):
        read_huggingface(folder, label_column="word")


def test_clean_labels_are_kept_apart_and_are_those_of_the_test_split(tmp_path):
    names = ClassLabel(names=["cat", "dog"])
    splits = {}
    for part, (label, clean) in {"train": ([0, 1], [1, 1]), "test": ([0, 0], [1, 0])}.items():
        splits[part] = make(label, names=("cat", "dog"), right=clean).cast_column("right", names)
    raw = read_huggingface(saved(tmp_path / "data", **splits), clean_label_column="right")
    assert raw.train.labels.tolist() == [0, 1] and raw.train.clean.tolist() == [1, 1]
    assert raw.test.labels.tolist() == raw.test.clean.tolist() == [1, 0]


def test_splits_with_other_classes_are_refused(tmp_path):
    folder = saved(tmp_path / "data", train=make([0, 1]), test=make([0, 1], names=("cat", "emu")))
    with pytest.raises(ValueError, match=r"column 'label' of split 'test' and .* differ in the names"):
        read_huggingface(folder)


@pytest.mark.parametrize("missing", [-1, None])
def test_rows_without_label_are_counted(tmp_path, missing):
    folder = saved(tmp_path / "data", train=make([0, 1]), test=make([missing, 1, missing]))
    with pytest.raises(ValueError, match=r"2 of 3 rows of split 'test' have no label in 'label'; .*or null for none"):
        read_huggingface(folder)
    assert read_huggingface(folder, test_split=None).test is None


def test_chosen_rows_of_a_data_set_are_read(tmp_path):
    whole = make([0, 1, 0, 1, 1])
    folder = saved(tmp_path / "data", train=whole.select([4, 0, 2]))
    raw = read_huggingface(folder)
    part = raw.train.take(np.array([2, 0]))
    assert part.labels.tolist() == [0, 1]
    assert np.array_equal(np.asarray(part.images.read(0)), pixels(2))
    assert np.array_equal(np.asarray(part.images.read(1)), pixels(4))
    again = part.take(np.array([1]))
    assert np.array_equal(np.asarray(again.images.read(0)), pixels(4))
    shuffled = HuggingFaceImages(whole.select([3, 1]), "picture")
    assert np.array_equal(np.asarray(shuffled.read(0)), pixels(3))


def test_images_outside_the_table_are_read(tmp_path):
    path = str(save(tmp_path / "a.png", 5))
    dataset = Dataset.from_dict({"image": [path], "label": [0]}, features=Features(image=Image(), label=Value("int8")))
    images = HuggingFaceImages(dataset, "image")
    assert np.array_equal(np.asarray(images.read(0)), pixels(5))
    before = images.fingerprint()
    save(tmp_path / "a.png", 5, height=20)
    assert images.fingerprint() != before


def test_corrupt_rows_are_found(tmp_path):
    content = {
        "image": [png(), {"bytes": b"", "path": None}, None, {"bytes": png(1)["bytes"][:80], "path": None}, png(4)]
    }
    features = Features(image=Image(), label=Value("int64"))
    folder = saved(tmp_path / "data", train=Dataset.from_dict(content | {"label": [0, 1, 0, 0, 1]}, features=features))
    raw = read_huggingface(folder)
    with pytest.raises(ValueError, match=r"3 of 5 .*'row 1 of column image' \(the file is empty\).*'row 2 .*no image"):
        check_images({"train": raw.train})
    kept, skipped = check_images({"train": raw.train}, "full", "skip")
    assert skipped == tuple(f"row {i} of column image" for i in (1, 2, 3))
    assert np.array_equal(np.asarray(kept["train"].images.read(1)), pixels(4))


def test_fingerprint_depends_on_rows_sizes_and_order(tmp_path):
    dataset = make([0, 1, 1])
    images = HuggingFaceImages(dataset, "picture")
    assert HuggingFaceImages(make([0, 1, 1]), "picture").fingerprint() == images.fingerprint()
    assert images.take(np.array([0, 2, 1])).fingerprint() != images.fingerprint()
    other = make([0, 1]).add_column("more", [0, 0])
    changed = Dataset.from_dict({"picture": [png(0), png(1), png(2, height=10)]}, features=Features(picture=Image()))
    assert HuggingFaceImages(changed, "picture").fingerprint() != images.fingerprint()
    assert HuggingFaceImages(other, "picture").fingerprint() == images.take(np.array([0, 1])).fingerprint()


def test_images_can_be_sent_to_another_process(tmp_path):
    images = read_huggingface(saved(tmp_path / "data", train=make([0, 1, 1]))).train.images.take(np.array([2, 1]))
    sent = pickle.dumps(images)
    # The table stays where it is on the disk.
    assert images._dataset[1]["picture"]["bytes"] not in sent
    assert np.array_equal(np.asarray(pickle.loads(sent).read(0)), pixels(2))


def test_an_ordinary_folder_and_an_unknown_name_are_told(tmp_path, monkeypatch):
    save(tmp_path / "cat/1.png")
    with pytest.raises(ValueError, match=r"holds no data set that save_to_disk .* data=folder"):
        read_huggingface(tmp_path)

    def unknown(path, name, revision):
        raise FileNotFoundError(f"{path} {name} {revision}")

    monkeypatch.setattr(datasets, "load_dataset", unknown)
    with pytest.raises(FileNotFoundError, match=r"no data set 'someone/none' could be loaded .*\(someone/none a b\)"):
        read_huggingface("someone/none", name="a", revision="b")


def test_a_data_set_of_the_hub_is_read(monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda path, name, revision: DatasetDict(train=make([0, 1])))
    assert read_huggingface("someone/some").train.labels.tolist() == [0, 1]


def test_without_the_library_the_way_out_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'alasca-pl\[huggingface\]'"):
        read_huggingface(tmp_path)
