"""Do two versions of the package train the same bits? A tool for changes that must not change results, not a test.

    python tests/tools/compare_bits.py record OLD.json     # with the package that is importable, e.g. by PYTHONPATH
    python tests/tools/compare_bits.py record NEW.json
    python tests/tools/compare_bits.py compare OLD.json NEW.json

``record`` trains small runs over the methods and hashes every tensor of the last checkpoint and every column of
``metrics.csv``. ``compare`` goes by content, so that a tensor or a column may have been renamed.
Equal machine, versions and number of threads are assumed.
"""

import csv
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

# Three to five epochs, in which every method acts.
RUNS: dict[str, list[str]] = {
    "ce": ["alasca=none", "noise=asymmetric"],
    "alasca": ["method=ce"],
    "gce": ["method=gce", "noise=instance"],
    "sce": ["method=sce", "alasca=paper", "noise=pairflip"],
    "elr": ["method=elr"],
    "als_ema": ["method=als_ema", "alasca=none", "optim=sgd_cosine"],
    "co_teaching": ["method=co_teaching", "selector.estimate_epoch=1", "selector.ramp_epochs=2"],
    "fine": ["method=fine", "selector.warmup_epochs=1", "selector.every=1"],
    "crust": ["method=crust", "selector.warmup_epochs=1", "mixer.start_epoch=2"],
    "dividemix": ["method=dividemix", "selector.warmup_epochs=1", "step.ramp_epochs=2"],
    "elr_plus": ["method=elr_plus", "alasca=paper"],
    "har": ["method=har", "data.augment=strong"],
    "cdr": ["method=cdr", "gradient_transform.estimate_epoch=1"],
    "byot": ["method=byot"],
}
COMMON = ["epochs=4", "seed=3", "data.max_train_samples=640", "callbacks=quiet"]


def hashed(value: Any) -> str:
    """SHA-256 of a tensor's type, shape and content, or of a text."""
    content = hashlib.sha256()
    if isinstance(value, torch.Tensor):
        content.update(f"{value.dtype} {tuple(value.shape)}".encode())
        content.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    else:
        content.update(str(value).encode())
    return content.hexdigest()[:20]


def tensors(value: Any, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    """All tensors in nested containers with dotted names."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from tensors(item, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from tensors(item, f"{name}.{number}")


def record(output: Path, only: list[str]) -> None:
    """Train all runs, or only some, and write their hashes."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    for name, options in RUNS.items():
        if only and name not in only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-m", "alasca_pl.cli", *COMMON, *options, f"hydra.run.dir={folder}/run"]
            subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
            run = Path(folder) / "run"
            checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
            kept = {key: checkpoint[key] for key in ("state_dict", "optimizer_states")}
            with (run / "metrics.csv").open(newline="") as file:
                rows = list(csv.DictReader(file))
        columns = {key: hashed([row[key] for row in rows]) for key in rows[0]}
        found[name] = {"tensors": {key: hashed(value) for key, value in tensors(kept)}, "columns": columns}
        print(name, len(found[name]["tensors"]), "tensors,", len(columns), "columns", flush=True)
    output.write_text(json.dumps(found, indent=1) + "\n")


def compare(old_file: Path, new_file: Path) -> int:
    """Print what differs; the number of runs that differ is returned."""
    old, new = json.loads(old_file.read_text()), json.loads(new_file.read_text())
    different = 0
    for name in old.keys() | new.keys():
        if name not in old or name not in new:
            print(f"{name}: only in one of both")
            continue
        for what in ("tensors", "columns"):
            before, now = old[name][what], new[name][what]
            lost = {key: value for key, value in before.items() if value not in now.values()}
            added = {key: value for key, value in now.items() if value not in before.values()}
            renamed = sorted(before.keys() - now.keys() - lost.keys())
            different += bool(lost)
            if lost or added:
                print(f"{name} {what}: {len(lost)} changed or gone, e.g. {sorted(lost)[:3]}, {len(added)} new")
            elif renamed:
                print(f"{name} {what}: {len(renamed)} renamed, e.g. {renamed[0]}")
    print(f"{len(old)} runs compared, {different} differences")
    return different


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    if command == "record":
        record(Path(arguments[0]), arguments[1:])
    elif command == "compare":
        sys.exit(min(1, compare(Path(arguments[0]), Path(arguments[1]))))
    else:
        sys.exit(__doc__)
