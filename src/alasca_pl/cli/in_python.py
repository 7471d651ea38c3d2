"""``alasca_pl.train``: what ``alasca-train`` does, as a function."""

import contextlib
import logging
import numbers
import re
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.version import VersionBase

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.about import about_run, recompose
from alasca_pl.cli.arguments import epoch_arguments, ordered, quote_paths, resume_arguments
from alasca_pl.cli.common import CHATTY, find_own_parts, mistake, plain_config, quieten
from alasca_pl.cli.composition import compose_config, given_overrides
from alasca_pl.cli.refusals import one_line
from alasca_pl.cli.remarks import remarks_on
from alasca_pl.cli.run_log import RunLog
from alasca_pl.core import interrupts
from alasca_pl.core.errors import Unchained, UserError
from alasca_pl.core.overrides import option_name, quoted
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.terminal import PrintableRecord
from alasca_pl.runs.early import check_devices, check_early, check_free, check_places

if TYPE_CHECKING:
    from alasca_pl.runs.load import LoadedRun
    from alasca_pl.runs.training_run import Run

Value: TypeAlias = "str | int | float | bool | Path | type | Sequence[Value] | Mapping[str, Value] | None"

log = logging.getLogger(__name__)

_CONFIG = "train"
_DIR_OPTION = "--config-dir"
_FORMAT = logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S")
# Texts that Hydra takes as they are; with quotes it also takes the others.
_PLAIN = re.compile(r"[A-Za-z_/][\w./-]*")
_OTHER_MEANING = ("null", "true", "false", "nan", "inf")


def train(
    *words: str, folder: str | Path | None = None, config_dir: str | Path | None = None, **options: Value
) -> "LoadedRun":
    """Train one run as ``alasca-train`` does with the same options, and open it.

    The options, the checks, the run's folder and the results to the last bit are those of the command. What training changes
    of a process, such as random states, threads, signals and the environment, is as before when the call ends.

    Without handlers of your own, the log goes to standard output. With several processes, only strategies that fork work
    (``trainer.strategy=ddp_fork``); the command works with all of them.

    Args:
        words: Options as the command takes them, e.g. ``"selector.ramp_epochs=8"``.
        folder: Where to keep the run; by default a new folder in ``runs``. It must not hold a run.
        config_dir: A folder with config groups of your own.
        options: Options by name. ``method="elr"`` chooses a file of a group. In other names the first underscore after the
            name of a group is a point: ``data_root`` is ``data.root``, and ``optim_lr`` is ``optim.lr``. Other options follow as
            words, or as ``**{"model.backbone.width": 32}``. A class stands for its name, as in
            ``criterion={"_target_": MyLoss}``. ``ckpt_path=RUN`` goes on with a run, in its folder.

    Returns:
        The finished run with its last checkpoint, as ``load_run`` opens it: ``run.metrics``, ``run.history``,
        ``run.predict(images)``.

    Raises:
        UserError: If an option is wrong, or the data cannot be used. The message is that of the command.
        KeyboardInterrupt: If you stop it. The log says how the run goes on.

    Example:
        >>> run = train(data="digits", method="gce", alasca="paper", noise_rate=0.5, epochs=1, folder=folder)
        >>> run.config["noise"]["rate"], run.config["criterion"]["q"], len(run.history)
        (0.5, 0.7, 1)
        >>> 0 <= run.metrics["last"]["test/acc"] <= 1
        True
        >>> train(data="digits", method="elrr")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        alasca_pl.core.errors.UserError: there is no config method/elrr (did you mean elr?)...
    """
    with Unchained(), _as_user_errors():
        arguments = _arguments(words, folder, config_dir, options)
    # Imported late: a wrong option of the form above needs no torch.
    from alasca_pl.core.process_state import restored

    try:
        with restored(), _undisturbed_logging(), interrupts.taken(), Unchained(), _as_user_errors():
            return _train(*arguments)
    except interrupts.Interrupted as stop:
        log.warning("interrupted; %s", stop.advice or "nothing has to be kept")
        # What the program itself does at such a signal, e.g. raise KeyboardInterrupt.
        signal.raise_signal(stop.signal)
        raise


def _train(overrides: Sequence[str], config_dir: str | None) -> "LoadedRun":
    find_own_parts()
    # Hydra's own option for a folder beside the main one; a function cannot say it as the command line does.
    places = [f"hydra.searchpath=[{quoted(f'file://{config_dir}')}]"] if config_dir else []
    with _hydra([*places, *overrides]), RunLog() as run_log:
        composed = compose_config(_CONFIG, [*places, *overrides])
        config = plain_config(composed.config)
        check_early(config)
        check_devices(config)
        check_places(config)
        folder = Path(composed.run_dir).expanduser().absolute()
        is_new = not any(option_name(item) == "hydra.run.dir" for item in overrides)
        if not is_new:
            check_free(RunFolder(folder), Path(config["ckpt_path"]) if config["ckpt_path"] else None)
        from alasca_pl.runs import training_run as runs
        from alasca_pl.runs.load import load_run

        quieten()
        config_dirs = [_DIR_OPTION, config_dir] if config_dir else []
        about = about_run(composed, config, given_overrides("task"), config_dirs)
        run = runs.prepare(
            config,
            folder,
            about,
            lambda older: recompose([*places, *older]),
            is_new,
        )
        _refuse_replays(run)
        run_log.write_to(run.folder.log, _FORMAT)
        for remark in [*composed.remarks, *remarks_on(config, composed.choices)]:
            log.info("%s", remark)
        runs.train(run)
        # Classes of one's own were called a moment ago.
        return load_run(run.folder.path, trust=True)


