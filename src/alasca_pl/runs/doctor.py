"""What this machine has for runs, what a config needs, and how to get what is missing."""

import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from rich.console import Group
from rich.table import Table

from alasca_pl.build.precision import computes_bf16
from alasca_pl.core.errors import UserError
from alasca_pl.core.threads import cores
from alasca_pl.runs.early import check_devices, check_early
from alasca_pl.runs.environment import hardware, versions

Status = Literal["ok", "note", "missing"]
_LEAST, _LITTLE = 100_000_000, 2_000_000_000
_VARIABLES = (
    "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "CUDA_VISIBLE_DEVICES", "ALASCA_DATA", "HYDRA_FULL_ERROR",
    "PYTORCH_CUDA_ALLOC_CONF", "SLURM_JOB_ID", "WANDB_MODE",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Attributes:
        what: What was looked at.
        status: ``missing`` only for what the given config needs; ``note`` for what is worth a look.
        found: What was found.
        advice: How to get or change it.
    """

    what: str
    status: Status
    found: str
    advice: str = ""


@dataclass(frozen=True)
class _Known:
    """Files of a known data set.

    Args:
        folder: Below the folder of all data.
        choices: Sets of files, any of which is enough. A file may be in several places, separated by ``|``.
        advice: Where it comes from.
        fetched: Whether a run fetches it.
    """

    folder: str
    choices: tuple[tuple[str, ...], ...]
    advice: str
    fetched: bool = False


_CIFAR10 = tuple(f"cifar-10-batches-py/{name}" for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"))
_CLOTHING = ("clean_label_kv", "noisy_label_kv", "noisy_train_key_list", "clean_val_key_list", "clean_test_key_list")
_KNOWN = {
    "cifar10": _Known("", (("cifar10.npz",), _CIFAR10), "a run with data.download=true fetches it", fetched=True),
    "cifar100": _Known(
        "", (("cifar100.npz",), ("cifar-100-python/train", "cifar-100-python/test")),
        "a run with data.download=true fetches it", fetched=True,
    ),
    "clothing1m": _Known(
        "clothing1m", ((*(f"{name}.txt|annotations/{name}.txt" for name in _CLOTHING), "images"),),
        "from its authors on request, see Cysu/noisy_label; unpack it there, or set data.root",
    ),
    "webvision": _Known(
        "webvision", (("info/train_filelist_google.txt", "info/val_filelist.txt", "val_images_256"),),
        "WebVision 1.0 from its project's page (images from Google, validation images, info); unpack it there, or set data.root",
    ),
}  # fmt: skip
_HUMAN = _Known(
    "", (("CIFAR-10_human.pt",), ("CIFAR-100_human.pt",)),
    "for noise=human: the files of UCSC-REAL/cifar-10-100n; put them there, or set noise.root",
)  # fmt: skip
# Module, extra, what it is for.
_OPTIONAL = (
    ("wandb", "wandb", "logger=wandb"),
    ("tensorboard", "tensorboard", "logger=tensorboard"),
    ("mlflow", "mlflow", "logger=mlflow"),
    ("timm", "timm", "model=timm and model=inception_resnet_v2"),
    ("datasets", "huggingface", "data=huggingface"),
    ("submitit", "slurm", "hydra/launcher=slurm"),
)
# Module to what the dotted name of a class contains that needs it.
_WORDS = {"wandb": "wandb", "tensorboard": "tensorboard", "mlflow": "mlflow", "timm": "timm", "datasets": "huggingface"}
_OTHERS = (("optuna", "hydra-optuna-sweeper", "hydra/sweeper=optuna"),)


def examine(config: Mapping[str, Any], choices: Mapping[str, Any], folder: Path) -> list[Finding]:
    """Look at this machine with the eyes of a run.

    Args:
        config: Resolved config of the run.
        choices: Options chosen in each group.
        folder: Where the run would be kept; it need not exist, and is not made.
    """
    return [
        *(Finding(name, "ok", version) for name, version in versions().items()),
        *_devices(config),
        *_threads(),
        *_values(config),
        *_data(config, choices),
        *_disk(folder),
        *_packages(config),
    ]


def render(findings: list[Finding]) -> Group:
    """A table of all findings, and a sentence."""
    table = Table(box=None, pad_edge=False)
    for title in ("", "", "found", "what helps"):
        table.add_column(title, overflow="fold")
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}
    for one in findings:
        cells = [text.replace("[", "\\[") for text in (one.what, one.found, one.advice)]
        table.add_row(cells[0], marks[one.status], *cells[1:])
    missing = [one.what for one in findings if one.status == "missing"]
    end = f"missing for this config: {', '.join(missing)}" if missing else "this config can run here"
    return Group(table, end)


def _devices(config: Mapping[str, Any]) -> Iterator[Finding]:
    has = hardware()
    native = computes_bf16(on_gpu=False)
    yield Finding("processor", "ok", f"{has['cpu']}, {cores()} of {has['cpus']} cores may be used")
    advice = "trainer.precision=32-true is faster on this processor" if not native else ""
    yield Finding("bfloat16", "ok", "native" if native else "emulated", advice)
    gpus = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    yield Finding("GPUs", "ok", ", ".join(gpus) or "none")
    try:
        check_devices(config)
    except UserError as error:
        yield Finding("trainer", "missing", str(config["trainer"].get("accelerator")), str(error))


def _threads() -> Iterator[Finding]:
    yield Finding("threads", "ok", f"{torch.get_num_threads()} by default")
    given = {name: os.environ[name] for name in _VARIABLES if name in os.environ}
    yield Finding(
        "environment", "ok", " ".join(f"{name}={value}" for name, value in given.items()) or "nothing special"
    )
    number = os.environ.get("OMP_NUM_THREADS", "")
    if number.isdigit() and int(number) > cores():
        yield Finding("OMP_NUM_THREADS", "note", f"{number} threads for {cores()} cores", f"OMP_NUM_THREADS={cores()}")


def _values(config: Mapping[str, Any]) -> Iterator[Finding]:
    try:
        check_early(config)
    except UserError as error:
        yield Finding("values", "missing", "wrong", str(error))
    else:
        yield Finding("values", "ok", "names, types and ranges fit")


def _data(config: Mapping[str, Any], choices: Mapping[str, Any]) -> Iterator[Finding]:
    top = Path(os.environ.get("ALASCA_DATA", "data")).expanduser().absolute()
    chosen = str(choices.get("data"))
    node = config["data"]
    for name, known in _KNOWN.items():
        is_needed = name == chosen
        root = Path(node["root"]).expanduser().absolute() if is_needed else top / known.folder
        yield _look(f"data={name}", known, root, is_needed, bool(node.get("download")))
    yield _look("CIFAR-N", _HUMAN, top, False, False)
    if chosen not in _KNOWN:
        for key in ("path", "root"):
            place = node.get(key)
            if place and not Path(place).expanduser().exists():
                on_hub = chosen == "huggingface" and key == "path"
                advice = "taken for a name on the hub" if on_hub else f"point data.{key} to the data"
                yield Finding(f"data.{key}", "note" if on_hub else "missing", f"{place} is not there", advice)
            elif place:
                yield Finding(f"data.{key}", "ok", str(Path(place).expanduser().absolute()))


def _look(what: str, known: _Known, root: Path, is_needed: bool, may_fetch: bool) -> Finding:
    lacking: list[list[str]] = []
    for files in known.choices:
        lacking.append([file.partition("|")[0] for file in files if not _is_there(root, file)])
        if not lacking[-1]:
            return Finding(what, "ok", str(root))
    shown = " or ".join(", ".join(files[:2]) + (" ..." if len(files) > 2 else "") for files in lacking)
    is_missing = is_needed and not (known.fetched and may_fetch)
    return Finding(what, "missing" if is_missing else "note", f"not in {root}: {shown}", known.advice)


def _is_there(root: Path, file: str) -> bool:
    return any((root / place).exists() for place in file.split("|"))


def _disk(folder: Path) -> Iterator[Finding]:
    place = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(place).free
    said = f"{free / 1e9:.1f} GB free in {place}"
    choose = "choose another folder with hydra.run.dir=..."
    if not os.access(place, os.W_OK):
        yield Finding("run folder", "missing", f"{place} cannot be written to", choose)
    elif free < _LITTLE:
        yield Finding("run folder", "missing" if free < _LEAST else "note", said, choose)
    else:
        yield Finding("run folder", "ok", said)


def _packages(config: Mapping[str, Any]) -> Iterator[Finding]:
    nodes = [config["model"]["backbone"], config["data"]["reader"], *config["logger"].values()]
    targets = " ".join(str(node.get("_target_")) for node in nodes if isinstance(node, Mapping)).lower()
    needed = {module: word in targets for module, word in _WORDS.items()}
    extras = [(module, f"'alasca-pl[{extra}]'", purpose) for module, extra, purpose in _OPTIONAL]
    for module, package, purpose in (*extras, *_OTHERS):
        if importlib.util.find_spec(module) is not None:
            yield Finding(module, "ok", f"for {purpose}")
        else:
            status: Status = "missing" if needed.get(module) else "note"
            yield Finding(module, status, f"not installed; for {purpose}", f"pip install {package}")
