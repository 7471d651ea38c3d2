"""Checks of single values of a config, with one form of message."""


def check_number(name: str, value: object, least: int, may_be_null: bool = False) -> None:
    """Raise ``ValueError`` unless a value is a whole number of at least ``least``, or None if that is allowed."""
    if value is None and may_be_null:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        null = " or null" if may_be_null else ""
        raise ValueError(f"{name} must be a whole number of at least {least}{null}, got {value!r}")
