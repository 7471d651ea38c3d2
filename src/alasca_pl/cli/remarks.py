"""What the log says of choices that differ from those behind published figures."""

from collections.abc import Mapping
from typing import Any


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
