"""How large images are, before anything is decoded."""

import functools
import json
import logging
import statistics
from collections.abc import Mapping
from typing import Any

from alasca_pl.build.make import make
from alasca_pl.core.errors import UserError
from alasca_pl.core.paths import absolute_paths
from alasca_pl.data.images import ImageError
from alasca_pl.data.samples import ImageArrays

# Images whose headers are read, spread over the training split.
_LOOKED_AT = 100


def usual_size(data: Mapping[str, Any]) -> tuple[tuple[int, int], bool]:
    """Height and width of the images: those asked for, else the medians of the training images.

    Args:
        data: Resolved group ``data`` of a config.

    Returns:
        Height and width, and whether the images are files, which can be resized.

    Raises:
        UserError: If there are no such data, or none of the images that are looked at can be read.
    """
    asked = data.get("image_size")
    if isinstance(asked, int):
        return (asked, asked), True
    if isinstance(asked, list | tuple) and len(asked) == 2:
        return (int(asked[0]), int(asked[1])), True
    return _measured(json.dumps(absolute_paths(data), sort_keys=True, default=str))


@functools.cache
def _measured(node: str) -> tuple[tuple[int, int], bool]:
    data = json.loads(node)
    offers = {name: value for name, value in data.items() if name not in ("_target_", "reader")}
    log = logging.getLogger("alasca_pl.data")
    level = log.level
    # What the reader says of the data it says when they are read to train on.
    log.setLevel(logging.ERROR)
    try:
        train = make(data["reader"], **offers).train
    finally:
        log.setLevel(level)
    if isinstance(train, ImageArrays):
        height, width = train.images.shape[1:3]
        return (height, width), False
    count = len(train)
    sizes = []
    for i in range(0, count, max(1, count // _LOOKED_AT)):
        try:
            sizes.append(train.images.size(i))
        except (ImageError, OSError):
            # Images that cannot be read are counted and named before training.
            continue
    if not sizes:
        raise UserError(f"none of the images that were looked at can be read, e.g. {train.images.name(0)}")
    widths, heights = zip(*sizes)
    return (round(statistics.median(heights)), round(statistics.median(widths))), True
