"""Names from files bring no control characters to a terminal or a log."""

import ast
import io
import logging
import unicodedata
from pathlib import Path

import pytest

from alasca_pl.core.terminal import PrintableRecord, give, printable, say, say_text

SOURCE = Path(__file__).parents[2] / "src"
NASTY = "cat\x1b[2J\x9b31m\r\n\u202edog\x00\udc80"


def test_every_character_that_is_none_to_look_at_is_escaped():
    bidi = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for number in range(0x110000):
        character = chr(number)
        is_raw = (
            unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")
            or unicodedata.bidirectional(character) in bidi
            or character in "\u061c\u200e\u200f"
        )
        shown = printable(character)
        assert (shown != character) == is_raw, hex(number)
        assert shown.isprintable() or not is_raw


@pytest.mark.parametrize("text", ["cat", "Größe 5 µm", "猫", "a\\b", "👩‍🔬"])
def test_other_text_stays(text):
    assert printable(text) == text


def test_ends_of_lines_stay_in_texts_only():
    assert printable("a\tb\n\x1b") == r"a\tb\n\x1b"
    assert printable("a\tb\n\x1b\r", lines=True) == "a\tb\n\\x1b\\r"
    stream = io.StringIO()
    say("one\nfake", "two", file=stream)
    say_text("three\nfour\x07", file=stream)
    assert stream.getvalue() == "one\\nfake\ntwo\nthree\nfour\\x07\n"


def test_what_a_program_reads_is_given_as_it_is_and_a_terminal_is_spared(monkeypatch):
    for is_terminal, expected in ((False, "a\x1b\n"), (True, "a\\x1b\n")):
        stream = io.StringIO()
        stream.isatty = lambda is_terminal=is_terminal: is_terminal
        monkeypatch.setattr("sys.stdout", stream)
        give("a\x1b\n")
        assert stream.getvalue() == expected


def test_values_of_a_log_line_bring_nothing_along():
    record = PrintableRecord("x", logging.INFO, "f", 1, "class %s of %d in\n%r", (NASTY, 3, Path("a\n\x1bb")), None)
    message = record.getMessage()
    assert message.count("\n") == 1 and message.replace("\n", "").isprintable()
    assert "of 3 in" in message
    plain = PrintableRecord("x", logging.INFO, "f", 1, f"100% {NASTY}", None, None)
    assert "\x1b" not in plain.getMessage()
    mapping = PrintableRecord("x", logging.INFO, "f", 1, "%(name)s", ({"name": NASTY},), None)
    assert "\x1b" not in mapping.getMessage()


def test_nothing_else_prints():
    found = []
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("print", "Console"):
                found.append(f"{file.stem}: {node.func.id}")
    # A bar with numbers only, and a table of names that are safe in any path.
    allowed = {"bars: Console", "progress: Console", "view: Console", "terminal: print"}
    assert set(found) == allowed
