"""Bars on terminals, and silence elsewhere."""

import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from alasca_pl import cli
from alasca_pl.cli.bars import bar
from alasca_pl.core import progress
from alasca_pl.core.progress import tracked
from alasca_pl.data.decode import decode_all, find_corrupt
from alasca_pl.data.images import PathImages
from alasca_pl.data.samples import ImageFiles
from alasca_pl.training.callbacks.progress import RunProgress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def sit_at(monkeypatch):
    """Makes standard error a terminal. To be called within a test: pytest puts its own streams in place after fixtures."""

    def put() -> Terminal:
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        return terminal

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    for name in ("NO_COLOR", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    # Work of any length, and each step of it.
    monkeypatch.setattr(progress, "_bars", [bar])
    monkeypatch.setattr(progress, "_LONG", 0.0)
    monkeypatch.setattr(progress, "_EVERY", 0.0)
    return put


def test_a_bar_shows_what_is_done_and_goes_when_it_is(sit_at):
    terminal = sit_at()
    assert list(tracked(range(3), "counting sheep")) == [0, 1, 2]
    shown = terminal.getvalue()
    assert "counting sheep" in shown and "1/3" in shown and "3/3" in shown
    # The line is erased, and the cursor is not left hidden.
    assert shown.rstrip("\n").endswith("\x1b[2K") and shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert sys.stderr is terminal and progress._bars == [bar]


def test_items_of_different_sizes_and_of_unknown_number(sit_at):
    terminal = sit_at()
    chunks = [range(64), range(64, 100)]
    assert list(tracked(iter(chunks), "decoding", 100, len)) == chunks
    assert "64/100" in terminal.getvalue() and "100/100" in terminal.getvalue()
    assert list(tracked(iter(range(2)), "reading")) == [0, 1]
    assert "2/?" in terminal.getvalue()


def test_an_error_takes_the_bar_away(sit_at):
    sit_at()

    def work():
        for item in tracked(range(9), "breaking"):
            if item == 4:
                raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        work()
    assert progress._bars == [bar]


@pytest.mark.parametrize("why", ["no terminal", "another rank", "short", "no stream"])
def test_silence(sit_at, monkeypatch, why):
    terminal = sit_at()
    if why == "no terminal":
        monkeypatch.setattr(terminal, "isatty", lambda: False)
    if why == "another rank":
        monkeypatch.setenv("LOCAL_RANK", "1")
    if why == "short":
        monkeypatch.setattr(progress, "_LONG", 60.0)
    if why == "no stream":
        monkeypatch.setattr(sys, "stderr", None)
    assert list(tracked(range(3), "counting")) == [0, 1, 2]
    assert terminal.getvalue() == ""


def test_within_a_run_it_is_a_line_of_the_runs_bar(sit_at):
    terminal = sit_at()
    trainer = SimpleNamespace(
        current_epoch=1, global_step=5, max_epochs=3, num_training_batches=5, is_global_zero=True, callback_metrics={}
    )
    callback = RunProgress()
    callback.on_train_start(trainer, None)
    outer = callback._progress
    for _ in tracked(range(3), "scanning"):
        outer.refresh()
    assert [task.description for task in outer.tasks] == ["epoch "]
    callback.teardown(trainer, None, "fit")
    assert "scanning" in terminal.getvalue() and "2/3" in terminal.getvalue() and "5/15" in terminal.getvalue()
    # One display at a time: the cursor is hidden once.
    assert terminal.getvalue().count("\x1b[?25l") == 1
    assert progress._bars == [bar]


def test_nothing_is_drawn_unless_a_command_says_how(sit_at, monkeypatch):
    terminal = sit_at()
    monkeypatch.setattr(progress, "_bars", [])
    assert list(tracked(range(3), "counting")) == [0, 1, 2] and terminal.getvalue() == ""


def test_commands_draw_bars(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(sys, "argv", ["alasca-export"])
    with cli._stopping_well():
        seen += progress._bars
    assert seen == [bar] and progress._bars == []


def test_decoding_and_checking_images_show_a_bar(sit_at, tmp_path):
    terminal = sit_at()
    for number in range(70):
        Image.new("L", (4, 4), number).save(tmp_path / f"{number:02d}.png")
    (tmp_path / "03.png").write_bytes(b"no image")
    images = PathImages(str(tmp_path), [f"{number:02d}.png" for number in range(70)])
    assert [number for number, _ in find_corrupt(images)] == [3]
    assert "checking images" in terminal.getvalue() and "70/70" in terminal.getvalue()
    whole = PathImages(str(tmp_path), [f"{number:02d}.png" for number in range(4, 70)])
    decoded = decode_all(ImageFiles(whole, np.zeros(66, dtype=np.int64)), (4, 4), 1)
    assert decoded.images[:, 0, 0, 0].tolist() == list(range(4, 70))
    assert "decoding images" in terminal.getvalue() and "66/66" in terminal.getvalue()
