"""``alasca-noise``."""

import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.arguments import ordered, quote_paths, unquoted
from alasca_pl.cli.common import config_dirs, find_own_parts, one_message, plain_config, quieten
from alasca_pl.cli.composition import compose_command
from alasca_pl.cli.refusals import in_one_line
from alasca_pl.cli.tables import show
from alasca_pl.core.errors import UserError
from alasca_pl.core.overrides import option_name, quoted
from alasca_pl.core.terminal import say, say_text
from alasca_pl.runs.early import check_early

_DATA_GROUPS = ("data", "seed", "experiment", "suggested")
_HELP = """\
alasca-noise: noisy labels as files, drawn once for many runs.

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
    """``alasca-noise``: make, inspect and verify files of noisy labels."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        say_text(_HELP)
        return
    with one_message():
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
    overrides = ordered(quote_paths([item for item in rest if item != file]))
    sys.argv = [f"{sys.argv[0]} {command}", *overrides, *([f"file={quoted(file)}"] if file else [])]
    find_own_parts()
    with one_message(), in_one_line(sys.argv):
        {"make": _make_noise, "verify": _verify_noise}[command]()


def _noise_file(command: str, arguments: Sequence[str]) -> str:
    """The one argument that names a file."""
    files = [item for item in arguments if "=" not in item or Path(item).is_file()]
    if len(files) != 1:
        raise UserError(f"alasca-noise {command} needs one file, got {', '.join(files) or 'none'}")
    return files[0]


def _inspect_noise(arguments: Sequence[str]) -> None:
    from alasca_pl.runs.noise_files import inspect_noise_file

    file = _noise_file("inspect", arguments)
    others = [item for item in arguments if item != file]
    wrong = next((item for item in others if not item.startswith("plot=")), None)
    if wrong is not None:
        raise UserError(f"alasca-noise inspect has no option {wrong!r}; it takes a file and plot=FILE.png")
    plot = others[-1].removeprefix("plot=") if others else ""
    shown = inspect_noise_file(Path(file), Path(plot) if plot not in ("", "null") else None)
    show(shown)


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="noise_command")
def _make_noise(cfg: DictConfig) -> None:
    with one_message():
        config = plain_config(compose_command().config)
        check_early(config)
        # Imported late, so that a wrong option is reported at once.
        from alasca_pl.runs.noise_files import make_noise_file

        quieten()
        output, plot = Path(str(config["output"])), config["plot"]
        picture = None if plot is None else output.with_suffix(".png") if plot == "auto" else Path(str(plot))
        overrides = HydraConfig.get().overrides.task
        chosen = [unquoted(item) for item in overrides if option_name(item).split(".")[0] in _DATA_GROUPS]
        shown = make_noise_file(config, output, picture, [*config_dirs(), *chosen])
    show(shown)


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="noise_command")
def _verify_noise(cfg: DictConfig) -> None:
    with one_message():
        config = plain_config(compose_command().config)
        check_early(config)
        from alasca_pl.runs.noise_files import verify_noise_file

        quieten()
        agreed = verify_noise_file(Path(config["file"]), config)
    say(f"{config['file']} fits {config['data']['name']}:", *(f"  {line}" for line in agreed))
