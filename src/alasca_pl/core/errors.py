"""The one exception for mistakes that the user can correct."""

import difflib
import os
from collections.abc import Iterable
from types import TracebackType


class UserError(ValueError):
    """A value given by the user is wrong.

    The message names the value received, the valid choices and the remedy. The command line prints it without a
    traceback and ends with status 1.
    """


class Unchained:
    """Around the body of a function for users: a ``UserError`` reaches the caller alone.

    Neither errors of libraries from which it arose nor places within this package are shown, which would hide its message. The
    environment variable ``HYDRA_FULL_ERROR=1`` keeps them.

    Example:
        >>> with Unchained():
        ...     try:
        ...         {}["name"]
        ...     except KeyError as error:
        ...         raise UserError("there is no such name") from error
        Traceback (most recent call last):
        alasca_pl.core.errors.UserError: there is no such name
    """

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, UserError) and os.environ.get("HYDRA_FULL_ERROR") != "1":
            raise error.with_traceback(None) from None


def did_you_mean(name: object, known: Iterable[str], likeness: float = 0.6) -> str:
    """The nearest of some names in words that follow a name, or nothing if none is alike enough.

    Example:
        >>> did_you_mean("metod", ["model", "method"])
        ' (did you mean method?)'
    """
    near = difflib.get_close_matches(str(name), list(known), n=1, cutoff=likeness)
    return f" (did you mean {near[0]}?)" if near else ""
