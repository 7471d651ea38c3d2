"""Audit the labels of a run: which are likely wrong, how many, and files to go on with."""

import logging
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from alasca_pl.audit import tables
from alasca_pl.audit.audit import FILE, PAGE, Audit, LabelledSplit
from alasca_pl.audit.count import estimate, total
from alasca_pl.audit.page import Thumbnail, render_page
from alasca_pl.audit.planted import CAUTION, Recall, recall_of_planted
from alasca_pl.audit.request import check_request
from alasca_pl.audit.sample import draw_sample
from alasca_pl.audit.scores import DEFAULT, score_names, suspicion
from alasca_pl.audit.second import SecondScores
from alasca_pl.audit.suspects import HEADS, find_suspects
from alasca_pl.core.errors import Unchained, UserError
from alasca_pl.core.evidence import Evidence
from alasca_pl.core.files import write_atomically
from alasca_pl.core.progress import tracked
from alasca_pl.core.run_folder import RunFolder
from alasca_pl.core.sample_file import SampleFile
from alasca_pl.data.datamodule import NoisyDataModule
from alasca_pl.data.decode import decode_all
from alasca_pl.data.images import PathImages
from alasca_pl.data.samples import ImageArrays, ImageFiles
from alasca_pl.data.thumbnails import thumbnails
from alasca_pl.noise.labels import NoisyLabels
from alasca_pl.runs.load import LoadedRun, open_checkpoint
from alasca_pl.runs.resume import needs_trust
from alasca_pl.runs.retrain import retrain_command
from alasca_pl.runs.second import second_scores
from alasca_pl.runs.stored import data_of, device_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """An audit and what was written.

    Attributes:
        audit: The audit.
        files: The files.
        recall: Planted errors found at each budget; empty if none were planted.
        commands: Commands that train on the written labels as the run was trained, by file.
        apply: Command that applies decisions.
    """

    audit: Audit
    files: list[Path]
    recall: list[Recall]
    commands: dict[str, str]
    apply: str


def audit_run(
    folder: str | Path,
    output: str | Path | None = None,
    score: str = DEFAULT,
    shown: int = 10_000,
    sample: int = 200,
    source: dict[str, Any] | None = None,
    device: str = "auto",
    trust: bool = False,
    second: Sequence[str] = (),
    folds: int = 0,
    say: Callable[[str], None] = log.info,
) -> Result:
    """Audit the labels of a finished run.

    Labels of the training split are scored by what training showed about them, those of the validation split by the final
    networks. No clean label is used.

    Args:
        folder: The run's folder.
        output: A folder that does not exist or is empty; by default ``audit`` in the run's.
        score: Name of the score, see ``audit.scores``.
        shown: Number of suspects on the page.
        sample: Number of labels drawn at random for review.
        source: See ``data_of``.
        device: See ``device_of``.
        trust: See ``load_run``.
        second: Further scores as columns: ``cleanlab``, ``fine``, or other names of ``audit.scores``.
        folds: See ``second_scores``.
        say: Told what takes long.

    Raises:
        UserError: If the run has no evidence, its data have changed, or the output holds something.

    Example:
        With the folder of a finished run on 8 x 8 digits as ``folder``:

        >>> import tempfile
        >>> result = audit_run(folder, output=tempfile.mkdtemp(), shown=5, sample=10)
        >>> sorted(file.name for file in result.files)[:3]
        ['audit.html', 'audit.npz', 'clean.npz']
    """
    with Unchained():
        place = device_of(device)
        request = check_request(folder, output, score, second, folds)
        run_folder, files = request.folder, {"train": request.samples}
        run = open_checkpoint(run_folder.last, trust)
        data = data_of(run, source)
        _check_samples(files["train"], data.noisy_labels, run_folder)
        files["train"].evidence[HEADS] = _predictions(run, data, "train", place, None)
        if data.val_labels is not None:
            files["val"] = _validation_file(run, data, data.val_labels, place)
        audit = _judge(files, data, run_folder, score, sample)
        found = (
            second_scores(run_folder, request.tools, folds, source, place, trust, say)
            if request.tools
            else SecondScores()
        )
        audit = _with_second(audit, found.joined(_own_scores(files, request.own)))
        recall = (
            [] if audit.planted is None else recall_of_planted(audit.planted, len(audit.suspects) + len(audit.planted))
        )
        more = _needed_again(run, audit, source or {}, trust)
        written, commands = _write(audit, data, request.target, shown, _remarks(recall, data), more)
        apply = shlex.join(["alasca-audit", "apply", "decisions.csv", str(request.target), *more])
        return Result(audit, written, recall, commands, apply)


