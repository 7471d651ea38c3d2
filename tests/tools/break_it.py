"""Try to break the commands: ``python tests/tools/break_it.py lines|files NUMBER [START]``.

Runs what ``tests/reliability/test_lines.py`` and ``test_hostile_files.py`` run a few of, prints what did not end well, and
counts how all ended. The status is 1 if any did not end well.
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

# ruff: noqa: E402
from alasca_pl.core import threads

threads.stop_spinning()

import torch

import hostile_files
import lines
from outcomes import table, warm_up


def main() -> int:
    """Run what the words of the command line ask for."""
    torch.set_num_threads(1)
    warm_up()
    what, number, start = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0
    run = {"lines": lines.run_lines, "files": hostile_files.run_files}[what]
    outcomes, wrong = [], {}
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        for each in range(start, start + number):
            ended, problems = run(Path(folder), [each])
            outcomes += ended
            wrong |= problems
            for name, problem in problems.items():
                print(f"--- {name}\n{problem}", flush=True)
        print(f"{time.monotonic() - began:.0f} s")
    print(table(outcomes, wrong).split("\n---")[0])
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
