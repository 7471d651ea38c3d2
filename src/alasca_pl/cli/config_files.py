"""Config files are parsed once in a process.

Hydra parses every file again for every composition, and a sweep composes each of its jobs: a third of the time before the
first one starts.
"""

import contextlib
import pickle
from collections.abc import Iterator
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

# What the parser made of a text. Texts are the keys, so an edited file is another one.
_parsed: dict[str, bytes] = {}


@contextlib.contextmanager
def parsed_once() -> Iterator[None]:
    """Within it, a text that has been parsed before is not parsed again.

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

    OmegaConf.load = staticmethod(load)  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        OmegaConf.load = staticmethod(parse)  # type: ignore[method-assign]