def _needed_again(run: LoadedRun, audit: Audit, source: Mapping[str, Any], trust: bool) -> list[str]:
    """Options of an audit that applying decisions needs, too: where data without names of files are, and trust."""
    if audit.root is not None:
        return []
    foreign = trust and (run.record is None or needs_trust(run.record.overrides, run.record.config_dirs))
    return [*(f"data.{name}={value}" for name, value in source.items()), *(["trust=true"] if foreign else [])]


def _check_samples(file: SampleFile, labels: NoisyLabels, folder: RunFolder) -> None:
    if not (np.array_equal(file.label, labels.label) and np.array_equal(file.index, labels.index)):
        raise UserError(f"{folder.samples} is for other labels than those of the run; it has been replaced or changed")


@torch.no_grad()
def _predictions(
    run: LoadedRun, data: NoisyDataModule, split: str, device: torch.device, evidence: Evidence | None
) -> npt.NDArray[np.int64]:
    """Classes that all heads of all networks predict, (H, N); fills the evidence of the main heads."""
    module = run.module.to(device)
    found: torch.Tensor | None = None
    for batch in tracked(data.eval_batches(split), f"predicting the {split} split"):
        outputs = [network(batch.image.to(device)) for network in module.method.networks]
        heads = torch.stack([logits.argmax(1) for one in outputs for logits in (one.logits, *one.aux_logits)]).cpu()
        index = batch.index.cpu()
        if found is None:
            found = torch.zeros(len(heads), data.sizes[split], dtype=torch.int64)
        found[:, index] = heads
        if evidence is not None:
            evidence.update(torch.stack([one.logits for one in outputs]).cpu(), batch.label.cpu(), index)
    assert found is not None
    return found.numpy()


def _validation_file(run: LoadedRun, data: NoisyDataModule, labels: NoisyLabels, device: torch.device) -> SampleFile:
    evidence = Evidence(len(labels.label), labels.num_classes, len(run.module.method.networks))
    heads = _predictions(run, data, "val", device, evidence)
    means = evidence.means()
    visits = means.pop("visits")
    return SampleFile(labels.label, labels.index, visits, data.image_names("val"), means | {HEADS: heads})


def _judge(files: dict[str, SampleFile], data: NoisyDataModule, folder: RunFolder, score: str, sample: int) -> Audit:
    num_classes = data.facts.num_classes
    suspects = find_suspects(files, num_classes, score)
    planted_from = data.noisy_labels.planted_from
    places, counts = None, {}
    is_planted = np.zeros(len(suspects), dtype=bool)
    if planted_from is not None:
        is_planted = (suspects.split == "train") & (
            planted_from[np.where(suspects.split == "train", suspects.row, 0)] >= 0
        )
        places = np.flatnonzero(is_planted)
    for name, file in files.items():
        own = np.flatnonzero(suspects.split == name)
        own = own[np.argsort(suspects.row[own])]
        planted = is_planted[own] if name == "train" and places is not None else None
        counts[name] = estimate(file, num_classes, planted, suspects.score[own])
    kept = suspects.take(np.flatnonzero(~is_planted))
    return Audit(
        splits=_splits(data),
        class_names=data.facts.class_names,
        suspects=kept,
        counts={**counts, "all": total(counts.values())},
        sample=draw_sample(kept.probability, sample),
        planted=places,
        run=str(folder.path.absolute()),
        root=_root(data),
        score=score,
    )


def _own_scores(files: dict[str, SampleFile], names: Sequence[str]) -> SecondScores:
    return SecondScores(
        {
            split: {name: suspicion(file, name) for name in names if name in score_names(file)}
            for split, file in files.items()
        }
    )


def _with_second(audit: Audit, second: SecondScores) -> Audit:
    """Put second scores beside the suspects."""
    columns = {name: np.full(len(audit.suspects), np.nan) for scores in second.scores.values() for name in scores}
    for split, scores in second.scores.items():
        of_split = audit.suspects.split == split
        for name, values in scores.items():
            columns[name][of_split] = values[audit.suspects.row[of_split]]
    counts: dict[int, int] = {}
    for by_folds in second.counts.values():
        for number, count in by_folds.items():
            counts[number] = counts.get(number, 0) + count
    return replace(audit, second=columns, second_counts=counts)


