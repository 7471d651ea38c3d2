"""Freed blocks are kept, unless the environment says otherwise."""

import subprocess
import sys

import pytest

from alasca_pl.core.allocation import keep_freed_memory

COUNT = """
import mmap, resource
import numpy as np
from alasca_pl.core.allocation import keep_freed_memory
done = keep_freed_memory()
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for number in range(3):
    before = faults()
    maps = [np.ones(4 * 1024**2, dtype=np.float32) for _ in range(4)]
    del maps
    print(int(done), faults() - before, 4 * 16 * 1024**2 // mmap.PAGESIZE)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts page faults of Linux")
def test_blocks_as_large_as_feature_maps_are_taken_from_the_system_once():
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True, timeout=60)
    (kept, first, pages), *later = (map(int, line.split()) for line in done.stdout.splitlines())
    if not kept:
        pytest.skip("the C library is not glibc")
    # With huge pages there are fewer faults than pages, but never none.
    assert first > 0
    assert all(count < pages / 100 for _, count, _ in later)


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES"])
def test_own_settings_are_left_alone(name):
    assert not keep_freed_memory({name: "1"})
