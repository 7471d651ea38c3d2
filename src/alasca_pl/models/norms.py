"""Normalisation layers by name."""

from collections.abc import Callable

from torch import nn

# Makes a layer for a number of channels.
Norm = Callable[[int], nn.Module]


def _group_norm(channels: int) -> nn.GroupNorm:
    # Up to 8 groups of at least two channels: a group of one channel would be constant on a 1 x 1 map.
    groups = next(
        groups for groups in (8, 4, 2, 1) if channels % groups == 0 and (channels >= 2 * groups or groups == 1)
    )
    return nn.GroupNorm(groups, channels)


_NORMS: dict[str, Norm] = {
    "batch": nn.BatchNorm2d,
    "group": _group_norm,
}


def norm_layer(name: str) -> Norm:
    """Return the maker of a normalisation layer for a number of channels.

    Args:
        name: ``batch``, or ``group`` (statistics of single samples, so that a batch may be split over processes
            without changing the result).

    Raises:
        ValueError: If the name is unknown.
    """
    if name not in _NORMS:
        raise ValueError(f"unknown norm {name!r}; choose one of {', '.join(_NORMS)}")
    return _NORMS[name]
