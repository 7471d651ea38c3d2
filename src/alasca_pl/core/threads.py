"""Threads of a run: how many, and that they do not wait by spinning. Independent of torch, which reads the variables once."""

import os
from collections.abc import MutableMapping

# Threads that spin while they wait for each other take a core each. With more runnable processes than cores they hold up the
# very threads that they wait for, and a run takes many times as long.
_PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
_NUMBER = "OMP_NUM_THREADS"
# On so few pixels, with so few parameters, a second thread waits more than it works.
_SMALL_IMAGE = 16 * 16
_SMALL_NETWORK = 1_000_000


def stop_spinning(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads sleep, unless the environment says how they wait. Call it before libraries are loaded."""
    if not any(name in environment for name in _PASSIVE):
        environment.update(_PASSIVE)


def cores() -> int:
    """Number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def choose_threads(
    asked: int | str,
    pixels: int,
    parameters: int,
    processes: int = 1,
    environment: MutableMapping[str, str] = os.environ,
) -> tuple[int | None, str]:
    """Choose the number of threads of a process; the same for the same values on the same machine.

    Args:
        asked: A number, or ``auto``.
        pixels: Of an image.
        parameters: Of a network.
        processes: That share the cores.
        environment: A number that is set there is left alone by ``auto``.

    Returns:
        The number, or None to leave it as it is, and why, for the log.

    Example:
        >>> choose_threads("auto", pixels=64, parameters=20_000, environment={})
        (1, 'a small network on small images')
    """
    if asked != "auto":
        return int(asked), "as asked for"
    if environment.get(_NUMBER):
        return None, f"from {_NUMBER}"
    if pixels <= _SMALL_IMAGE and parameters <= _SMALL_NETWORK:
        return 1, "a small network on small images"
    return max(1, cores() // processes), "the cores" if processes == 1 else f"the cores, for {processes} processes"


def pass_on(threads: int, environment: MutableMapping[str, str] = os.environ) -> None:
    """Have processes that this one starts use as many threads."""
    environment[_NUMBER] = str(threads)
