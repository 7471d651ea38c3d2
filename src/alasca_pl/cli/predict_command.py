"""``alasca-predict``."""

import csv
import io
import sys
from pathlib import Path

from alasca_pl.cli.common import checkpoint_name, find_own_parts, flag, one_message, parse_words, quieten, words_or_help
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import check_new, write_atomically
from alasca_pl.core.terminal import give, say

_HELP = """\
alasca-predict: classify images with a run.

  alasca-predict RUN DIR|FILE... [OPTION=VALUE...]     print path,label,probability as csv

Options:
  output=FILE               write the csv, which must not exist, instead of printing it
  rule=main                 main, ensemble_all (all heads), main_last; by default the run's own
  checkpoint=last           last or best
  device=auto               auto, cpu, cuda
  workers=0                 processes that decode images; 0 decodes in this one
  data.on_corrupt=skip      leave out images that cannot be read; by default they are counted and named, and nothing is classified
  trust=true                allow classes from outside this package in the run's config

Examples:
  alasca-predict runs/first new_images
  alasca-predict runs/first a.jpg b.jpg checkpoint=best output=labels.csv"""

_OPTIONS = ("output", "rule", "checkpoint", "device", "workers", "data.on_corrupt", "trust")


def predict() -> None:
    """``alasca-predict``: classify images with a run."""
    arguments = words_or_help(_HELP)
    if not arguments:
        return
    with one_message():
        find_own_parts()
        quieten()
        places, options = parse_words(arguments, _OPTIONS, "alasca-predict")
        if len(places) < 2:
            raise UserError("alasca-predict takes the folder of a run and images; see alasca-predict --help")
        output = Path(options["output"]) if "output" in options else None
        if output is not None:
            check_new(output)
        workers = options.get("workers", "0")
        if not workers.isdecimal():
            raise UserError(f"workers={workers} is no whole number")
        trust = flag("trust", options.get("trust", "false"))
        paths = _checked(places, options)
        text = _predicted(places[0], paths, options, int(workers), trust)
        if output is None:
            give(text)
        else:
            write_atomically(output, lambda file: file.write(text.encode("utf-8", "surrogateescape")))
            say(output)


def _checked(places: list[str], options: dict[str, str]) -> list[Path]:
    """The images, after checking all that needs no torch."""
    from alasca_pl.core.run_folder import find_run
    from alasca_pl.runs.early import check_device, check_rule
    from alasca_pl.runs.image_files import find_images

    on_corrupt = options.get("data.on_corrupt", "error")
    if on_corrupt not in ("error", "skip"):
        raise UserError(f"unknown data.on_corrupt={on_corrupt}; choose one of error, skip")
    check_device(options.get("device", "auto"))
    check_rule(options.get("rule"))
    find_run(places[0], checkpoint_name(options))
    return find_images([Path(place) for place in places[1:]])


def _predicted(place: str, paths: list[Path], options: dict[str, str], workers: int, trust: bool) -> str:
    from alasca_pl.runs.load import load_run
    from alasca_pl.runs.predict import predict_images, readable

    run = load_run(place, checkpoint_name(options), trust)
    paths, wrong = readable(paths, options.get("data.on_corrupt", "error"))
    if wrong:
        say(f"left out {len(wrong)} images that cannot be read:", *wrong, file=sys.stderr)
    found = predict_images(
        run, paths, device=options.get("device", "auto"), num_workers=workers, rule=options.get("rule")
    )
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label", "probability"))
    writer.writerows(
        (str(path), name, f"{value:.4f}") for path, name, value in zip(paths, found.names, found.probability)
    )
    return text.getvalue()
