"""What training changes of a process, put back afterwards: for a call within somebody else's program."""

import contextlib
import os
import random
import sys
import warnings
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Within the block torch is as in a fresh process; afterwards the process is as it was before.

    That is: environment variables, the path of modules, filters of warnings; the random streams of Python, NumPy and torch;
    torch's number of threads, default type, gradient mode and switches for deterministic algorithms.

    Example:
        >>> torch.set_default_dtype(torch.float64)
        >>> with restored():
        ...     torch.zeros(1).dtype, random.seed(0)
        (torch.float32, None)
        >>> torch.get_default_dtype()
        torch.float64
        >>> torch.set_default_dtype(torch.float32)
    """
    environment, path = dict(os.environ), list(sys.path)
    streams = random.getstate(), np.random.get_state()  # noqa: NPY002
    threads, default_type = torch.get_num_threads(), torch.get_default_dtype()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with (
        warnings.catch_warnings(),
        torch.random.fork_rng(devices=devices),
        torch.inference_mode(False),
        torch.enable_grad(),
    ):
        torch.set_default_dtype(torch.float32)
        try:
            yield
        finally:
            torch.set_default_dtype(default_type)
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(deterministic, warn_only=warns_only)
            torch.backends.cudnn.benchmark = benchmark
            random.setstate(streams[0])
            np.random.set_state(streams[1])  # noqa: NPY002
            sys.path[:] = path
            for name in os.environ.keys() - environment.keys():
                del os.environ[name]
            os.environ.update(environment)
