"""Commands: thin Hydra entries."""

import contextlib
import json
import logging
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException, HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException
from rich.console import Console

from alasca_pl.core.errors import UserError

log = logging.getLogger(__name__)

_PACKAGED = Path(__file__).parent / "conf"
# In a source checkout the configs lie beside src; in an installed package, inside it.
CONF_DIR = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[2] / "conf"

_DISTRIBUTED = (
    "LOCAL_RANK", "RANK", "WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT",
    "PL_GLOBAL_SEED", "PL_SEED_WORKERS",
)  # fmt: skip


@contextlib.contextmanager
def _one_message() -> Iterator[None]:
    """End with one line and status 1 on mistakes that the user can put right."""
    try:
        yield
    except (UserError, FloatingPointError, OmegaConfBaseException, HydraException) as error:
        if os.environ.get("HYDRA_FULL_ERROR") == "1":
            raise
        text = str(error)
        if isinstance(error, MissingMandatoryValue):
            name = str(getattr(error, "full_key", "") or "")
            text = f"{name} has no value; give it as {name}=..."
        sys.stdout.flush()
        print(f"error: {text}\n(HYDRA_FULL_ERROR=1 shows where it came from)", file=sys.stderr)
        sys.exit(1)


def train() -> None:
    """``alasca-train``: train one run, or with ``-m`` one run per combination of values."""
    with _one_message():
        sys.argv[1:] = _resume_arguments(_quote_paths(sys.argv[1:]))
    if "TORCHELASTIC_RUN_ID" in os.environ and not any(_name(item) == "hydra.run.dir" for item in sys.argv):
        # Each rank would put its own time into the folder's name.
        sys.argv.append(f"hydra.run.dir=runs/{os.environ['TORCHELASTIC_RUN_ID']}")
    _find_own_parts()
    _train()


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train")
def _train(cfg: DictConfig) -> None:
    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.MULTIRUN:
        _relaunch()
        return
    # Imported late, so that a wrong option is reported at once.
    from alasca_pl import run as runs
    from alasca_pl.analysis.summary import render

    _quieten()

    with _one_message():
        config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        overrides = list(hydra_config.overrides.task)
        choices = {name: value for name, value in hydra_config.runtime.choices.items() if not name.startswith("hydra/")}
        remarks = _constants(choices)
        folder = Path(hydra_config.runtime.output_dir)
        run = runs.prepare(config, folder, {"overrides": overrides, "config_dirs": _config_dirs(), "choices": choices})
        # Not before the run is accepted: the log may be that of a finished run.
        for remark in remarks:
            log.info("%s", remark)
        record = runs.train(run)
    if run.trainer.is_global_zero and "metrics" in record:
        uses_alasca = choices.get("alasca") not in (None, "none")
        Console(soft_wrap=True).print(render(record, _comparison(overrides) if uses_alasca else None))


def _constants(choices: dict[str, Any]) -> list[str]:
    """Say which constants a method got for this data set, and forget choices of files that do not exist."""
    sources = [CONF_DIR, *(Path(source) for source in _config_dirs()[1::2])]
    remarks = []
    for group in ("constants", "noise_constants"):
        name = choices.get(group)
        if any((folder / group / f"{name}.yaml").is_file() for folder in sources):
            remarks.append(f"constants: {name} (chosen by method and data set, in conf/{group})")
            continue
        choices.pop(group, None)
        others = [file for folder in sources for file in (folder / group).glob(f"{choices['method']}_*.yaml")]
        if group == "constants" and others:
            remarks.append(
                f"constants: none for method {choices['method']} on data {choices['data']}, so its own defaults"
            )
    return remarks


def _comparison(overrides: Sequence[str]) -> str:
    """Command of the same run without ALASCA."""
    its_own = ("alasca", "aux", "ckpt_path")
    kept = [item for item in overrides if _name(item).split(".")[0] not in its_own]
    kept = [item for item in kept if not _name(item).startswith("regularizers.alasca")]
    return shlex.join(["alasca-train", *_config_dirs(), *map(_unquoted, kept), "alasca=none"])


def _unquoted(override: str) -> str:
    """Undo ``_quote_paths``, which will be applied again."""
    name, _, value = override.partition("=")
    if name in _PATHS and len(value) > 1 and value[0] == value[-1] == "'":
        value = value[1:-1].replace("\\'", "'")
        return f"{name}={value}"
    return override


