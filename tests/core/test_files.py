"""Files are whole or absent, whatever happens while they are written."""

import json
import math
from pathlib import Path
from typing import BinaryIO

import pytest

from alasca_pl.core.files import write_atomically, write_json


def _fails_midway(file: BinaryIO) -> None:
    file.write(b"half of ")
    file.flush()
    raise RuntimeError("disk on fire")


def test_writes_content_and_makes_folders(tmp_path: Path):
    path = tmp_path / "a" / "b" / "file.bin"
    write_atomically(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"new"
    assert [other.name for other in path.parent.iterdir()] == ["file.bin"]


def test_a_writer_that_raises_leaves_the_old_file_and_its_error(tmp_path: Path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="disk on fire"):
        write_atomically(path, _fails_midway)
    assert path.read_bytes() == b"old"


def test_a_writer_that_raises_leaves_no_new_file_and_does_not_block_the_next(tmp_path: Path):
    path = tmp_path / "file.bin"
    with pytest.raises(RuntimeError):
        write_atomically(path, _fails_midway)
    assert not path.exists()
    write_atomically(path, lambda file: file.write(b"ok"))
    assert path.read_bytes() == b"ok"
    assert [other.name for other in tmp_path.iterdir()] == ["file.bin"]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path):
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    seen = []

    def write(file: BinaryIO) -> None:
        file.write(b"ne")
        file.flush()
        seen.append(path.read_bytes())
        file.write(b"w")

    write_atomically(path, write)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


def test_json_comes_back_in_order_and_ends_with_a_line(tmp_path: Path):
    path = tmp_path / "record.json"
    content = {"z": [1, 2.5, None], "a": {"nested": True}, "nothing": math.nan, "text": "é"}
    write_json(path, content)
    text = path.read_text(encoding="utf-8")
    assert text.endswith("}\n")
    read = json.loads(text)
    assert list(read) == ["z", "a", "nothing", "text"]
    assert math.isnan(read.pop("nothing"))
    assert read == {"z": [1, 2.5, None], "a": {"nested": True}, "text": "é"}


def test_what_is_no_json_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "record.json"
    write_json(path, {"epoch": 1})
    with pytest.raises(TypeError):
        write_json(path, {"epoch": object()})
    assert json.loads(path.read_text()) == {"epoch": 1}
