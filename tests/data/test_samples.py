import numpy as np
import pytest

from alasca_pl.data.images import PathImages
from alasca_pl.data.samples import ImageArrays, ImageFiles, RawData, as_images, as_labels


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def test_grey_images_get_a_channel_axis():
    array = pixels(5, 6, 7)
    images = as_images(array, "x")
    assert images.shape == (5, 6, 7, 1)
    assert np.array_equal(images[..., 0], array)


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_and_rgb_images_stay_as_they_are(channels):
    array = pixels(5, 6, 7, channels)
    assert np.array_equal(as_images(array, "x"), array)


def test_transparency_is_dropped():
    array = pixels(5, 6, 7, 4)
    images = as_images(array, "x")
    assert np.array_equal(images, array[..., :3])
    assert images.flags.c_contiguous


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 7, 2), (5, 3, 6, 7), (5, 1, 6, 7, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=f"train_images has shape \\({shape[0]}, {shape[1]}"):
        as_images(pixels(*shape), "train_images")


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_other_pixel_types_are_refused(dtype):
    with pytest.raises(ValueError, match=f"train_images has type {dtype}.*uint8"):
        as_images(np.zeros((2, 3, 3), dtype=dtype), "train_images")


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("column", [False, True])
def test_labels_become_one_axis_of_int64(dtype, column):
    labels = np.array([3, 0, 2], dtype=dtype)
    result = as_labels(labels[:, None] if column else labels, "y")
    assert result.dtype == np.int64
    assert result.tolist() == [3, 0, 2]


@pytest.mark.parametrize("array", [np.zeros((3, 2), dtype=int), np.zeros(3), np.array(["a", "b"]), np.array(3)])
def test_labels_of_other_form_are_refused(array):
    with pytest.raises(ValueError, match="test_labels has type"):
        as_labels(array, "test_labels")


def test_negative_labels_are_refused():
    with pytest.raises(ValueError, match="test_labels holds label -2"):
        as_labels(np.array([0, -2, 1]), "test_labels")


def test_take_keeps_images_and_labels_together():
    arrays = ImageArrays(np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1), np.array([10, 11, 12, 13]))
    taken = arrays.take(np.array([3, 1]))
    assert len(taken) == 2
    assert taken.images.ravel().tolist() == [3, 1]
    assert taken.labels.tolist() == [13, 11]


def test_take_keeps_clean_labels_together_with_the_others():
    images = np.zeros((3, 1, 1, 1), dtype=np.uint8)
    taken = ImageArrays(images, np.array([1, 2, 3]), np.array([4, 5, 6])).take(np.array([2, 0]))
    assert taken.labels.tolist() == [3, 1]
    assert taken.clean.tolist() == [6, 4]
    assert ImageArrays(images, np.array([1, 2, 3])).take(np.array([0])).clean is None


def test_raw_data_needs_a_training_split_only():
    raw = RawData(ImageArrays(np.zeros((1, 1, 1, 1), dtype=np.uint8), np.array([0])))
    assert raw.test is None and raw.val is None
    assert raw.class_names == () and raw.skipped == () and raw.extra == {}


def test_take_keeps_images_labels_and_clean_labels_together(tmp_path):
    files = ImageFiles(PathImages(tmp_path, ["a", "b", "c"]), np.array([10, 11, 12]), np.array([20, 21, 22]))
    taken = files.take(np.array([2, 1]))
    assert len(taken) == 2
    assert [taken.images.name(i) for i in range(2)] == ["c", "b"]
    assert taken.labels.tolist() == [12, 11]
    assert taken.clean.tolist() == [22, 21]
    with pytest.raises(ValueError, match="3 images, but 2 labels"):
        ImageFiles(files.images, np.array([0, 1]))
