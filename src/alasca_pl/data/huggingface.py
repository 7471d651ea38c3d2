"""Data sets of the library ``datasets``, from a saved folder or from the hub."""

import copy
import hashlib
import io
import os
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from alasca_pl.core.extras import is_installed
from alasca_pl.data.images import LazyImages
from alasca_pl.data.names import name_some
from alasca_pl.data.samples import ImageFiles, RawData
from alasca_pl.noise.labels import Labels

_VAL = ("validation", "val", "valid")
_TEST = ("test",)
_BATCH = 1000


class HuggingFaceImages(LazyImages):
    """Images in a column of a data set of ``datasets``.

    Args:
        dataset: A ``datasets.Dataset``.
        column: Its column of images.
        index: Rows to use, int64 (N,), or None for all.
    """

    def __init__(self, dataset: Any, column: str, index: npt.NDArray[np.int64] | None = None) -> None:
        from datasets import Image

        # Not decoded here, so that the same code reads these images as all others.
        self._dataset = dataset.with_format(None).select_columns([column]).cast_column(column, Image(decode=False))
        self.column = column
        self.index = np.arange(len(dataset)) if index is None else index

    def __len__(self) -> int:
        return len(self.index)

    def take(self, index: npt.NDArray[np.int64]) -> Self:
        taken = copy.copy(self)
        taken.index = self.index[index]
        return taken

    def name(self, i: int) -> str:
        return f"row {int(self.index[i])} of column {self.column}"

    def byte_size(self, i: int) -> int:
        source = self._source(i)
        return Path(source).stat().st_size if isinstance(source, str) else source.getbuffer().nbytes

    def fingerprint(self) -> str:
        # Sizes are stored in the table's structure: computing them does not read the images.
        sizes = np.concatenate(
            [_sizes(batch[self.column]) for batch in self._dataset.with_format("arrow").iter(_BATCH)]
        )
        content = hashlib.sha256(self.column.encode())
        for array in (self.index, sizes[self.index]):
            content.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        return content.hexdigest()

    def _source(self, i: int) -> str | io.BytesIO:
        value = self._dataset[int(self.index[i])][self.column]
        if value is None:
            raise ValueError("the row contains no image")
        if value["bytes"] is not None:
            return io.BytesIO(value["bytes"])
        return str(value["path"])


def read_huggingface(
    path: str | Path,
    image_column: str | None = None,
    label_column: str | None = None,
    clean_label_column: str | None = None,
    name: str | None = None,
    revision: str | None = None,
    train_split: str = "train",
    val_split: str | None = "auto",
    test_split: str | None = "auto",
) -> RawData:
    """Read a data set that ``save_to_disk`` wrote, or one from the hub; images stay encoded.

    No code of a data set is executed. Data from the hub is cached by ``datasets``; nothing is written into a given
    folder.

    Args:
        path: Folder that ``save_to_disk`` wrote, or the name of a data set on the hub.
        image_column: Column of images; None for the only one.
        label_column: Column of labels, class labels or whole numbers; None for the only one of class labels, else of whole
            numbers.
        clean_label_column: Column of labels known to be correct, or None.
        name: Name of a configuration on the hub.
        revision: Revision on the hub: a branch, tag or commit.
        train_split: Split to train on.
        val_split: Split to validate on; ``auto`` for validation, val or valid if one exists, None for none.
        test_split: Split to test on, with its clean labels if there are any; ``auto`` for test if it exists, None for
            none.

    Raises:
        ImportError: If ``datasets`` is not installed.
        FileNotFoundError: If there is no such data set.
        ValueError: If a split or column is missing or cannot be inferred, or samples have no label.
    """
    splits = _load(str(path), name, revision)
    chosen = {"train": train_split, "val": _choose(val_split, _VAL, splits), "test": _choose(test_split, _TEST, splits)}
    for split, source in chosen.items():
        if source is not None and source not in splits:
            raise ValueError(f"{path} has no split {source!r} for {split}; choose one of {', '.join(splits)}")
    train = splits[train_split]
    image_column = image_column or _image_column(train)
    label_column = label_column or _label_column(train, clean_label_column)
    names = _class_names(train, label_column)
    made = {}
    for split, source in chosen.items():
        if source is None:
            continue
        dataset = splits[source]
        _check_columns(dataset, source, image_column, label_column, clean_label_column)
        for column in (label_column, clean_label_column):
            if column is not None and _class_names(dataset, column) != names:
                raise ValueError(
                    f"column {column!r} of split {source!r} and column {label_column!r} of {train_split!r} differ in the "
                    "names of their classes"
                )
        labels = _labels(dataset, label_column, source, split)
        clean = None if clean_label_column is None else _labels(dataset, clean_label_column, source, split)
        if split == "test" and clean is not None:
            labels = clean
        made[split] = ImageFiles(HuggingFaceImages(dataset, image_column), labels, clean)
    return RawData(made["train"], made.get("test"), made.get("val"), names)


