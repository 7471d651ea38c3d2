"""Links of pages to sources, which hold in a clone, lead to the generated pages on the site."""

import re

# By the source's place: the generated page, without the suffix.
_PAGES = {
    "conf/method": "method/index",
    "conf/noise": "noise",
    "conf/data": "data",
    "conf/hydra/launcher": "configuration/hydra_launcher",
    "conf/logger": "configuration/logger",
}
_LINK = re.compile(r"\]\(((?:\.\./)+)((?:conf|experiments)/[^)#]+)")


def to_generated(text: str) -> str:
    """Replace links from a page below ``docs`` to sources by links to what is generated from them.

    Example:
        >>> to_generated("[a](../../conf/noise), [b](../../conf/method#x)")
        '[a](../reference/generated/noise.md), [b](../reference/generated/method/index.md#x)'
        >>> to_generated("[c](../experiments/table4/README.md)")
        '[c](reference/generated/experiments/table4/README.md)'
    """

    def page(match: re.Match[str]) -> str:
        up, source = match[1].removesuffix("../"), match[2].removesuffix("/")
        if source in _PAGES:
            return f"]({up}reference/generated/{_PAGES[source]}.md"
        return f"]({up}reference/generated/{source}" if source.endswith("README.md") else match[0]

    return _LINK.sub(page, text)
