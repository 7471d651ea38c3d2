"""``alasca-predict``."""

import csv
import io
import sys
from pathlib import Path

from alasca_pl.cli.common import checkpoint_name, find_own_parts, flag, one_message, parse_words, quieten, words_or_help
from alasca_pl.core.errors import UserError
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
        if output is not None and output.exists():
            raise UserError(f"{output} exists already; choose another output")
        workers = options.get("workers", "0")
        if not workers.isdecimal():
            raise UserError(f"workers={workers} is no whole number")
        trust = flag("trust", options.get("trust", "false"))
        text = _predicted(places, options, int(workers), trust)
        if output is None:
            give(text)
        else:
            from alasca_pl.core.files import write_atomically

            write_atomically(output, lambda file: file.write(text.encode("utf-8", "surrogateescape")))
            say(output)


def _predicted(places: list[str], options: dict[str, str], workers: int, trust: bool) -> str:
    from alasca_pl.runs.load import load_run
    from alasca_pl.runs.predict import find_images, predict_images, readable

    paths = find_images([Path(place) for place in places[1:]])
    checkpoint = checkpoint_name(options)
    run = load_run(places[0], checkpoint, trust)
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
