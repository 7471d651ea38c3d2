"""Noise files of ``alasca-noise``: draw noisy labels once for many runs, inspect them, compare them with data."""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from alasca_pl.core.errors import UserError
from alasca_pl.noise.from_file import FileNoise
from alasca_pl.noise.labels import NoisyLabels, check_clean_labels, same_data
from alasca_pl.report.matrix_plot import plot_matrix


def make_noise_file(config: dict[str, Any], output: Path, plot: Path | None, data_options: Sequence[str] = ()) -> Group:
    """Draw the labels that a run of this config would draw, and write them to one file.

    The file covers the training split and, unless the data set has its own, the validation split, so that a run with
    ``noise=from_file`` and the same split finds both.

    Args:
        config: Resolved config as plain containers.
        output: The file to write, which must not exist.
        plot: PNG file for the transition matrix, which must not exist, or None.
        data_options: Options of the command line that chose the data and its split, for the command that is suggested.

    Returns:
        Lines that describe the file.

    Raises:
        UserError: If a file exists, or the data cannot be used.
    """
    if output.suffix != ".npz":
        raise UserError(f"output is {output}; the name of a noise file must end in .npz")
    _refuse_existing("output", output)
    if plot is not None:
        _refuse_existing("plot", plot)
    # Imported late, because it imports all of training.
    from alasca_pl.build.data import build_data

    data = build_data(config)
    labels = replace(union(data.noisy_labels, data.val_labels), data_digest=data.data_digest)
    labels.save(output)
    notes = [f"training split: {_rate(data.noisy_labels)}, SHA-256 {data.noisy_labels.digest}"]
    if data.val_labels is not None:
        note = ", the data set's own and not in the file" if data.val_labels.own_split else ""
        notes.append(f"validation split: {_rate(data.val_labels)}{note}")
    notes.append(f"written: {output}")
    names = data.facts.class_names
    if plot is not None:
        drawn = _draw(labels, names, plot)
        notes.append(f"written: {plot}" if drawn else "no picture: clean labels are unknown")
    notes.append(
        f"to train with it: {shlex.join(['alasca-train', *data_options, 'noise=from_file', f'noise.path={output}'])}"
    )
    return _render(labels, names, output, notes)


def inspect_noise_file(path: Path, plot: Path | None) -> Group:
    """Describe a noise file; needs no data.

    Args:
        path: File that ``make_noise_file`` or a run wrote.
        plot: PNG file for the transition matrix, which must not exist, or None.

    Raises:
        UserError: If it is not a noise file, or there is nothing to plot.
    """
    if not path.is_file():
        raise UserError(f"no noise file {path}; give a file that alasca-noise make or a run wrote")
    try:
        labels = NoisyLabels.load(path)
    except ValueError as error:
        raise UserError(f"{error}; give a file that alasca-noise make or a run wrote") from error
    names = [str(k) for k in range(labels.num_classes)]
    notes = [f"SHA-256 of labels and positions: {labels.digest}"]
    notes += [f"hash of the data: {labels.data_digest}"] if labels.data_digest else []
    if plot is not None:
        _refuse_existing("plot", plot)
        if not _draw(labels, names, plot):
            raise UserError(f"{path} has no clean labels, so there is no matrix to draw; leave plot out")
        notes.append(f"written: {plot}")
    return _render(labels, names, path, notes)


