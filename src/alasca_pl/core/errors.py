"""The one exception for mistakes that the user can put right."""


class UserError(ValueError):
    """A value given by the user is wrong.

    The message names the value received, the valid choices and the way out. The command line prints it without a
    traceback and ends with status 1.
    """
