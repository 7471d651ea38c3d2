"""Hydra composes in half its time, with the same result.

It parses every file and every interpolation again for every composition, and makes a config of all choices for every file
that it meets, although few of them look at it. A command composes up to three times, and a sweep each of its jobs.
"""

import contextlib
import functools
import pickle
from collections.abc import Iterator
from typing import Any

from hydra._internal import defaults_list
from omegaconf import DictConfig, ListConfig, OmegaConf, base

_CHOICES = "_create_interpolation_map"
_tree = functools.lru_cache(4096)(base.parse)
# What the parser made of a text. Texts are the keys, so an edited file is another one.
_parsed: dict[str, bytes] = {}


@contextlib.contextmanager
def parsed_once() -> Iterator[None]:
    """Within it, a text that has been parsed before is not parsed again, and Hydra makes no config that it does not read.

    Example:
        >>> import io
        >>> with parsed_once():
        ...     first, second = (OmegaConf.load(io.StringIO("lr: 0.1")) for _ in range(2))
        >>> first.lr = 1.0
        >>> second.lr
        0.1
    """
    parse = OmegaConf.load

    def load(file: Any) -> DictConfig | ListConfig:
        if not hasattr(file, "read"):
            return parse(file)
        start = file.tell()
        text = file.read()
        if text not in _parsed:
            file.seek(start)
            # Bytes, because those who get a config change it, and a copy made by pickle takes a twentieth of the parser's time.
            _parsed[text] = pickle.dumps(parse(file))
        return pickle.loads(_parsed[text])  # noqa: S301

    def choices(overrides: Any, defaults: list[Any], *more: Any) -> DictConfig:
        # Entries such as "data/${model}" look choices up; groups and packages that hold "${" count as well, to be safe.
        return make_choices(overrides, defaults, *more) if "${" in repr(defaults) else DictConfig({})

    make_choices: Any = vars(defaults_list).get(_CHOICES)
    # Trees of interpolations are only read. What another version of Hydra does not have is left as it is.
    candidates = [(OmegaConf, "load", staticmethod(load)), (base, "parse", _tree), (defaults_list, _CHOICES, choices)]
    new = [(owner, name, value) for owner, name, value in candidates if name in vars(owner)]
    old = [(owner, name, vars(owner)[name]) for owner, name, _ in new]
    for owner, name, value in new:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for owner, name, value in old:
            setattr(owner, name, value)
