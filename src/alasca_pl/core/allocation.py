"""Memory of feature maps: freed blocks are kept for the next step instead of going back to the system. Independent of torch."""

import ctypes
import os
from collections.abc import Mapping

# Of glibc's malloc.h. The system clears each page of a block that it gives, which takes longer than many an operation on it.
# Blocks above the largest threshold that glibc takes come from the system in any case.
_TRIM_THRESHOLD, _LARGEST_INT = -1, 2**31 - 1
_MMAP_THRESHOLD, _LARGEST_THRESHOLD = -3, 32 * 1024**2
_OWN = ("MALLOC_", "GLIBC_TUNABLES")


def keep_freed_memory(environment: Mapping[str, str] = os.environ) -> bool:
    """Keep up to 2 GB of freed blocks of up to 32 MB in this process; nothing that is computed changes.

    Args:
        environment: Variables of it that set glibc's allocation are heeded: nothing is done then.

    Returns:
        Whether it was done; not where the C library is not glibc.
    """
    if any(name.startswith(_OWN) for name in environment):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        # macOS has no such function, Windows no such library.
        return False
    # Both, or the first alone would have it trimmed at each step.
    return bool(set_option(_MMAP_THRESHOLD, _LARGEST_THRESHOLD)) and bool(set_option(_TRIM_THRESHOLD, _LARGEST_INT))
