"""What the log says of choices that are allowed, and may not be meant."""

from collections.abc import Mapping
from typing import Any


def remarks_on(config: Mapping[str, Any], choices: Mapping[str, Any]) -> list[str]:
    """All remarks on a resolved config and the names chosen in its groups."""
    return [*other_network(config, choices), *other_order(config)]


def other_network(config: Mapping[str, Any], choices: Mapping[str, Any]) -> list[str]:
    """Say that a method's published figures on a data set are from another network than the one chosen.

    Args:
        config: Resolved config; ``published_network`` maps names of group data to names of group model.
        choices: Names chosen in the config groups.

    Returns:
        One remark, or none where the networks agree or nothing is published.
    """
    method, data, model = (choices.get(name) for name in ("method", "data", "model"))
    published = (config.get("published_network") or {}).get(data)
    if published is None or published == model:
        return []
    return [f"the published figures of {method} on {data} are from model={published}; this run trains model={model}"]


def other_order(config: Mapping[str, Any]) -> list[str]:
    """Say that phases begin in another order than the config lists them, as when only the start of the last one was lowered."""
    starts = {name: node["start"] for name, node in (config.get("phases") or {}).items() if node}
    ordered = sorted(starts, key=lambda name: starts[name])
    if ordered == list(starts):
        return []
    listed = ", ".join(f"{name} (start={starts[name]})" for name in ordered)
    return [f"the phases begin in another order than {', '.join(starts)}, the order of the config: {listed}"]
