"""A run as one file that needs nothing of this package: pixels in, probabilities out."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from alasca_pl.core.errors import UserError
from alasca_pl.core.files import write_atomically
from alasca_pl.runs.classifier import Classifier
from alasca_pl.runs.early import check_export

if TYPE_CHECKING:
    from alasca_pl.runs.load import LoadedRun

# Largest difference of a probability that is taken for rounding.
TOLERANCE = 1e-4
# Name of the description within a file of torch's.
DESCRIPTION = "alasca_pl.json"
INPUT, OUTPUT = "image", "probability"

Check = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Exported:
    """A file that was written.

    Attributes:
        path: The file.
        about: What it holds besides the network, see ``export_run``.
        difference: Largest difference of a probability from that of the run, over random images.
    """

    path: Path
    about: dict[str, Any]
    difference: float


def export_run(
    run: "LoadedRun", form: str, output: str | Path | None = None, rule: str | None = None, tolerance: float = TOLERANCE
) -> Exported:
    """Write a run as one file, after comparing what it gives with the run.

    The file takes pixels 0 to 255 as uint8 (n, C, H, W) with any n, in RGB or grey, and gives probabilities, float32 (n, K).
    Normalisation, the mean over heads and networks, and softmax are inside; decoding and resizing are not. It describes
    itself: ``class_names``, ``image_shape`` (C, H, W), ``rule``, ``average``, ``networks`` (their number), ``input``,
    ``resize``, ``epoch``, and ``grey_range`` if 16-bit images were scaled from another range than their whole one.

    ``onnx`` keeps the description as ``metadata_props``, all values but text as JSON. ``torch`` is a program of
    ``torch.export``, which ``torch.export.load(FILE, extra_files=...)`` opens without this package; the description is the
    extra file ``alasca_pl.json``.

    Args:
        run: The run.
        form: ``onnx`` or ``torch``.
        output: The file, which must not exist; by default ``model.onnx`` or ``model.pt2`` in the run's folder.
        rule: See ``LoadedRun.classifier``.
        tolerance: Largest difference of a probability from that of the run.

    Raises:
        UserError: If an argument is wrong, a library is missing, the network cannot be exported, or the file would give other
            probabilities than the run.

    Example:
        With an opened run on 8 x 8 digits as ``run``:

        >>> import tempfile, torch
        >>> file = export_run(run, "torch", tempfile.mkdtemp() + "/model.pt2").path
        >>> program = torch.export.load(file)
        >>> program.module()(torch.zeros(5, 1, 8, 8, dtype=torch.uint8)).shape
        torch.Size([5, 10])
    """
    path = check_export(run.folder, form, output, rule)
    make = {"onnx": _onnx, "torch": _torch}[form]
    classifier = run.classifier(rule).cpu()
    about = _about(run, classifier)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, *run.facts.image_shape), generator=generator, dtype=torch.uint8)
    try:
        with _quiet():
            # Of two images: torch would take one image for a constant.
            content, check = make(classifier, images[:2], about)
            difference = max(_difference(classifier, part, check) for part in (images[:1], images[1:]))
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"this network cannot be exported as {form}: {reason}") from error
    if not difference <= tolerance:
        raise UserError(
            f"as {form} the network's probabilities differ from the run's by {difference:.1e}, more than {tolerance:.1e}; "
            "nothing was written"
        )
    write_atomically(path, lambda file: file.write(content))
    return Exported(path, about, difference)


def _about(run: "LoadedRun", classifier: Classifier) -> dict[str, Any]:
    channels, height, width = run.facts.image_shape
    colours = {1: "grey", 3: "RGB"}.get(channels, f"{channels} channels")
    grey = run.facts.grey_range
    scaled = {"grey_range": f"of 16-bit images, grey values {grey[0]} to {grey[1]} become 0 to 255"} if grey else {}
    return {
        **scaled,
        "class_names": list(run.facts.class_names),
        "image_shape": list(run.facts.image_shape),
        "input": f"{INPUT}: pixels 0 to 255, uint8 (n, {channels}, {height}, {width}), {colours}",
        "output": f"{OUTPUT}: of each class, float32 (n, {run.facts.num_classes})",
        "resize": "scaled to cover height and width, then cropped around the centre",
        "rule": classifier.rule,
        "average": classifier.average,
        "networks": len(classifier.networks),
        "epoch": run.epoch,
    }


def _torch(classifier: Classifier, example: torch.Tensor, about: Mapping[str, Any]) -> tuple[bytes, Check]:
    program = torch.export.export(classifier, (example,), dynamic_shapes=_any_number())
    file = io.BytesIO()
    torch.export.save(program, file, extra_files={DESCRIPTION: json.dumps(about, ensure_ascii=False)})
    content = file.getvalue()
    module = torch.export.load(io.BytesIO(content)).module()
    return content, lambda images: module(torch.from_numpy(images)).numpy()


def _onnx(classifier: Classifier, example: torch.Tensor, about: Mapping[str, Any]) -> tuple[bytes, Check]:
    import onnx
    import onnxruntime

    program = torch.onnx.export(
        classifier,
        (example,),
        dynamo=True,
        dynamic_shapes=_any_number(),
        input_names=[INPUT],
        output_names=[OUTPUT],
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(
        model,
        {
            key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for key, value in about.items()
        },
    )
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda images: session.run([OUTPUT], {INPUT: images})[0]


def _any_number() -> tuple[dict[int, Any]]:
    return ({0: torch.export.Dim("n")},)


def _difference(classifier: Classifier, images: torch.Tensor, check: Check) -> float:
    return float(np.abs(check(images.numpy()) - classifier(images).numpy()).max())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what torch and onnxscript say of their own work."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [each.level for each in loggers]
    try:
        for each in loggers:
            each.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for each, level in zip(loggers, levels):
            each.setLevel(level)
