"""``alasca-measure``."""

from collections.abc import Sequence
from typing import Any

from alasca_pl.cli.common import checkpoint_name, find_own_parts, flag, one_message, places_and_options, words_or_help
from alasca_pl.core.errors import UserError
from alasca_pl.core.terminal import say

_HELP = """\
alasca-measure: norms of representations and of their Jacobians, by sample, at checkpoints of finished runs.

  alasca-measure PLACE... [OPTION=VALUE...]    write RUN/measured/WHAT.json for each run; alasca-report draws them

PLACE is a folder of a run or one that holds some, the name of a sweep, or a pattern with *. What is measured already with the
same settings is left alone; nothing is overwritten. alasca-sweep export takes measurements with the records.

Options:
  what=jacobian             jacobian, norms, or both as jacobian,norms
  checkpoint=last           last, best
  split=train               train, val, test, or a further test split; images without augmentation
  of=features               features (the vectors before the main head), logits
  samples=1000              size of a random subset, the same in all runs; by default 1,000 for Jacobians, all for norms
  probes=null               null: exact, one backward pass per output; a number: Hutchinson's estimator with as many
  batch_size=100            images at once
  device=auto               auto, cpu, cuda
  name=WHAT                 name of the file in RUN/measured
  data.root=, data.path=    where the data is now, if it has moved since the run; also other values of data
  trust=false               true: allow classes from outside this package in the checkpoint's config

Examples:
  alasca-measure sweeps/figure1 what=jacobian,norms
  alasca-measure RUN split=test name=jacobian_test probes=20"""

_OPTIONS = ("what", "checkpoint", "split", "of", "samples", "probes", "batch_size", "device", "name", "trust")


def measure() -> None:
    """``alasca-measure``: norms of representations and Jacobians at checkpoints."""
    arguments = words_or_help(_HELP)
    if not arguments:
        return
    find_own_parts()
    with one_message():
        _measure(arguments)


def _measure(arguments: Sequence[str]) -> None:
    source = {
        name.removeprefix("data."): value
        for name, equals, value in (item.partition("=") for item in arguments)
        if equals and name.startswith("data.")
    }
    rest = [item for item in arguments if not item.startswith("data.")]
    places, options = places_and_options(rest, _OPTIONS, "alasca-measure")
    trust, name = flag("trust", options.get("trust", "false")), options.get("name")
    whats = options.get("what", "jacobian").split(",")
    if name is not None and (len(whats) > 1 or not name.replace("_", "").replace("-", "").isalnum()):
        raise UserError(f"name={name} is for one measurement, and has letters, digits, '_' and '-' only")
    checkpoint_name(options)
    settings: dict[str, Any] = {key: options[key] for key in ("checkpoint", "split", "of") if key in options}
    settings |= {key: _number(key, options[key]) for key in ("samples", "probes", "batch_size") if key in options}
    # Imported late, so that help answers at once.
    from alasca_pl.runs.measure_request import Request, check_requests, checkpoints_in

    device = options.get("device", "auto")
    requests = [Request(what=what, **settings) for what in whats]
    files, lacking = checkpoints_in(places, requests[0].checkpoint)
    check_requests(files, requests, source, device, name)
    for run in lacking:
        say(f"{run}: has no checkpoint {requests[0].checkpoint}.ckpt")
    from alasca_pl.runs.measure import measure_checkpoints

    for path, outcome in measure_checkpoints(files, requests, source, device, trust, name):
        say(f"{path}: {outcome}", flush=True)


def _number(name: str, text: str) -> int | None:
    if text == "null":
        return None
    try:
        return int(text)
    except ValueError as error:
        raise UserError(f"{name}={text} is no whole number") from error
