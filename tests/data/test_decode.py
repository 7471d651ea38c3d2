import logging

import numpy as np
import pytest
import torch
from pictures import files_of, pixels, save, save_all, snapshot, truncate
from PIL import Image
from torchvision.transforms.v2 import functional

from alasca_pl.data.decode import check_images, decode_all, infer_channels, infer_size
from alasca_pl.data.images import PathImages


@pytest.fixture
def damaged(tmp_path):
    """Eight images, of which 1 is truncated, 3 is empty and 6 is text."""
    root = save_all(tmp_path / "data", *(f"{i}.png" for i in range(8)))
    truncate(save(root / "1.png", height=60, width=60))
    (root / "3.png").write_bytes(b"")
    (root / "6.png").write_text("no image")
    return root


def splits_of(root):
    return {
        "train": files_of(root, *(f"{i}.png" for i in range(6)), labels=[0, 0, 1, 1, 0, 1]),
        "test": files_of(root, "6.png", "7.png", labels=[1, 1]),
    }


def test_a_file_that_the_system_refuses_is_not_taken_for_a_damaged_one(tmp_path):
    (tmp_path / "a.png").mkdir()
    save(tmp_path / "b.png")
    with pytest.raises(IsADirectoryError):
        PathImages(tmp_path, ["a.png"]).read(0)
    with pytest.raises(IsADirectoryError):
        check_images({"train": files_of(tmp_path, "a.png", "b.png")}, on_corrupt="skip")


def test_corrupt_images_are_counted_and_named_in_one_error(damaged):
    with pytest.raises(ValueError) as caught:
        check_images(splits_of(damaged))
    message = str(caught.value)
    assert message.startswith("3 of 8 images cannot be decoded")
    for expected in ("'1.png' (", "'3.png' (the file is empty)", "'6.png' (it is not an image", "data.on_corrupt=skip"):
        assert expected in message


def test_at_most_five_corrupt_images_are_named(tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"8 of 8 .*'4\.png' \(the file is empty\) and 3 more") as caught:
        check_images({"train": files_of(tmp_path, *(f"{i}.png" for i in range(8)))})
    assert "5.png" not in str(caught.value)


def test_corrupt_images_are_left_out_on_request(damaged, caplog):
    before = snapshot(damaged)
    with caplog.at_level(logging.WARNING):
        kept, skipped = check_images(splits_of(damaged), "full", "skip")
    assert skipped == ("1.png", "3.png", "6.png")
    assert [kept["train"].images.name(i) for i in range(4)] == ["0.png", "2.png", "4.png", "5.png"]
    assert kept["train"].labels.tolist() == [0, 1, 0, 1]
    assert kept["test"].labels.tolist() == [1]
    assert "left out 3 of 8" in caplog.text and "'1.png'" in caplog.text
    assert snapshot(damaged) == before


def test_headers_show_less_than_pixels(damaged):
    _, skipped = check_images(splits_of(damaged), "header", "skip")
    assert skipped == ("3.png", "6.png")


def test_no_check_looks_at_nothing(tmp_path):
    splits = {"train": files_of(tmp_path, "absent.png")}
    assert check_images(splits, "none") == (splits, ())


def test_sound_images_pass_unchanged(tmp_path):
    save_all(tmp_path, *(f"{i}.png" for i in range(70)))
    splits = {"train": files_of(tmp_path, *(f"{i}.png" for i in range(70)))}
    kept, skipped = check_images(splits)
    assert kept["train"] is splits["train"] and skipped == ()


def test_a_class_without_an_image_left_is_an_error(damaged):
    splits = {"train": files_of(damaged, "0.png", "1.png", "3.png", labels=[0, 1, 1])}
    with pytest.raises(ValueError, match=r"no image of class 1 can be decoded in the train split: '1\.png'"):
        check_images(splits, on_corrupt="skip")
    with pytest.raises(ValueError, match="no image of class dog can be"):
        check_images(splits, on_corrupt="skip", class_names=("cat", "dog"))


def test_unknown_checks_are_named():
    with pytest.raises(ValueError, match="unknown check of images 'deep'"):
        check_images({}, how="deep")
    with pytest.raises(ValueError, match=r"data\.on_corrupt is 'ignore'"):
        check_images({}, on_corrupt="ignore")


def test_images_are_grey_only_if_all_are(tmp_path):
    save(tmp_path / "grey.png", channels=1)
    save(tmp_path / "colour.png")
    save(tmp_path / "palette.png")
    Image.fromarray(pixels()).quantize(4).save(tmp_path / "palette.png")
    assert infer_channels(files_of(tmp_path, "grey.png")) == 1
    assert infer_channels(files_of(tmp_path, "grey.png", "colour.png")) == 3
    assert infer_channels(files_of(tmp_path, "grey.png", "palette.png")) == 3


def test_size_is_the_most_frequent_one(tmp_path):
    for i, (height, width) in enumerate([(9, 12), (9, 12), (5, 7)]):
        save(tmp_path / f"{i}.png", height=height, width=width)
    assert infer_size(files_of(tmp_path, "0.png", "1.png", "2.png")) == (9, 12, False)
    assert infer_size(files_of(tmp_path, "0.png", "1.png")) == (9, 12, True)
    # Of two equally frequent sizes the smaller.
    assert infer_size(files_of(tmp_path, "0.png", "2.png")) == (5, 7, False)
    with pytest.raises(ValueError, match="no image"):
        infer_size(files_of(tmp_path))


def test_a_sample_is_spread_over_all_images(tmp_path):
    for i in range(9):
        save(tmp_path / f"{i}.png", height=4 if i in (0, 4, 8) else 5, width=4)
    files = files_of(tmp_path, *(f"{i}.png" for i in range(9)))
    assert infer_size(files, sample=3) == (4, 4, True)
    assert infer_size(files) == (5, 4, False)


def test_everything_is_decoded_into_one_array(tmp_path):
    for i in range(70):
        save(tmp_path / f"{i}.png", seed=i, height=8, width=8)
    files = files_of(tmp_path, *(f"{i}.png" for i in range(70)))
    one, four = (decode_all(files, (8, 8), 3, workers) for workers in (1, 4))
    assert one.images.dtype == np.uint8 and one.images.shape == (70, 8, 8, 3)
    assert np.array_equal(one.images, np.stack([pixels(i, 8, 8) for i in range(70)]))
    assert np.array_equal(one.images, four.images)
    assert one.labels is files.labels
    grey = decode_all(files, (4, 6), 1, 1)
    assert grey.images.shape == (70, 4, 6, 1)
    expected = functional.resize(Image.fromarray(pixels(5, 8, 8)).convert("L"), [6])
    assert np.array_equal(grey.images[5, ..., 0], np.asarray(functional.center_crop(expected, [4, 6])))
    assert torch.from_numpy(grey.images).is_contiguous()


def test_decoding_names_the_damaged_image_and_wrong_arguments(damaged):
    with pytest.raises(ValueError, match=r"'1\.png'"):
        decode_all(files_of(damaged, "0.png", "1.png"), (8, 8), 3, 2)
    with pytest.raises(ValueError, match="got 2"):
        decode_all(files_of(damaged, "0.png"), (8, 8), 2, 1)
    with pytest.raises(ValueError, match="got 0 x 8"):
        decode_all(files_of(damaged, "0.png"), (0, 8), 3, 1)