def _splits(data: NoisyDataModule) -> dict[str, LabelledSplit]:
    prepared = data.prepared
    splits = {}
    for name, label in prepared.labels.items():
        labels = {"train": prepared.noisy_labels, "val": prepared.val_labels}.get(name)
        index = np.arange(len(label)) if labels is None else labels.index
        if name == "train" and prepared.noisy_labels.planted_from is not None:
            # People and files get the labels as they were given.
            before = prepared.noisy_labels.planted_from
            label = np.where(before >= 0, before, label)
        splits[name] = LabelledSplit(label, index, data.image_names(name))
    return splits


def _root(data: NoisyDataModule) -> str | None:
    """Folder that holds the images of all splits, or None if they are not files below one folder."""
    roots = {
        images.root if isinstance(images, PathImages) else None
        for images in (data.prepared.images_of(split) for split in data.prepared.splits)
    }
    return roots.pop() if len(roots) == 1 else None


def _remarks(recall: Sequence[Recall], data: NoisyDataModule) -> list[str]:
    if not recall:
        return []
    told = "; ".join(f"{each.found} of {each.planted} in the first {each.budget:,}" for each in recall)
    return [f"planted errors found: {told}; {CAUTION}"]


def _write(
    audit: Audit, data: NoisyDataModule, target: Path, shown: int, remarks: Sequence[str], more: Sequence[str]
) -> tuple[list[Path], dict[str, str]]:
    prepared = data.prepared

    def pictures(split: str, rows: Sequence[int]) -> list[Thumbnail]:
        made = thumbnails(prepared.splits[split], rows, prepared.channels)
        return [Thumbnail(*each) for each in made]

    texts = {"suspects.csv": tables.suspects_table(audit), "pairs.csv": tables.pairs_table(audit)}
    page = render_page(audit, pictures, shown, remarks, str(target.absolute()), more)
    for name, text in texts.items():
        tables.write_text(target / name, text)
    tables.write_text(target / PAGE, page)
    files = [*(target / name for name in (*texts, PAGE))]
    commands = {}
    for name, labels in (("relabelled", tables.relabelled(audit)), ("clean", tables.clean(audit))):
        file, command = write_labels(audit, data, labels, target / name)
        files.append(file)
        commands[file.name] = command
    # The last one: where it is, the audit is complete.
    audit.save(target / FILE)
    return [*files, target / FILE], commands


def write_labels(
    audit: Audit, data: NoisyDataModule | None, labels: dict[str, npt.NDArray[np.int64]], path: Path
) -> tuple[Path, str]:
    """Write labels in a form that can be trained on, see ``tables.label_file``.

    Args:
        audit: The audit.
        data: The run's data; needed unless the images are files.
        labels: Labels of each split, ``tables.DROPPED`` where an image is left out.
        path: The file without suffix, which must not exist.

    Returns:
        The file and the command that trains on it.
    """
    file = tables.label_file(audit, path)
    if audit.root is not None:
        tables.write_text(file, tables.label_table(audit.splits, labels, audit.class_names))
        return file, retrain_command(audit.run, "csv", file, audit.root)
    assert data is not None
    arrays: dict[str, Any] = {"class_names": np.array(audit.class_names, dtype=np.str_)}
    for name in tables.SPLITS:
        if name not in labels:
            continue
        kept = np.flatnonzero(labels[name] != tables.DROPPED)
        arrays |= {f"{name}_images": _pixels(data, name, kept), f"{name}_labels": labels[name][kept]}
    write_atomically(file, lambda stream: np.savez_compressed(stream, **arrays))
    return file, retrain_command(audit.run, "npz", file, None)


def _pixels(data: NoisyDataModule, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    prepared = data.prepared
    split = prepared.splits[name].take(rows)
    if isinstance(split, ImageArrays):
        return split.images
    assert isinstance(split, ImageFiles)
    return decode_all(split, prepared.size, prepared.channels, prepared.num_workers).images


def clean_labels(data: NoisyDataModule) -> dict[str, npt.NDArray[np.int64]]:
    """Clean labels by split, of the splits where they are known. For measuring only."""
    splits = {"train": data.noisy_labels, "val": data.val_labels}
    return {
        name: labels.clean_label
        for name, labels in splits.items()
        if labels is not None and labels.clean_label is not None
    }


def open_audited_data(audit: Audit, source: dict[str, Any] | None = None, trust: bool = False) -> NoisyDataModule:
    """Read the data of the run that an audit is of."""
    folder = RunFolder(audit.run)
    return data_of(open_checkpoint(folder.last, trust), source)
