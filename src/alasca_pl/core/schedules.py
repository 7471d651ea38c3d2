"""Ramps over a run."""


def linear_ramp(position: float, length: float) -> float:
    """Rise linearly from 0 at the start to 1 at ``length`` and stay there.

    Args:
        position: Position in the run, e.g. in epochs.
        length: Where the ramp ends, in the same unit; 0 or less gives 1 from the start.
    """
    return 1.0 if length <= 0 else min(1.0, position / length)
