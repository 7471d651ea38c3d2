"""Links between Markdown files of a clone, as a code host shows them: without the pages that are generated for the site."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked_files() -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("no clone")
    return set(listed.stdout.split("\0")) - {""}


def links_of(text: str) -> list[tuple[str, str]]:
    """Texts and targets of links and pictures outside code."""
    prose = re.sub(r"(`+)[^`].*?\1", "", re.sub(r"^(`{3,}).*?^\1`*$", "", text, flags=re.S | re.M))
    return re.findall(r"\[((?:!\[[^\]]*\]\([^)]*\)|[^\]])*)\]\(([^)\s]+)\)", prose) + re.findall(
        r"!\[([^\]]*)\]\(([^)\s]+)\)", prose
    )


def anchors_of(text: str) -> set[str]:
    """Names of headings as code hosts make them."""
    heads = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_links_are_found_outside_code():
    text = "[a](b) `[c](d)` [![e](f)](g)\n```\n[h](i)\n```\n[](j)"
    assert links_of(text) == [("a", "b"), ("![e](f)", "g"), ("", "j"), ("e", "f")]


def test_every_link_has_a_text_and_leads_to_a_file_of_the_clone():
    files = tracked_files()
    folders = {str(parent) for name in files for parent in Path(name).parents}
    pages = sorted(name for name in files if name.endswith(".md"))
    assert len(pages) > 30
    wrong = []
    for name in pages:
        for text, link in links_of((ROOT / name).read_text()):
            target, _, anchor = link.partition("#")
            if not text:
                wrong.append(f"{name}: {link} has no text")
            if re.match("[a-z]+:", link):
                continue
            place = (ROOT / name).parent.joinpath(target).resolve() if target else ROOT / name
            found = place.relative_to(ROOT).as_posix() if place.is_relative_to(ROOT) else ""
            if found not in files | folders:
                wrong.append(f"{name}: {link} leads nowhere")
            elif anchor and found.endswith(".md") and anchor not in anchors_of(place.read_text()):
                wrong.append(f"{name}: {link} names no heading")
    assert not wrong, "\n".join(wrong)
