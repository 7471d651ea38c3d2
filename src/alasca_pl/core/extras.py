"""Libraries that may be missing."""

from importlib.util import find_spec


def is_installed(package: str) -> bool:
    """Whether a package can be found; it is not imported.

    Example:
        >>> is_installed("json"), is_installed("no_such_package")
        (True, False)
    """
    try:
        return find_spec(package) is not None
    except (ImportError, ValueError):
        return False