def _load(path: str, name: str | None, revision: str | None) -> dict[str, Any]:
    if not is_installed("datasets"):
        raise ImportError(
            "this data set needs the library datasets; install it with pip install 'alasca-pl[huggingface]'"
        )
    import datasets

    folder = Path(path).expanduser()
    if folder.is_dir():
        if not any((folder / file).is_file() for file in ("dataset_dict.json", "state.json")):
            raise ValueError(
                f"{folder} holds no data set that save_to_disk of datasets wrote; read folders of images with data=folder"
            )
        loaded = datasets.load_from_disk(str(folder))
    else:
        try:
            loaded = datasets.load_dataset(path, name, revision=revision)
        except (FileNotFoundError, ConnectionError) as error:
            raise FileNotFoundError(
                f"no folder {folder}, and no data set {path!r} could be loaded from the hub ({error}); correct data.path"
            ) from error
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}


def _choose(split: str | None, usual: tuple[str, ...], splits: dict[str, Any]) -> str | None:
    return next((name for name in usual if name in splits), None) if split == "auto" else split


def _image_column(dataset: Any) -> str:
    from datasets import Image

    found = [name for name, feature in dataset.features.items() if isinstance(feature, Image)]
    if len(found) != 1:
        raise ValueError(
            f"cannot infer the column of images: {len(found)} of the columns {_described(dataset)} hold images; "
            "set data.image_column"
        )
    return found[0]


def _label_column(dataset: Any, clean_label_column: str | None) -> str:
    from datasets import ClassLabel

    others = {name: feature for name, feature in dataset.features.items() if name != clean_label_column}
    found = [name for name, feature in others.items() if isinstance(feature, ClassLabel)]
    found = found or [name for name, feature in others.items() if _is_whole(feature)]
    if len(found) != 1:
        raise ValueError(
            f"cannot infer the column of labels: {len(found)} of the columns {_described(dataset)} could be it; "
            "set data.label_column"
        )
    return found[0]


def _check_columns(dataset: Any, split: str, image: str, label: str, clean: str | None) -> None:
    from datasets import ClassLabel, Image

    for column in (image, label, clean):
        if column is not None and column not in dataset.features:
            raise ValueError(f"split {split!r} has no column {column!r}; it has {_described(dataset)}")
    if not isinstance(dataset.features[image], Image):
        raise ValueError(f"column {image!r} of split {split!r} holds no images; its columns are {_described(dataset)}")
    for column in (label, clean):
        if column is None or isinstance(dataset.features[column], ClassLabel) or _is_whole(dataset.features[column]):
            continue
        raise ValueError(
            f"column {column!r} of split {split!r} holds neither class labels nor whole numbers; its columns are "
            f"{_described(dataset)}; class_encode_column of datasets makes class labels of text"
        )


def _is_whole(feature: Any) -> bool:
    return getattr(feature, "dtype", None) in {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def _class_names(dataset: Any, column: str) -> tuple[str, ...]:
    return tuple(getattr(dataset.features.get(column), "names", None) or ())


def _labels(dataset: Any, column: str, source: str, split: str) -> Labels:
    chunks = dataset.select_columns([column]).with_format("arrow")[:][column]
    way_out = f"choose another data.{split}_split" + ("" if split == "train" else " or null for none")
    if not len(chunks):
        raise ValueError(f"split {source!r} has no rows; {way_out}")
    without = chunks.null_count
    labels = chunks.drop_null().to_numpy().astype(np.int64)
    without += int((labels < 0).sum())
    if without:
        raise ValueError(f"{without} of {len(chunks)} rows of split {source!r} have no label in {column!r}; {way_out}")
    return labels


def _sizes(column: Any) -> npt.NDArray[np.int64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    content = pc.struct_field(column, "bytes")
    sizes = pc.fill_null(pc.binary_length(content).cast(pa.int64()), -1).to_numpy()
    outside = np.flatnonzero(sizes < 0)
    if len(outside):
        sizes = sizes.copy()
        for row in outside.tolist():
            path = pc.struct_field(column, "path")[row].as_py()
            sizes[row] = os.path.getsize(path) if path is not None else 0  # noqa: PTH202
    return sizes


def _described(dataset: Any) -> str:
    names = [
        f"{name} ({getattr(feature, 'dtype', type(feature).__name__)})" for name, feature in dataset.features.items()
    ]
    return name_some(names)