def _arguments(
    words: Sequence[str], folder: str | Path | None, config_dir: str | Path | None, options: Mapping[str, Value]
) -> tuple[list[str], str | None]:
    """Options in Hydra's grammar, and the folder with groups of one's own."""
    flag = next((word for word in words if word.startswith("-")), None)
    if flag is not None:
        raise UserError(f"train takes options of the form NAME=VALUE, got {flag}; sweeps are for alasca-train -m")
    if config_dir is not None and not Path(config_dir).expanduser().is_dir():
        raise UserError(f"config_dir: there is no folder {config_dir}")
    given = [_DIR_OPTION, str(Path(config_dir).expanduser().absolute())] if config_dir is not None else []
    given += words
    known = _names_at_the_top(given[1] if config_dir is not None else None)
    given += [f"{_dotted(name, known)}={_text(name, value)}" for name, value in options.items()]
    if folder is not None:
        given.append(f"hydra.run.dir={quoted(str(folder))}")
    completed = resume_arguments(ordered(quote_paths(epoch_arguments(given))))
    if completed[:1] == [_DIR_OPTION]:
        return completed[2:], completed[1]
    return completed, None


def _names_at_the_top(config_dir: str | None) -> set[str]:
    """Names of groups, and of options that belong to none."""
    folders = [CONF_DIR, *([Path(config_dir)] if config_dir else [])]
    groups = {entry.name for place in folders for entry in place.iterdir() if entry.is_dir()}
    return groups | set(yaml.safe_load((CONF_DIR / f"{_CONFIG}.yaml").read_text(encoding="utf-8")))


def _dotted(name: str, known: set[str]) -> str:
    """Name of an option from that of an argument, in which a point is an underscore.

    Example:
        >>> _dotted("data_root", {"data"}), _dotted("early_end_patience", {"early_end"}), _dotted("ckpt_path", {"ckpt_path"})
        ('data.root', 'early_end.patience', 'ckpt_path')
    """
    if name in known or "." in name:
        return name
    groups = [group for group in known if name.startswith(f"{group}_")]
    return f"{max(groups, key=len)}.{name[len(max(groups, key=len)) + 1 :]}" if groups else name


def _text(name: str, value: Any) -> str:
    r"""Write a value in Hydra's grammar.

    Example:
        >>> _text("a", ["x", 1, None, True]), _text("a", {"lr": 1e-4}), _text("a", "it's")
        ('[x,1,null,true]', '{lr:0.0001}', "'it\\'s'")
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, numbers.Integral):
        return str(int(value))
    if isinstance(value, numbers.Real):
        return repr(float(value))
    if isinstance(value, str | Path):
        text = str(value)
        return text if _PLAIN.fullmatch(text) and text.lower() not in _OTHER_MEANING else quoted(text)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_text(f'{name}.{key}', item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_text(name, item) for item in value) + "]"
    found = getattr(value, "__qualname__", None)
    if found is None:
        raise UserError(f"{name} takes texts, numbers, lists, mappings and classes, got {type(value).__name__}")
    if "<" in found:
        raise UserError(f"{name}: {found} is defined within a function, where it cannot be found by its name")
    return f"{value.__module__}.{found}"


@contextlib.contextmanager
def _hydra(overrides: Sequence[str]) -> Iterator[None]:
    """Hydra as in the command; afterwards as it was, also if the caller is an application of Hydra's."""
    version = VersionBase.instance()
    before = HydraConfig.instance().cfg, version.version_base, GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF_DIR), job_name=_CONFIG, version_base="1.3"):
            try:
                first = compose(_CONFIG, list(overrides), return_hydra_config=True)
            except (HydraException, ValueError) as error:
                raise UserError(one_line(error, overrides)) from error
            HydraConfig.instance().set_config(first)
            yield
    finally:
        HydraConfig.instance().cfg, version.version_base, GlobalHydra.instance().hydra = before


def _refuse_replays(run: "Run") -> None:
    """Refuse strategies whose further processes run the program's own file again, from its first line.

    Raises:
        UserError: If the run has such a strategy. Its folder is left as it was.
    """
    launcher = run.trainer.strategy.launcher
    if launcher is None or launcher.is_interactive_compatible:
        return
    if run.lock is not None:
        run.lock.undo()
    raise UserError(
        "this strategy would start the whole program once for each process; train with alasca-train, or with one process, "
        "or with trainer.strategy=ddp_fork"
    )


@contextlib.contextmanager
def _as_user_errors() -> Iterator[None]:
    """Raise what the user can put right as one kind of error, with the message of the command."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        text = mistake(error)
        if text is None:
            raise
        raise UserError(text) from error


@contextlib.contextmanager
def _undisturbed_logging() -> Iterator[None]:
    """Show the log if the caller has no handlers, and give back levels and handlers as they were."""
    ours = logging.getLogger("alasca_pl")
    levels = {name: logging.getLogger(name).level for name in (*CHATTY, ours.name)}
    factory = logging.getLogRecordFactory()
    own = None
    if not logging.getLogger().handlers and not ours.handlers:
        own = logging.StreamHandler(sys.stdout)
        own.setFormatter(_FORMAT)
        ours.addHandler(own)
    if ours.level == logging.NOTSET:
        ours.setLevel(logging.INFO)
    logging.setLogRecordFactory(PrintableRecord)
    try:
        yield
    finally:
        logging.setLogRecordFactory(factory)
        if own is not None:
            ours.removeHandler(own)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
