"""``alasca-bench``."""

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from alasca_pl.cli import CONF_DIR
from alasca_pl.cli.arguments import ordered, quote_paths
from alasca_pl.cli.audit_training import own_options
from alasca_pl.cli.common import find_own_parts, one_message, plain_config, quieten, words_or_help
from alasca_pl.cli.composition import NO_FOLDER, compose_config, given_overrides
from alasca_pl.cli.refusals import composed, in_one_line
from alasca_pl.cli.tables import show
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import check_empty, write_atomically, write_json
from alasca_pl.core.overrides import option_name
from alasca_pl.core.terminal import say

_HELP = """\
alasca-bench: what training costs on this machine; nothing is kept but the figures.

  alasca-bench what=WHAT[,WHAT...] [OPTION=VALUE...] [OPTIONS OF alasca-train]

What:
  step        one training step: the bare network, cross-entropy, with ALASCA, with its table and loss but no heads
  heads       one training step with each kind and position of auxiliary classifiers, beside the paper's Table 3
  methods     one training step of each method, in the middle of its schedule
  epoch       one epoch with evaluation, logging and checkpoint
  peers       one epoch, and the same as a user would write it: torchvision's transforms and a DataLoader
  loading     the batches of one epoch without training
  startup     from the start of a process to the end of its first step
  all         all of these

Options:
  rounds=3            rounds that count; all cases take turns, A B ... A B ..., after a first round that warms up
  steps=8             steps of each case in a round
  methods=ce,elr      some methods; all by default
  workers=2           processes of a DataLoader
  output=DIR          a new folder for bench.json and bench.png; by default nothing is written

Times are wall and CPU time; ratios are of CPU time, because a machine may be shared, and of wall time on a GPU; ± is the largest
deviation from the median. `floor` is the bare network in its faster layout: forward, backward and optimiser on images that lie
ready, in an epoch also the forward passes of evaluation. MB are the state, and what the forward pass keeps for the backward
pass; on a GPU the allocator's peak. By default the data are random images; any option of alasca-train holds for all cases.

Examples:
  alasca-bench what=step,epoch model.backbone.width=32
  alasca-bench what=heads model=resnet34_cifar trainer=gpu trainer.precision=bf16-mixed output=bench/heads
  alasca-bench what=peers data=cifar10 threads=1"""

_OPTIONS = ("what", "rounds", "steps", "methods", "workers", "output")
_OWN: dict[str, str] = {}


@contextlib.contextmanager
def _errors_only() -> Iterator[None]:
    """What a run says of itself is said for each case otherwise."""
    logger = logging.getLogger("alasca_pl")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def bench() -> None:
    """``alasca-bench``: time, memory and operations of all variants on this machine."""
    words = words_or_help(_HELP)
    if not words:
        return
    with one_message():
        rest, own = own_options(words, _OPTIONS, "alasca-bench")
        _OWN.clear()
        _OWN.update(own)
        if not any(option_name(word) == "data" for word in rest):
            rest.append("data=synthetic")
        sys.argv[1:] = [*ordered(quote_paths(rest)), "hydra/job_logging=none", NO_FOLDER]
    find_own_parts()
    with one_message(), in_one_line(sys.argv):
        _bench()


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train")
def _bench(cfg: DictConfig) -> None:
    with one_message():
        composed()
        # Imported late, so that help and wrong options are answered at once.
        from alasca_pl.bench.output import as_json, picture, tables
        from alasca_pl.bench.suite import WHATS, measure
        from alasca_pl.runs import environment
        from alasca_pl.runs.early import check_devices, check_early

        whats = _chosen("what", _OWN.get("what", "step"), WHATS)
        known = sorted(file.stem for file in (CONF_DIR / "method").glob("*.yaml"))
        methods = _chosen("methods", _OWN.get("methods", "all"), known)
        steps, rounds, workers = (
            _number(name, default) for name, default in (("steps", 8), ("rounds", 3), ("workers", 2))
        )
        folder = Path(_OWN["output"]).expanduser() if "output" in _OWN else None
        if folder is not None:
            check_empty(folder)
        name, words = str(HydraConfig.get().job.config_name), given_overrides("task")
        config = plain_config(compose_config(name, words).config)
        check_early(config)
        check_devices(config)
        on_gpu = config["trainer"]["accelerator"] != "cpu"
        quieten()
        with _errors_only():
            measured = measure(
                whats,
                methods,
                words,
                lambda overrides: plain_config(compose_config(name, overrides).config),
                steps,
                rounds,
                workers,
                lambda text: say(text, file=sys.stderr, flush=True),
            )
        hardware = environment.hardware()
        for table in tables(measured, on_gpu):
            show(table, width=160)
        say(
            f"{hardware['cpu']}, {hardware['cpus']} cores, GPUs: {', '.join(hardware['gpus']) or 'none'}; "
            f"threads: {measured.threads}; precision: {measured.precision}; batch {config['data']['batch_size']}"
        )
        if measured.remark:
            say(measured.remark)
        if folder is not None:
            about = {"overrides": words, "hardware": hardware, "versions": environment.versions(), "rounds": rounds}
            content = picture(measured, on_gpu)
            write_json(folder / "bench.json", as_json(measured, {**about, "steps": steps}))
            write_atomically(folder / "bench.png", lambda file: file.write(content))
            say(f"written: {folder / 'bench.json'}, {folder / 'bench.png'}")


def _chosen(name: str, text: str, known: Sequence[str]) -> list[str]:
    if text == "all":
        return list(known)
    words = list(dict.fromkeys(text.split(",")))
    unknown = [word for word in words if word not in known]
    if unknown:
        raise UserError(f"unknown {name}={unknown[0]}; choose from all, {', '.join(known)}")
    return words


def _number(name: str, default: int) -> int:
    text = _OWN.get(name, str(default))
    if not text.isdecimal() or (int(text) < 1 and name != "workers"):
        raise UserError(f"{name}={text} is no whole number of at least {0 if name == 'workers' else 1}")
    return int(text)
