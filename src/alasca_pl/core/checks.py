"""Checks of single values of a config, with one form of message."""


def check_whole_number(name: str, value: object, least: int, may_be_null: bool = False, hint: str = "") -> None:
    """Raise ``ValueError`` unless a value is a whole number of at least ``least``, or None if that is allowed.

    Args:
        name: Of the option.
        value: What was given.
        least: Smallest value.
        may_be_null: Whether None is allowed.
        hint: What the message says at its end.

    Example:
        >>> check_whole_number("every", 0, 1, hint="epochs between scans")
        Traceback (most recent call last):
        ValueError: every must be a whole number of at least 1, got 0; epochs between scans
    """
    if value is None and may_be_null:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        null = " or null" if may_be_null else ""
        raise ValueError(
            f"{name} must be a whole number of at least {least}{null}, got {value!r}{'; ' if hint else ''}{hint}"
        )
