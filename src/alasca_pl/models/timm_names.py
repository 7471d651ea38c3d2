"""Names of timm's models, read from its source: importing timm takes seconds and needs torch."""

import difflib
import functools
import re
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from alasca_pl.core.extras import is_installed

_MODEL = re.compile(r"^@register_model\s*\ndef (\w+)", re.MULTILINE)
# Of former names timm keeps mappings to those of today.
_FORMER = re.compile(r"^register_model_deprecations\(.*?^\}\)", re.MULTILINE | re.DOTALL)
_KEY = re.compile(r"['\"](\w+)['\"]\s*:")


def timm_problem(name: str, user: str) -> str | None:
    """What is wrong with the name of a timm model, or None.

    Args:
        name: The name, perhaps with that of its weights after a point.
        user: What uses the model, for the message.
    """
    if not is_installed("timm"):
        return f"{user} needs timm; install it with pip install 'alasca-pl[timm]'"
    listed, former = _names()
    base = name.partition(".")[0]
    if not listed or base in listed or base in former:
        return None
    registry = sys.modules.get("timm")
    # A model of one's own is registered by whoever imports it.
    if registry is not None and registry.is_model(name):
        return None
    return f"timm has no model {name!r}; similar: {', '.join(similar_names(name, listed))}"


@functools.cache
def _names() -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of models, and names by which some were called before, with others."""
    spec = find_spec("timm")
    places = list(spec.submodule_search_locations or ()) if spec else []
    texts = [file.read_text("utf-8") for place in places for file in sorted(Path(place, "models").glob("*.py"))]
    listed = sorted({name for text in texts for name in _MODEL.findall(text)})
    return tuple(listed), frozenset(
        name for text in texts for former in _FORMER.findall(text) for name in _KEY.findall(former)
    )


def similar_names(name: str, known: Sequence[str], count: int = 5) -> list[str]:
    """Names that somebody may have meant: case and punctuation do not count, and the beginning counts most.

    Args:
        name: What was written.
        known: Names to choose from.
        count: How many to give at most.

    Example:
        >>> similar_names("ResNet_50", ["resnet18", "resnet50d", "resnet50"])
        ['resnet50', 'resnet50d', 'resnet18']
        >>> similar_names("vit-b16", ["shvit_s1", "vit_base_patch16_224"])
        ['vit_base_patch16_224', 'shvit_s1']
    """
    bare = {each: _bare(each) for each in known}
    found: list[str] = []
    for start in (_bare(name), _bare(re.split(r"[\W_]", name.strip("_"))[0])):
        # A family begins with whole words, e.g. vit_tiny before vitamin; the shortest name is the plainest.
        fitting = [each for each in known if start and bare[each].startswith(start)]
        found += sorted(fitting, key=lambda each: (not f"{each}_".startswith(f"{start}_"), len(each), each))
    close = difflib.get_close_matches(_bare(name), bare.values(), count)
    found += [each for match in close for each in known if bare[each] == match]
    return list(dict.fromkeys(found))[:count]


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())
