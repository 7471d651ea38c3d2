"""The one exception for mistakes that the user can correct."""


class UserError(ValueError):
    """A value given by the user is wrong.

    The message names the value received, the valid choices and the remedy. The command line prints it without a
    traceback and ends with status 1.
    """
