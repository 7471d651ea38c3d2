"""``alasca-export``."""

import sys

from alasca_pl.cli.common import checkpoint_name, find_own_parts, flag, one_message, parse_words, quieten, words_or_help
from alasca_pl.core.errors import UserError
from alasca_pl.core.progress import on_terminal
from alasca_pl.core.terminal import say

_HELP = """\
alasca-export: write a run as one file that needs nothing of this package.

  alasca-export RUN onnx|torch [OPTION=VALUE...]

The file takes pixels 0 to 255 as uint8 (n, C, H, W), any n, in RGB or grey, and gives the probability of each class.
Normalisation and the mean over heads and networks are inside; decoding and resizing are not. Names of the classes and the size
of images are in the file. It is compared with the run before it is written.

Options:
  output=FILE               the file, which must not exist; by default model.onnx or model.pt2 in RUN
  rule=main                 main, ensemble_all (all heads), main_last; by default the run's own, as in alasca-predict
  checkpoint=last           last or best
  trust=true                allow classes from outside this package in the run's config

Examples:
  alasca-export runs/first onnx
  python -c "import onnxruntime; s = onnxruntime.InferenceSession('model.onnx'); print(s.get_modelmeta().custom_metadata_map)"
  alasca-export runs/first torch rule=ensemble_all output=birds.pt2
  python -c "import torch; print(torch.export.load('birds.pt2').module())" """

_OPTIONS = ("output", "rule", "checkpoint", "trust")


def export() -> None:
    """``alasca-export``: write a run as one file for other programs."""
    arguments = words_or_help(_HELP)
    if not arguments:
        return
    with one_message():
        find_own_parts()
        quieten()
        places, options = parse_words(arguments, _OPTIONS, "alasca-export")
        if len(places) != 2:
            raise UserError("alasca-export takes the folder of a run, and onnx or torch; see alasca-export --help")
        checkpoint, trust = checkpoint_name(options), flag("trust", options.get("trust", "false"))
        # Imported late, so that help answers at once.
        from alasca_pl.core.run_folder import find_run
        from alasca_pl.runs.early import check_export

        find_run(places[0], checkpoint)
        check_export(places[0], places[1], options.get("output"), options.get("rule"))
        from alasca_pl.runs.load import load_run

        run = load_run(places[0], checkpoint, trust)
        if on_terminal():
            say(f"exporting as {places[1]} ...", file=sys.stderr, flush=True)
        found = run.export(places[1], options.get("output"), options.get("rule"))
        about = found.about
        networks = f", mean of {about['networks']} networks" if about["networks"] > 1 else ""
        say(about["input"], f"{about['output']}, by rule {about['rule']}{networks}")
        say(f"largest difference from the run: {found.difference:.1e}")
        say(found.path)
