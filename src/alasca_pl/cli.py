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
        folder = Path(hydra_config.runtime.output_dir)
        run = runs.prepare(config, folder, {"overrides": overrides, "config_dirs": _config_dirs(), "choices": choices})
        record = runs.train(run)
    if run.trainer.is_global_zero and "metrics" in record:
        uses_alasca = choices.get("alasca") not in (None, "none")
        Console(soft_wrap=True).print(render(record, _comparison(overrides) if uses_alasca else None))


def _comparison(overrides: Sequence[str]) -> str:
    """Command of the same run without ALASCA."""
    its_own = ("alasca", "aux", "ckpt_path")
    kept = [item for item in overrides if _name(item).split(".")[0] not in its_own]
    kept = [item for item in kept if not _name(item).startswith("regularizers.alasca")]
    return shlex.join(["alasca-train", *_config_dirs(), *kept, "alasca=none"])


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


_PATHS = ("ckpt_path", "output", "data.root", "data.path", "hydra.run.dir", "hydra.sweep.dir")


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


if __name__ == "__main__":
    train()
