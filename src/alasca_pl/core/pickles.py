"""Open files that torch saved from numpy arrays, without executing code from them."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np

# All that a pickled array needs: an empty array, its type, and the two functions that make them. Files written with
# numpy 1 name the module differently from those of numpy 2.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ALLOWED: list[Any] = [
    np.ndarray,
    np.dtype,
    type(np.dtype(np.int64)),
    (_RECONSTRUCT, "numpy.core.multiarray._reconstruct"),
    (_RECONSTRUCT, "numpy._core.multiarray._reconstruct"),
]


def read_torch_file(path: Path, md5: str | None = None) -> dict[str, Any]:
    """Read a dictionary of int64 arrays, lists and plain values that ``torch.save`` wrote.

    Args:
        path: The file.
        md5: What its MD5 must be, in hexadecimal, or None for any file.

    Raises:
        ValueError: If the file is missing, is another one, is damaged, or would call anything but what makes an array.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 is not None and found != md5:
        raise ValueError(
            f"{path} is not the published file or was damaged on the way: expected MD5 {md5}, got {found}; "
            "fetch it again, or set check_md5=false for a file of your own"
        )
    # Imported late: see core/seeds.py.
    import torch

    try:
        with torch.serialization.safe_globals(_ALLOWED):
            loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    # Damaged files make the reader raise errors of many types.
    except Exception as error:
        # Torch's own first line advises to load the file unsafely.
        lines = [line.strip() for line in str(error).splitlines() if line.strip() and "Weights only load" not in line]
        reason = next((line for line in lines if "Error" in line or "GLOBAL" in line), (lines or [""])[0])
        raise ValueError(
            f"{path} is damaged or unsafe to load, nothing of it was executed: {reason or type(error).__name__}"
        ) from error
    if not isinstance(loaded, dict):
        raise ValueError(f"{path} holds a {type(loaded).__name__}, not a dictionary of labels")
    return loaded