def _config_dirs() -> list[str]:
    sources = HydraConfig.get().runtime.config_sources
    return [word for source in sources if source.provider == "command-line" for word in ("--config-dir", source.path)]


def _find_own_parts() -> None:
    """Let ``_target_`` name classes in files of the current folder, after all that is installed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def _quieten() -> None:
    """Keep tips and remarks of libraries out of the log; warnings stay."""
    for name in ("lightning.pytorch", "lightning.fabric", "matplotlib"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # A resumed run writes into its own folder.
    warnings.filterwarnings("ignore", message=r"Checkpoint directory .* exists and is not empty")
    # Lightning's own use of torch, nothing that a user could change.
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")


def _relaunch() -> None:
    """Run one job of a multirun as a single run in a process of its own.

    Random states, environment variables and process groups of one job would otherwise reach the next, and the ranks of a
    job would each replay the whole sweep.
    """
    config = HydraConfig.get()
    environment = {name: value for name, value in os.environ.items() if name not in _DISTRIBUTED}
    # -P: a file of the current folder must not take the place of a module of the same name.
    command = [sys.executable, "-P", "-m", "alasca_pl.cli", *_config_dirs()]
    if config.job.config_name and config.job.config_name != "train":
        command += ["--config-name", config.job.config_name]
    not_passed_on = (
        "hydra.mode",
        "hydra.sweep",
        "hydra/launcher",
        "hydra.launcher",
        "hydra/sweeper",
        "hydra.sweeper",
        "hydra.run",
    )
    command += [item for item in config.overrides.hydra if not _name(item).startswith(not_passed_on)]
    command += [*config.overrides.task, f"hydra.run.dir={_quoted(config.runtime.output_dir)}"]
    code = subprocess.run(command, env=environment, check=False).returncode
    if code:
        # Hydra prints an error of this kind without a traceback.
        raise CompactHydraException(f"job {config.job.num} ended with status {code}; its own message stands above")


def _quoted(value: str) -> str:
    escaped = value.replace("'", "\\'")
    return f"'{escaped}'"


_PATHS = (
    "ckpt_path", "output", "plot", "data.root", "data.path", "data.extract_to", "noise.path", "noise.root",
    "noise.like.path", "noise.like.root", "hydra.run.dir", "hydra.sweep.dir",
)  # fmt: skip


def _quote_paths(arguments: Sequence[str]) -> list[str]:
    """Quote values that are paths, so that Hydra takes blanks, commas, brackets and accents in them as they are."""
    if any(item in ("-m", "--multirun") for item in arguments):
        # There a comma separates values.
        return list(arguments)
    quoted = []
    for item in arguments:
        name, _, value = item.partition("=")
        plain = not value or value == "null" or value[0] in "'\"" or "${" in value
        quoted.append(item if name not in _PATHS or plain else f"{name}={_quoted(value)}")
    return quoted


def _resume_arguments(arguments: Sequence[str]) -> list[str]:
    """Complete a command that resumes a run: its own overrides first, its own folder for the output.

    Args:
        arguments: The command's arguments.

    Returns:
        The arguments as they are, unless one of them is ``ckpt_path=RUN/checkpoints/NAME.ckpt``.

    Raises:
        UserError: If that names no run.
    """
    given = [item.split("=", 1)[1] for item in arguments if item.startswith("ckpt_path=")]
    if not given or given[-1] in ("", "null"):
        return list(arguments)
    checkpoint = Path(given[-1].strip("'\"").replace("\\'", "'")).resolve()
    folder = checkpoint.parent.parent
    if not checkpoint.is_file():
        raise UserError(f"no checkpoint {checkpoint}; give ckpt_path=RUN/checkpoints/last.ckpt of an existing run")
    record: dict[str, Any] = {}
    if (folder / "record.json").is_file():
        try:
            record = json.loads((folder / "record.json").read_text())
        except ValueError as error:
            raise UserError(f"{folder / 'record.json'} is damaged: {error}") from error
    saved: list[str] = record.get("overrides", [])
    config_dirs: list[str] = [] if "--config-dir" in arguments else record.get("config_dirs", [])
    new_names = {_name(item) for item in arguments}
    kept = [item for item in saved if _name(item) not in new_names and _name(item) != "ckpt_path"]
    own = [] if "hydra.run.dir" in new_names else [f"hydra.run.dir={_quoted(str(folder))}"]
    return [*config_dirs, *kept, *arguments, *own]


def _name(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def evaluate() -> None:
    """``alasca-evaluate``: measure a checkpoint on a part of its data."""
    sys.argv[1:] = _quote_paths(sys.argv[1:])
    _find_own_parts()
    _evaluate()


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="evaluate")
def _evaluate(cfg: DictConfig) -> None:
    from alasca_pl.evaluation import evaluate_checkpoint, render_evaluation

    with _one_message():
        config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        result = evaluate_checkpoint(
            Path(config["ckpt_path"]),
            part=config["part"],
            source={name: value for name, value in config["data"].items() if value is not None},
            device=config["device"],
            trust=config["trust"],
            output=Path(config["output"]) if config["output"] else None,
        )
    Console(soft_wrap=True).print(render_evaluation(result))


_NOISE_HELP = """\
alasca-noise: wrong labels as files, drawn once for many runs.

  alasca-noise make [OVERRIDES] [output=noise.npz] [plot=FILE.png]   draw the labels that such a run would draw, and write them
  alasca-noise inspect FILE [plot=FILE.png]                          rates and confusions in a file; needs no data
  alasca-noise verify FILE [OVERRIDES]                               compare a file with data; status 1 if they do not fit

