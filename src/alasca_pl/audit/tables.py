"""The tables of an audit: suspects, pairs of classes, and lists of labels that ``data=csv`` reads."""

import csv
import io
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from alasca_pl.audit.audit import Audit, LabelledSplit
from alasca_pl.core.errors import UserError
from alasca_pl.core.files import check_new, write_atomically

Labels = npt.NDArray[np.int64]

DROPPED = -1
"""Label of an image that is left out."""

SPLITS = ("train", "val", "test")
"""Splits that lists of labels have; further test splits cannot be written."""

SUSPECT_COLUMNS = (
    "rank",
    "path",
    "index",
    "split",
    "given_label",
    "suggested_label",
    "score (larger = more suspicious)",
    "probability_wrong",
    "agreement_of_heads",
    "reason",
)
# A label is replaced without a person only where it is more likely wrong than right, and the averaged prediction gives
# another class more than half of the probability.
_WRONG, _SURE = 0.5, 0.5
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def label_file(audit: Audit, path: Path) -> Path:
    """File for the labels of an audit: a csv for images in files, else an npz with the images.

    Args:
        audit: The audit.
        path: The file without suffix.

    Raises:
        UserError: If the file exists.
    """
    file = path.with_suffix(".npz" if audit.root is None else ".csv")
    check_new(file)
    return file


def write_text(path: Path, text: str) -> None:
    """Write a new file.

    Raises:
        UserError: If the file exists, or a name in it is no valid text.
    """
    check_new(path)
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise UserError(f"a file's name is not valid UTF-8 ({error}); rename it") from error
    write_atomically(path, lambda file: file.write(content))


def suspects_table(audit: Audit) -> str:
    """``suspects.csv``: one line per label that has a score, the most suspicious first."""
    names, suspects = audit.class_names, audit.suspects

    def rows() -> Iterable[list[Any]]:
        for place in range(len(suspects)):
            agreement = suspects.agreement[place]
            has_name = audit.splits[str(suspects.split[place])].names is not None
            yield [
                place + 1,
                # Written as it is read again: names that are no valid text get a mark of replacement.
                valid_text(audit.name(place)) if has_name else "",
                audit.index(place),
                suspects.split[place],
                names[suspects.given[place]],
                names[suspects.suggested[place]],
                f"{suspects.score[place]:.6g}",
                f"{suspects.probability[place]:.4f}",
                "" if np.isnan(agreement) else f"{agreement:.2f}",
                suspects.reason(place, names),
                *("" if np.isnan(values[place]) else f"{values[place]:.6g}" for values in audit.second.values()),
            ]

    return csv_text((*SUSPECT_COLUMNS, *(f"{name} (larger = more suspicious)" for name in audit.second)), rows())


def valid_text(text: str) -> str:
    """A name of a file as it can be written: bytes that are no text become marks of replacement."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def class_pairs(audit: Audit) -> list[tuple[int, int, float, int]]:
    """Pairs of given and suggested class: estimated number of wrong labels and number of suspects, the largest first.

    Returns:
        Given class, suggested class, sum of the probabilities of being wrong, number of labels more likely wrong than right.
    """
    suspects, classes = audit.suspects, len(audit.class_names)
    pair = suspects.given * classes + suspects.suggested
    expected = np.bincount(pair, suspects.probability, classes**2) if classes <= 2000 else None
    if expected is None:
        unique, pair = np.unique(pair, return_inverse=True)
        expected = np.bincount(pair, suspects.probability)
    else:
        unique = np.arange(classes**2)
    likely = np.bincount(pair, suspects.probability >= _WRONG, len(unique))
    found = [
        (int(unique[k] // classes), int(unique[k] % classes), float(expected[k]), int(likely[k]))
        for k in np.argsort(-expected, kind="stable")
        if expected[k] > 0
    ]
    return [each for each in found if each[0] != each[1]]


def pairs_table(audit: Audit) -> str:
    """``pairs.csv``: pairs of given and suggested class."""
    names = audit.class_names
    rows = (
        (names[given], names[suggested], f"{expected:.1f}", likely)
        for given, suggested, expected, likely in class_pairs(audit)
    )
    return csv_text(("given_label", "suggested_label", "estimated_wrong", "more_likely_wrong_than_right"), rows)


def relabelled(audit: Audit) -> dict[str, Labels]:
    """Labels of every split with those replaced for which the suggestion is sure."""
    suspects = audit.suspects
    replace = (
        (suspects.probability >= _WRONG) & (suspects.suggested != suspects.given) & (suspects.suggested_prob >= _SURE)
    )
    return _changed(audit, replace, suspects.suggested)


def clean(audit: Audit) -> dict[str, Labels]:
    """Labels of every split, ``DROPPED`` where they are more likely wrong than right."""
    suspects = audit.suspects
    return _changed(audit, suspects.probability >= _WRONG, np.full(len(suspects), DROPPED))


def _changed(audit: Audit, where: npt.NDArray[np.bool_], new: Labels) -> dict[str, Labels]:
    labels = {name: split.label.copy() for name, split in audit.splits.items()}
    for name, array in labels.items():
        chosen = where & (audit.suspects.split == name)
        array[audit.suspects.row[chosen]] = new[chosen]
    return labels


def label_table(splits: Mapping[str, LabelledSplit], labels: Mapping[str, Labels], class_names: Sequence[str]) -> str:
    """A list of images in the form that ``data=csv`` reads.

    Args:
        splits: Images of each split, with names.
        labels: Their labels, ``DROPPED`` where an image is left out.
        class_names: One per class.

    Raises:
        UserError: If images have no names.
    """
    texts = label_texts(class_names)

    def rows() -> Iterable[tuple[str, str, str]]:
        for name, split in splits.items():
            if name not in SPLITS:
                continue
            if split.names is None:
                raise UserError("these images are not files, so that no csv can list them")
            for path, label in zip(split.names.tolist(), labels[name].tolist()):
                if label != DROPPED:
                    yield path, texts[label], name

    return csv_text(("path", "label", "split"), rows())


def command(form: str, path: Path, root: str | None, options: Sequence[str] = ()) -> str:
    """The command that trains on a written list.

    Example:
        >>> command("csv", Path("a/clean.csv"), "my images", ["epochs=9"])
        "alasca-train epochs=9 data=csv data.path=a/clean.csv 'data.root=my images'"
    """
    words = ["alasca-train", *options, f"data={form}", f"data.path={path}"]
    return shlex.join(words if root is None else [*words, f"data.root={root}"])


def label_texts(class_names: Sequence[str]) -> list[str]:
    """What stands for each class in a csv: its name, or its number if names would be read as something else.

    Example:
        >>> label_texts(["cat", "dog"]), label_texts(["7", "cat"])
        (['cat', 'dog'], ['0', '1'])
    """
    plain = all(
        name and name == name.strip() and not _NUMBER.fullmatch(name) and "\0" not in name for name in class_names
    )
    # Names are numbered in their order as text when they are read.
    if plain and list(class_names) == sorted(set(class_names)):
        return list(class_names)
    return [str(number) for number in range(len(class_names))]