def verify_noise_file(path: Path, config: dict[str, Any]) -> list[str]:
    """Compare a file of labels with a data set.

    Args:
        path: Any file that ``FileNoise`` reads.
        config: Resolved config as plain containers; its noise and subset make no difference.

    Returns:
        What agreed, one line each.

    Raises:
        UserError: If file and data do not agree, or the data cannot be used.
    """
    from alasca_pl.build.data import build_data

    try:
        noise = FileNoise(path)
    except ValueError as error:
        raise UserError(str(error)) from error
    no_noise = {"_target_": "alasca_pl.noise.model.NoiseModel"}
    data = build_data(config | {"noise": no_noise, "data": config["data"] | {"max_train_samples": None}})
    known = union(data.noisy_labels, data.val_labels)
    try:
        labels = noise.recorded(known.num_classes)
    except ValueError as error:
        raise UserError(str(error)) from error
    beyond = np.flatnonzero(~np.isin(labels.index, known.index))
    if len(beyond):
        raise UserError(
            f"{path} is for other data: it has {len(labels.index)} labels, {len(beyond)} of them for positions that "
            f"{data.facts.name} with its {len(known.index)} training samples lacks, the first for {labels.index[beyond[0]]}"
        )
    agreed = [f"{labels.num_classes} classes", _coverage(labels, known)]
    if labels.clean_label is None:
        agreed.append("clean labels not compared: the file has none")
    else:
        clean = known.label if known.clean_label is None else known.clean_label
        says = clean[np.searchsorted(known.index, labels.index)]
        try:
            check_clean_labels(str(path), labels.clean_label, says, labels.index, data.facts.name)
        except ValueError as error:
            raise UserError(str(error)) from error
        agreed.append(f"clean labels at all {len(says)} positions")
    same = same_data(labels.data_digest, data.data_digest)
    if same is None:
        agreed.append("hash of the data not compared: file and data do not both have one of the same kind")
    elif not same:
        raise UserError(
            f"{path} was made for other images than {data.facts.name}: hash {labels.data_digest} in the file, "
            f"{data.data_digest} for the data; point data.root or data.path to the data that it was made for"
        )
    else:
        agreed.append(f"hash of the data, {labels.data_digest}")
    return agreed


def union(train: NoisyLabels, val: NoisyLabels | None) -> NoisyLabels:
    """Labels of the training split and of a validation split that was split off it, in order of their positions."""
    splits = [train] if val is None or val.own_split else [train, val]
    index = np.concatenate([one.index for one in splits])
    order = np.argsort(index)
    clean = [one.clean_label for one in splits if one.clean_label is not None]
    return replace(
        train,
        label=np.concatenate([one.label for one in splits])[order],
        clean_label=np.concatenate(clean)[order] if len(clean) == len(splits) else None,
        index=index[order],
    )


def _refuse_existing(name: str, path: Path) -> None:
    if path.exists():
        raise UserError(f"{path} exists and is not overwritten; choose another file with {name}=..., or move it away")


def _coverage(labels: NoisyLabels, known: NoisyLabels) -> str:
    missing = len(known.index) - len(labels.index)
    lacking = "" if not missing else f"; {missing} have none in the file, so a run's split must leave them out"
    return f"labels for {len(labels.index)} of {len(known.index)} training samples{lacking}"


def _draw(labels: NoisyLabels, names: Sequence[str], path: Path) -> bool:
    matrix = labels.transition_matrix
    if matrix is None:
        return False
    plot_matrix(matrix, names, f"{_title(labels)}\n{_rate(labels)}", path)
    return True


def _title(labels: NoisyLabels) -> str:
    nominal = "" if labels.rate is None else f", nominal rate {labels.rate:g}"
    seed = "" if labels.seed is None else f", seed {labels.seed}"
    return f"{labels.kind} noise{nominal}{seed}"


def _rate(labels: NoisyLabels) -> str:
    realised = labels.realised_rate
    fraction = "fraction of wrong labels unknown" if realised is None else f"{realised:.2%} wrong"
    return f"{len(labels.label)} labels, {fraction}"


def _render(labels: NoisyLabels, names: Sequence[str], path: Path, notes: Sequence[str]) -> Group:
    # Text, because names and paths may contain what Rich reads as markup.
    table = Table(title=Text(f"{path}: {_title(labels)}; {_rate(labels)}"))
    table.add_column("class")
    rates, matrix = labels.class_rates, labels.transition_matrix
    counted = labels.label if labels.clean_label is None else labels.clean_label
    count = np.bincount(counted, minlength=labels.num_classes)
    table.add_column("observed" if rates is None else "samples", justify="right")
    if rates is not None:
        table.add_column("wrong", justify="right")
        table.add_column("most often mistaken for")
    for k in range(labels.num_classes):
        row = [Text(names[k] if names[k] == str(k) else f"{k} {names[k]}"), Text(str(count[k]))]
        if rates is not None and matrix is not None:
            others = np.where(np.arange(labels.num_classes) == k, -1.0, matrix[k])
            most = int(others.argmax())
            taken = f"{names[most]} ({others[most]:.1%})" if others[most] > 0 else ""
            row += [Text("" if np.isnan(rates[k]) else f"{rates[k]:.1%}"), Text(taken)]
        table.add_row(*row)
    return Group(table, *(Text(note) for note in notes))
