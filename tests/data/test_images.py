import contextlib
import math
import os
import pickle
import socket
import struct
import subprocess
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pictures import pixels, save, save_all, truncate
from PIL import Image, ImageOps
from torchvision.transforms.v2 import functional

from alasca_pl.core.checkpoint import facts_of, pack
from alasca_pl.core.normalise import Normalise
from alasca_pl.data.folder import read_folder
from alasca_pl.data.images import MAX_PIXELS, ImageError, PathImages, cover
from alasca_pl.data.prepared import PreparedData
from alasca_pl.data.samples import ImageArrays, RawData
from alasca_pl.data.views import View
from alasca_pl.data.workers import DecodedViews, decoding_loader
from alasca_pl.noise.model import NoiseModel
from alasca_pl.runs.predict import _of_files


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
        (lambda path: path.write_bytes(b"no image"), "not an image of a known format"),
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


def test_an_error_of_a_worker_is_still_one_of_an_image(tmp_path):
    dataset = DecodedViews(PathImages(tmp_path, ["absent.png"]), 3, (View(),), 0, None)
    loader = decoding_loader(dataset, [[(0, 0, -1)]], num_workers=1, pin=False)
    with pytest.raises(ImageError, match=r"cannot decode image 'absent\.png': the file is missing"):
        list(loader)


def test_an_error_says_the_reason_apart_from_the_name(tmp_path):
    with pytest.raises(ImageError) as caught:
        PathImages(tmp_path, ["absent.png"]).read(0)
    assert caught.value.reason == "the file is missing"
    assert str(caught.value) == "cannot decode image 'absent.png': the file is missing"


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


@pytest.mark.timeout(20)
def test_what_is_no_file_is_named_and_not_waited_for(tmp_path):
    save(tmp_path / "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(tmp_path / "s.png"))
        images = PathImages(tmp_path, ["a.png", "pipe.png", "device.png", "s.png"])
        assert images.read(0).size == (12, 9)
        for i in range(1, 4):
            for read in (images.read, images.size, images.mode):
                with pytest.raises(ImageError, match="no regular file"):
                    read(i)


def sixteen_bits(folder, count: int = 4) -> np.ndarray:
    """Images of 12 bits stored as 16, of two classes; returns the values of the first."""
    values = np.arange(0, 4096, 64, dtype=np.uint16).reshape(8, 8)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(np.roll(values, number)).save(folder / name / f"{number}.png")
    return values


def test_a_range_of_grey_values_is_scaled_to_all_levels(tmp_path):
    values = sixteen_bits(tmp_path)
    images = PathImages(tmp_path, ["a/1.png", "a/0.png"])
    scaled = images.scaled_from((1000, 3000)).take(np.array([1]))
    expected = [min(max(math.floor((int(v) - 1000) / 2000 * 255 + 0.5), 0), 255) for v in values.ravel()]
    assert np.asarray(scaled.read(0, "L")).ravel().tolist() == expected
    assert np.asarray(pickle.loads(pickle.dumps(scaled)).read(0, "L")).ravel().tolist() == expected
    # Without a range, the upper 8 of 16 bits.
    assert np.asarray(images.read(1, "L")).ravel().tolist() == [int(v) >> 8 for v in values.ravel()]
    assert images.sixteen_bits(0) == (0, 4032)


def test_images_that_use_little_of_16_bits_are_noticed_and_the_range_reaches_everything(tmp_path, caplog):
    sixteen_bits(tmp_path / "images")
    noise = NoiseModel()
    plain = PreparedData("toy", lambda: read_folder(tmp_path / "images"), noise)
    assert "grey values from 0 to 4032 in the 8 looked at, of which 16 of 256 levels are left" in caplog.text
    assert "data.grey_range=[0,4032]" in caplog.text
    caplog.clear()
    scaled = PreparedData("toy", lambda: read_folder(tmp_path / "images"), noise, grey_range=[0, 4032])
    assert not caplog.text
    assert plain.splits["train"].images.max() == 15 and scaled.splits["train"].images.max() == 255
    assert plain.facts.grey_range == () and scaled.facts.grey_range == (0, 4032)
    assert facts_of({"alasca_pl": pack({}, scaled.facts)}) == scaled.facts
    lazy = PreparedData("toy", lambda: read_folder(tmp_path / "images"), noise, grey_range=[0, 4032], loader="files")
    assert np.asarray(lazy.splits["train"].images.read(0, "L")).max() == 255
    run = SimpleNamespace(facts=scaled.facts)
    (batch,) = _of_files(run, [tmp_path / "images" / "a" / "0.png"], 4, 0)
    own = torch.from_numpy(scaled.splits["train"].images[:1]).permute(0, 3, 1, 2)
    assert torch.equal(batch, Normalise(scaled.facts.mean, scaled.facts.std)(own))


@pytest.mark.parametrize("grey_range", [[0], [5, 5], [9, 3], [0, 70000], [-1, 5]])
def test_a_range_that_is_none_is_refused(tmp_path, grey_range):
    sixteen_bits(tmp_path)
    with pytest.raises(ValueError, match=r"data\.grey_range must be two whole numbers from 0 to 65535"):
        PreparedData("toy", lambda: read_folder(tmp_path), NoiseModel(), grey_range=grey_range)


def test_a_range_without_16_bit_images_is_refused_in_memory_and_remarked_in_files(tmp_path, caplog):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / name / "0.png")
    images = ImageArrays(np.zeros((2, 8, 8, 1), np.uint8), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"data\.grey_range is for 16-bit images in files"):
        PreparedData("toy", lambda: RawData(images), NoiseModel(), grey_range=[0, 9])
    with contextlib.suppress(ValueError):
        # Such images have no standard deviation.
        PreparedData("toy", lambda: read_folder(tmp_path), NoiseModel(), grey_range=[0, 9])
    assert "data.grey_range has no effect: no 16-bit image was found" in caplog.text
