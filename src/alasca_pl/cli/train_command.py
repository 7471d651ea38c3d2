"""``alasca-train``."""

import logging
import os
import shlex
import subprocess
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import CompactHydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.about import about_run, recompose
from alasca_pl.cli.arguments import (
    epoch_arguments,
    ordered,
    quote_paths,
    resume_arguments,
    take_flag,
    unquoted,
    without_launchers,
)
from alasca_pl.cli.common import config_dirs, find_own_parts, is_compiled, one_message, plain_config, quieten
from alasca_pl.cli.comparison import uses_alasca, without_alasca
from alasca_pl.cli.composition import NO_FOLDER, compose_command, given_overrides
from alasca_pl.cli.doctor_command import doctor
from alasca_pl.cli.explain import explain
from alasca_pl.cli.places import OWN_DATA
from alasca_pl.cli.refusals import in_one_line
from alasca_pl.cli.remarks import remarks_on
from alasca_pl.cli.run_log import RunLog
from alasca_pl.cli.sweep_arguments import options_of_parts, sweep_arguments
from alasca_pl.cli.tables import show
from alasca_pl.core import deferred
from alasca_pl.core.errors import UserError
from alasca_pl.core.overrides import option_name, passed_on, quoted
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.terminal import say, say_text
from alasca_pl.runs.early import check_devices, check_early, check_free, check_places
from alasca_pl.sweeps.process import job_environment

log = logging.getLogger(__name__)


# Arguments with which Hydra answers a question instead of calling the command.
_QUESTIONS = ("-h", "--help", "--hydra-help", "--version", "-c", "--cfg", "-i", "--info", "-sc", "--shell-completion")


def train() -> None:
    """``alasca-train``: train one run, or with ``-m`` one run per combination of values.

    With ``--explain``, also written ``explain=true``, nothing is trained; each value of the config is printed with the file or
    option that set it.
    ``alasca-train doctor`` tells what this machine has and what such a run lacks.
    """
    if sys.argv[1:2] == ["doctor"]:
        doctor()
        return
    with one_message():
        explains, given = take_flag(without_launchers(sys.argv[1:]), "explain")
        sys.argv[1:] = resume_arguments(ordered(quote_paths(epoch_arguments(sweep_arguments(given)))))
        multirun = any(item in ("-m", "--multirun") for item in sys.argv)
        if explains and multirun:
            raise UserError("--explain takes one combination of values at a time; leave out -m")
        if multirun:
            sys.argv[1:] = options_of_parts(sys.argv[1:])
    find_own_parts()
    if explains:
        # Nothing is written: no folder of a run, no log.
        sys.argv += ["hydra/job_logging=none", NO_FOLDER]
        with one_message(), in_one_line(sys.argv):
            _explain()
        return
    if "TORCHELASTIC_RUN_ID" in os.environ and not any(option_name(item) == "hydra.run.dir" for item in sys.argv):
        # Each rank would put its own time into the folder's name.
        sys.argv.append(f"hydra.run.dir=runs/{os.environ['TORCHELASTIC_RUN_ID']}")
    if not multirun and not any(item.split("=")[0] in _QUESTIONS for item in sys.argv[1:]):
        sys.argv.append(NO_FOLDER)
    with one_message(), in_one_line(sys.argv):
        _train()


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train")
def _train(cfg: DictConfig) -> float | None:
    hydra_config = HydraConfig.get()
    if hydra_config.mode == RunMode.MULTIRUN:
        return _relaunch()
    with one_message(), RunLog() as run_log:
        composed = compose_command()
        config, choices = plain_config(composed.config), composed.choices
        folder = Path(composed.run_dir).expanduser().absolute()
        check_early(config)
        check_devices(config)
        check_places(config)
        overrides = given_overrides("task")
        names = [option_name(item) for item in given_overrides("hydra")]
        # Besides the option that keeps Hydra from making it, nobody has chosen the folder.
        own_folder = names.count("hydra.run.dir") > 1
        if own_folder and os.environ.get("LOCAL_RANK", "0") == "0":
            check_free(RunFolder(folder), Path(config["ckpt_path"]) if config["ckpt_path"] else None)
        if os.environ.get("LOCAL_RANK", "0") == "0":
            slow = "" if is_compiled("torch") else ", which may take a minute because it is not compiled yet"
            say(f"alasca-train: loading PyTorch{slow} ...", file=sys.stderr, flush=True)
        deferred.install()
        # Imported late, so that a wrong option is reported at once.
        from alasca_pl.report.summary import render
        from alasca_pl.runs import training_run as runs

        quieten()
        about = about_run(composed, config, overrides, config_dirs())
        run = runs.prepare(config, folder, about, recompose, is_new=not own_folder)
        # Processes that Lightning starts get these arguments, too, and must find the same folder.
        replay = ["replay=false"] if config["ckpt_path"] else []
        sys.argv[-1:] = [f"hydra.run.dir={quoted(str(run.folder.path))}", *replay]
        if run.trainer.is_global_zero:
            # Not before the run is accepted: the log may be that of a finished run.
            run_log.write_to(run.folder.log)
        for remark in [*composed.remarks, *remarks_on(config, choices)]:
            log.info("%s", remark)
        record = runs.train(run)
    if run.trainer.is_global_zero and record.metrics:
        compared = uses_alasca(config)
        words = map(unquoted, without_alasca(overrides, config, recompose)) if compared else ()
        show(render(record, shlex.join(["alasca-train", *config_dirs(), *words]) if compared else None))
        if record.noise.kind == "none" and choices.get("data") in OWN_DATA and run.folder.samples.is_file():
            trust = ["trust=true"] if runs.needs_trust(overrides, config_dirs()) else []
            audit = shlex.join(["alasca-audit", str(run.folder.path), *trust])
            say(f"which labels are likely wrong, on a page to decide: {audit}")
    return None


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train")
def _explain(cfg: DictConfig) -> None:
    with one_message():
        say_text(explain(compose_command()))


def _relaunch() -> float | None:
    """Run one job of a multirun as a single run in a process of its own; return its figure for a sweeper, if it has one.

    Random states, environment variables and process groups of one job would otherwise reach the next, and the ranks of a
    job would each replay the whole sweep.
    """
    config = HydraConfig.get()
    # -P: a file of the current folder must not take the place of a module of the same name.
    command = [sys.executable, "-P", "-m", "alasca_pl.cli", *config_dirs()]
    if config.job.config_name and config.job.config_name != "train":
        command += ["--config-name", config.job.config_name]
    command += passed_on(given_overrides("hydra"))
    command += [*given_overrides("task"), f"hydra.run.dir={quoted(config.runtime.output_dir)}"]
    code = subprocess.run(command, env=job_environment(threads=None, devices=None), check=False).returncode
    if code:
        # Hydra prints an error of this kind without a traceback.
        raise CompactHydraException(f"job {config.job.num} ended with status {code}; its own message stands above")
    # Imported late, because a single run needs neither. Hydra's own launchers do not say which figure.
    from alasca_pl.sweeps.folders import JobFolder
    from alasca_pl.sweeps.pool import Settings

    return JobFolder(Path(config.runtime.output_dir)).metric(Settings.metric, Settings.metric_of)
