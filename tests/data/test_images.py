import logging
import os
import pickle
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import torch
from pictures import pixels, save, save_all, snapshot, truncate
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional

from alasca_pl.data.decode import check_images, decode_all, infer_channels, infer_size
from alasca_pl.data.images import MAX_PIXELS, PathImages, cover
from alasca_pl.data.names import name_some, unsafe
from alasca_pl.data.samples import ImageFiles


def of(root, *names, labels=None):
    labels = np.arange(len(names)) % 2 if labels is None else np.array(labels)
    return ImageFiles(PathImages(root, names), labels)


def bomb(path, width=60_000, height=60_000):
    """A PNG whose header claims billions of pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def test_an_image_is_read_as_it_was_written(tmp_path):
    save(tmp_path / "a.png")
    images = PathImages(tmp_path, ["a.png"])
    image = images.read(0)
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), pixels())
    assert images.size(0) == (12, 9)
    assert images.mode(0) == "RGB"
    assert np.asarray(images.read(0, "L")).shape == (9, 12)


@pytest.mark.parametrize("tag", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_images_are_turned_upright(tmp_path, tag, name):
    exif = Image.Exif()
    exif[0x0112] = tag
    path = save(tmp_path / name, exif=exif)
    with Image.open(path) as stored:
        expected = ImageOps.exif_transpose(stored)
    images = PathImages(tmp_path, [name])
    image = images.read(0)
    assert image.size == ((9, 12) if tag >= 5 else (12, 9))
    assert images.size(0) == image.size
    assert np.array_equal(np.asarray(image), np.asarray(expected))
    # Turned once, and nothing left that would turn it again.
    assert image.getexif().get(0x0112) is None


# Pillow says so already when it looks for the resolution.
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_tags_leave_the_image_as_it_is(tmp_path):
    save(tmp_path / "a.jpg", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\x00nonsense")
    assert PathImages(tmp_path, ["a.jpg"]).read(0).size == (12, 9)


def test_transparency_is_dropped_and_palettes_are_resolved(tmp_path):
    rgba = pixels(channels=4)
    Image.fromarray(rgba).save(tmp_path / "rgba.png")
    palette = Image.fromarray(pixels()).quantize(8)
    colours = np.asarray(palette.convert("RGB"))
    palette.save(tmp_path / "palette.png")
    # Transparency per colour as bytes: Pillow warns when such an image loses it, and warnings are errors here.
    palette.save(tmp_path / "transparent.png", transparency=bytes([0, 128] + [255] * 6))
    palette.save(tmp_path / "palette.gif")
    images = PathImages(tmp_path, ["rgba.png", "palette.png", "transparent.png", "palette.gif"])
    assert [images.mode(i) for i in range(4)] == ["RGBA", "P", "P", "P"]
    assert np.array_equal(np.asarray(images.read(0)), rgba[..., :3])
    for i in (1, 2, 3):
        assert np.array_equal(np.asarray(images.read(i)), colours)


def test_grey_of_8_and_16_bits_and_pixels_of_one_bit_are_read(tmp_path):
    grey = pixels(channels=1)
    Image.fromarray(grey).save(tmp_path / "8.png")
    Image.fromarray(grey.astype(np.uint16) * 256 + 17).save(tmp_path / "16.png")
    Image.fromarray(grey > 127).save(tmp_path / "1.png")
    images = PathImages(tmp_path, ["8.png", "16.png", "1.png"])
    assert np.array_equal(np.asarray(images.read(0, "L")), grey)
    assert np.array_equal(np.asarray(images.read(1, "L")), grey)
    assert np.array_equal(np.asarray(images.read(1)), np.repeat(grey[..., None], 3, axis=2))
    assert np.array_equal(np.asarray(images.read(2, "L")), np.where(grey > 127, 255, 0))


def test_cmyk_is_read(tmp_path):
    Image.fromarray(pixels()).convert("CMYK").save(tmp_path / "a.jpg")
    assert PathImages(tmp_path, ["a.jpg"]).read(0).mode == "RGB"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(b"no image"), "no image of a known format"),
        (lambda path: path.unlink(), "the file is missing"),
        (lambda path: truncate(path), "truncated"),
        (lambda path: truncate(path, 0.05), "cannot decode"),
        (lambda path: bomb(path), f"more than {MAX_PIXELS} pixels"),
        (lambda path: bomb(path, 10_000, 10_000), f"more than {MAX_PIXELS}"),
        (lambda path: Image.fromarray(np.zeros((4, 4), np.float32)).save(path, format="TIFF"), "mode F"),
    ],
    ids=["empty", "text", "missing", "truncated", "cut off in the header", "bomb", "smaller bomb", "float"],
)
def test_what_cannot_be_decoded_is_named(tmp_path, make, reason):
    make(save(tmp_path / "cat/a b.png", height=100, width=100))
    images = PathImages(tmp_path, ["cat/a b.png"])
    with pytest.raises(ValueError, match=f"'cat/a b.png'.*{reason}|{reason}.*'cat/a b.png'"):
        images.read(0)


# Outside of tests Pillow only warns of an image that is no more than twice as large as it thinks good.
@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("read", [PathImages.read, PathImages.size, PathImages.mode])
def test_the_limit_of_pixels_does_not_depend_on_warnings(tmp_path, read):
    bomb(tmp_path / "a.png", 10_000, 10_000)
    with pytest.raises(ValueError, match=f"10000 x 10000 pixels are more than {MAX_PIXELS}"):
        read(PathImages(tmp_path, ["a.png"]), 0)


def test_a_truncated_jpeg_is_refused(tmp_path):
    truncate(save(tmp_path / "a.jpg", height=100, width=100))
    with pytest.raises(ValueError, match=r"a\.jpg.*truncated"):
        PathImages(tmp_path, ["a.jpg"]).read(0)


def test_an_error_keeps_its_type_when_a_data_loader_raises_it_again(tmp_path):
    with pytest.raises(ValueError) as caught:
        PathImages(tmp_path, ["absent.png"]).read(0)
    again = type(caught.value)("text of the worker")
    assert isinstance(again, ValueError)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_a_file_that_the_system_refuses_is_not_taken_for_a_damaged_one(tmp_path):
    (tmp_path / "a.png").mkdir()
    save(tmp_path / "b.png")
    with pytest.raises(IsADirectoryError):
        PathImages(tmp_path, ["a.png"]).read(0)
    with pytest.raises(IsADirectoryError):
        check_images({"train": of(tmp_path, "a.png", "b.png")}, on_corrupt="skip")


def test_names_are_kept_as_fixed_width_bytes_and_taken_by_position(tmp_path):
    names = ["ä/1.png", "<b>&/2.png", "with space/long name 3.png"]
    images = PathImages(tmp_path, names)
    assert images.names.dtype.kind == "S"
    assert [images.name(i) for i in range(3)] == names
    taken = images.take(np.array([2, 0]))
    assert len(taken) == 2
    assert [taken.name(i) for i in range(2)] == [names[2], names[0]]


def test_a_name_that_is_no_text_is_opened(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    save(tmp_path / "a.png").rename(tmp_path / name)
    images = PathImages(tmp_path, [name])
    assert np.array_equal(np.asarray(images.read(0)), pixels())
    assert len(images.fingerprint()) == 64


def test_images_can_be_sent_to_a_process_that_starts_elsewhere(tmp_path, monkeypatch):
    save_all(tmp_path, "a.png", "b.png")
    monkeypatch.chdir(tmp_path)
    sent = pickle.dumps(PathImages(".", ["a.png", "b.png"]))
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).read(1).getpixel((0, 0)))"
    done = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True, cwd="/")
    assert done.stdout.decode().strip() == str(tuple(pixels(1)[0, 0].tolist()))


def test_fingerprint_depends_on_names_sizes_and_order_only(tmp_path):
    save_all(tmp_path / "one", "a.png", "b.png")
    save_all(tmp_path / "two", "a.png", "b.png")
    before = PathImages(tmp_path / "one", ["a.png", "b.png"]).fingerprint()
    assert PathImages(tmp_path / "two", ["a.png", "b.png"]).fingerprint() == before
    assert PathImages(tmp_path / "one", ["b.png", "a.png"]).fingerprint() != before
    assert PathImages(tmp_path / "one", ["a.png"]).fingerprint() != before
    truncate(tmp_path / "two/a.png")
    assert PathImages(tmp_path / "two", ["a.png", "b.png"]).fingerprint() != before


def test_take_keeps_images_labels_and_clean_labels_together(tmp_path):
    files = ImageFiles(PathImages(tmp_path, ["a", "b", "c"]), np.array([10, 11, 12]), np.array([20, 21, 22]))
    part = files.take(np.array([2, 1]))
    assert len(part) == 2
    assert [part.images.name(i) for i in range(2)] == ["c", "b"]
    assert part.labels.tolist() == [12, 11]
    assert part.clean.tolist() == [22, 21]
    with pytest.raises(ValueError, match="3 images, but 2 labels"):
        ImageFiles(files.images, np.array([0, 1]))


@pytest.fixture
def damaged(tmp_path):
    """Eight images, of which 1 is truncated, 3 is empty and 6 is text."""
    root = save_all(tmp_path / "data", *(f"{i}.png" for i in range(8)))
    truncate(save(root / "1.png", height=60, width=60))
    (root / "3.png").write_bytes(b"")
    (root / "6.png").write_text("no image")
    return root


def parts_of(root):
    return {
        "train": of(root, *(f"{i}.png" for i in range(6)), labels=[0, 0, 1, 1, 0, 1]),
        "test": of(root, "6.png", "7.png", labels=[1, 1]),
    }


def test_corrupt_images_are_counted_and_named_in_one_error(damaged):
    with pytest.raises(ValueError) as caught:
        check_images(parts_of(damaged))
    message = str(caught.value)
    assert message.startswith("3 of 8 images cannot be decoded")
    for expected in ("'1.png' (", "'3.png' (the file is empty)", "'6.png' (it is no image", "data.on_corrupt=skip"):
        assert expected in message


def test_at_most_five_corrupt_images_are_named(tmp_path):
    for i in range(8):
        (tmp_path / f"{i}.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"8 of 8 .*'4\.png' \(the file is empty\) and 3 more") as caught:
        check_images({"train": of(tmp_path, *(f"{i}.png" for i in range(8)))})
    assert "5.png" not in str(caught.value)


def test_corrupt_images_are_left_out_on_request(damaged, caplog):
    before = snapshot(damaged)
    with caplog.at_level(logging.WARNING):
        kept, skipped = check_images(parts_of(damaged), "full", "skip")
    assert skipped == ("1.png", "3.png", "6.png")
    assert [kept["train"].images.name(i) for i in range(4)] == ["0.png", "2.png", "4.png", "5.png"]
    assert kept["train"].labels.tolist() == [0, 1, 0, 1]
    assert kept["test"].labels.tolist() == [1]
    assert "left out 3 of 8" in caplog.text and "'1.png'" in caplog.text
    assert snapshot(damaged) == before


def test_headers_show_less_than_pixels(damaged):
    _, skipped = check_images(parts_of(damaged), "header", "skip")
    assert skipped == ("3.png", "6.png")


def test_no_check_looks_at_nothing(tmp_path):
    parts = {"train": of(tmp_path, "absent.png")}
    assert check_images(parts, "none") == (parts, ())


def test_sound_images_pass_unchanged(tmp_path):
    save_all(tmp_path, *(f"{i}.png" for i in range(70)))
    parts = {"train": of(tmp_path, *(f"{i}.png" for i in range(70)))}
    kept, skipped = check_images(parts)
    assert kept["train"] is parts["train"] and skipped == ()


def test_a_class_without_an_image_left_is_an_error(damaged):
    parts = {"train": of(damaged, "0.png", "1.png", "3.png", labels=[0, 1, 1])}
    with pytest.raises(ValueError, match=r"no image of class 1 can be decoded in the train part: '1\.png'"):
        check_images(parts, on_corrupt="skip")
    with pytest.raises(ValueError, match="no image of class dog can be"):
        check_images(parts, on_corrupt="skip", class_names=("cat", "dog"))


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
    assert infer_channels(of(tmp_path, "grey.png")) == 1
    assert infer_channels(of(tmp_path, "grey.png", "colour.png")) == 3
    assert infer_channels(of(tmp_path, "grey.png", "palette.png")) == 3


def test_size_is_the_most_frequent_one(tmp_path):
    for i, (height, width) in enumerate([(9, 12), (9, 12), (5, 7)]):
        save(tmp_path / f"{i}.png", height=height, width=width)
    assert infer_size(of(tmp_path, "0.png", "1.png", "2.png")) == (9, 12, False)
    assert infer_size(of(tmp_path, "0.png", "1.png")) == (9, 12, True)
    # Of two equally frequent sizes the smaller.
    assert infer_size(of(tmp_path, "0.png", "2.png")) == (5, 7, False)
    with pytest.raises(ValueError, match="no image"):
        infer_size(of(tmp_path))


def test_a_sample_is_spread_over_all_images(tmp_path):
    for i in range(9):
        save(tmp_path / f"{i}.png", height=4 if i in (0, 4, 8) else 5, width=4)
    files = of(tmp_path, *(f"{i}.png" for i in range(9)))
    assert infer_size(files, sample=3) == (4, 4, True)
    assert infer_size(files) == (5, 4, False)


@pytest.mark.parametrize("shape", [(9, 12), (12, 9), (40, 31), (31, 40), (16, 16), (7, 7), (8, 100), (33, 16)])
def test_other_sizes_are_scaled_and_cropped_as_torchvision_does_it(shape):
    image = Image.fromarray(pixels(3, *shape))
    expected = functional.center_crop(functional.resize(image, [16]), [16, 16])
    assert np.array_equal(np.asarray(cover(image, (16, 16))), np.asarray(expected))


@pytest.mark.parametrize("shape", [(9, 12), (30, 20), (20, 30), (50, 10)])
def test_a_size_that_is_not_square_is_covered(shape):
    assert cover(Image.fromarray(pixels(0, *shape)), (10, 15)).size == (15, 10)


def test_an_image_is_not_blown_up_beyond_the_limit():
    with pytest.raises(ValueError, match="'thin' of 40000 x 1 pixels is too long and thin"):
        cover(Image.new("L", (40_000, 1)), (224, 224), "thin")


def test_everything_is_decoded_into_one_array(tmp_path):
    for i in range(70):
        save(tmp_path / f"{i}.png", seed=i, height=8, width=8)
    files = of(tmp_path, *(f"{i}.png" for i in range(70)))
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
        decode_all(of(damaged, "0.png", "1.png"), (8, 8), 3, 2)
    with pytest.raises(ValueError, match="got 2"):
        decode_all(of(damaged, "0.png"), (8, 8), 2, 1)
    with pytest.raises(ValueError, match="got 0 x 8"):
        decode_all(of(damaged, "0.png"), (0, 8), 3, 1)


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../a.png", "a/../../b.png", "a/..", "..\\a.png", "C:\\a.png", "C:a.png", "\\a", "", "a\0.png"],
)
def test_paths_that_lead_out_are_found(name):
    assert unsafe(name) is not None


@pytest.mark.parametrize("name", ["a.png", "a/b c/ä.png", "..a/b..png", "./a.png", "<b>.png"])
def test_paths_that_stay_in_are_allowed(name):
    assert unsafe(name) is None


def test_many_names_are_cut():
    assert name_some(list("abc")) == "a, b, c"
    assert name_some(list("abcdefg")) == "a, b, c, d, e and 2 more"
