"""Which values of a config are paths: those that a node lists under ``_paths_``.

    data:
      root: ???
      extract_to: null
      _paths_: [root, extract_to]

A name with a question mark, as in ``[path?]``, is a path only where such a file or folder exists, for values that may also
be something else, e.g. the name of a data set on a hub. The yaml of a new data set, noise model or other class lists
the class's own paths.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

MARKER = "_paths_"


def absolute_paths(value: Any) -> Any:
    """Return a config in which all paths, at any depth, are absolute, so that a run finds its files from any folder.

    Args:
        value: Config as plain containers, or a node of it.

    Example:
        >>> made = absolute_paths({"noise": {"path": "/files/../noise.npz", "seed": 0, "_paths_": ["path"]}})
        >>> made["noise"]["path"]
        '/files/../noise.npz'
    """
    return change_paths(value, _absolute)


def change_paths(value: Any, change: Callable[[Any, bool], Any]) -> Any:
    """Return a config in which all paths, at any depth, are what a function makes of them.

    Args:
        value: Config as plain containers, or a node of it.
        change: From a path, and whether it may also be something else, to what takes its place.

    Example:
        >>> change_paths({"data": {"root": "/home/me/photos", "_paths_": ["root"]}}, lambda path, _: Path(path).name)
        {'data': {'root': 'photos', '_paths_': ['root']}}
    """
    if isinstance(value, list | tuple):
        return [change_paths(item, change) for item in value]
    if not isinstance(value, Mapping):
        return value
    names = value.get(MARKER) or ()
    return {
        name: change(item, f"{name}?" in names)
        if name in names or f"{name}?" in names
        else item
        if name == MARKER
        else change_paths(item, change)
        for name, item in value.items()
    }


def path_names(value: Any, prefix: str = "") -> set[str]:
    """Dotted names of all paths in a config.

    Args:
        value: Config as plain containers, or a node of it.
        prefix: Put before each name.

    Example:
        >>> sorted(path_names({"data": {"root": "a", "reader": {"lists": "b", "_paths_": ["lists"]}, "_paths_": ["root?"]}}))
        ['data.reader.lists', 'data.root']
    """
    if not isinstance(value, Mapping):
        return set()
    own = {f"{prefix}{name.removesuffix('?')}" for name in value.get(MARKER) or ()}
    return own.union(*(path_names(item, f"{prefix}{name}.") for name, item in value.items()))


def path_values(value: Any) -> set[str]:
    """Paths in a config, at any depth, as they are written there.

    Args:
        value: Config as plain containers, or a node of it.

    Example:
        >>> path_values({"data": {"root": "/a/b", "name": "own", "_paths_": ["root"]}})
        {'/a/b'}
    """
    if not isinstance(value, Mapping):
        return set()
    listed = {name.removesuffix("?") for name in value.get(MARKER) or ()}
    own = {str(item) for name, item in value.items() if name in listed and isinstance(item, str | Path) and str(item)}
    return own.union(*(path_values(item) for item in value.values()))


def _absolute(value: Any, optional: bool) -> Any:
    # A value listed as a path may also be None, or a matrix instead of its file.
    if not isinstance(value, str | Path) or not str(value):
        return value
    path = Path(value).expanduser().absolute()
    return value if optional and not path.exists() else str(path)
