"""The one exception for mistakes that the user can correct."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """A value given by the user is wrong.

    The message names the value received, the valid choices and the remedy. The command line prints it without a
    traceback and ends with status 1.
    """


def did_you_mean(name: object, known: Iterable[str], likeness: float = 0.6) -> str:
    """The nearest of some names in words that follow a name, or nothing if none is alike enough.

    Example:
        >>> did_you_mean("metod", ["model", "method"])
        ' (did you mean method?)'
    """
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=likeness)
    return f" (did you mean {near[0]}?)" if near else ""