Overrides are those of alasca-train; what concerns neither data nor noise makes no difference. Nothing is overwritten.

Examples:
  alasca-noise make data=cifar10 noise=symmetric noise.rate=0.5 seed=0 output=noise.npz
  alasca-noise make noise=instance noise.rate=0.4 output=instance.npz plot=null
  alasca-noise inspect noise.npz plot=matrix.png
  alasca-noise verify noise.npz data=cifar10 data.root=FOLDER
  alasca-train data=cifar10 noise=from_file noise.path=noise.npz seed=0

alasca-noise make --help lists the groups."""


def noise() -> None:
    """``alasca-noise``: make, inspect and verify files of wrong labels."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_NOISE_HELP)
        return
    with _one_message():
        command, rest = arguments[0], arguments[1:]
        if command not in ("make", "inspect", "verify"):
            raise UserError(f"unknown command {command!r}; choose one of make, inspect, verify, or alasca-noise --help")
        if command == "inspect":
            _inspect_noise(rest)
            return
        if any(item in ("-m", "--multirun") for item in rest):
            raise UserError(f"alasca-noise {command} takes one combination of values at a time; leave out -m")
        asks = any(item in ("-h", "--help", "--hydra-help") or item.startswith("--info") for item in rest)
        file = "" if command == "make" or asks else _noise_file(command, rest)
    overrides = _quote_paths([item for item in rest if item != file])
    sys.argv = [f"{sys.argv[0]} {command}", *overrides, *([f"file={_quoted(file)}"] if file else [])]
    _find_own_parts()
    {"make": _make_noise, "verify": _verify_noise}[command]()


def _noise_file(command: str, arguments: Sequence[str]) -> str:
    """The one argument that names a file."""
    files = [item for item in arguments if "=" not in item or Path(item).is_file()]
    if len(files) != 1:
        raise UserError(f"alasca-noise {command} needs one file, got {', '.join(files) or 'none'}")
    return files[0]


def _inspect_noise(arguments: Sequence[str]) -> None:
    from alasca_pl.noise_files import inspect_noise_file

    file = _noise_file("inspect", arguments)
    others = [item for item in arguments if item != file]
    wrong = next((item for item in others if not item.startswith("plot=")), None)
    if wrong is not None:
        raise UserError(f"alasca-noise inspect has no option {wrong!r}; it takes a file and plot=FILE.png")
    plot = others[-1].removeprefix("plot=") if others else ""
    shown = inspect_noise_file(Path(file), Path(plot) if plot not in ("", "null") else None)
    Console(soft_wrap=True).print(shown)


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="noise_command")
def _make_noise(cfg: DictConfig) -> None:
    from alasca_pl.noise_files import make_noise_file

    _quieten()
    with _one_message():
        config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        output, plot = Path(str(config["output"])), config["plot"]
        picture = None if plot is None else output.with_suffix(".png") if plot == "auto" else Path(str(plot))
        shown = make_noise_file(config, output, picture)
    Console(soft_wrap=True).print(shown)


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="noise_command")
def _verify_noise(cfg: DictConfig) -> None:
    from alasca_pl.noise_files import verify_noise_file

    _quieten()
    with _one_message():
        config: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
        agreed = verify_noise_file(Path(config["file"]), config)
    print(f"{config['file']} fits {config['data']['name']}:", *agreed, sep="\n  ")


if __name__ == "__main__":
    train()
