"""Human noise: labels that people gave to the images of CIFAR-10 and CIFAR-100 (CIFAR-N)."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from alasca_pl.core.pickles import read_torch_file
from alasca_pl.noise.labels import Labels, NoisyLabels, check_labels
from alasca_pl.noise.recorded import RecordedLabels


class _Choice(NamedTuple):
    """Location of labels: file, keys of observed and clean labels, number of classes."""

    file: str
    observed: str
    clean: str
    num_classes: int


_TEN, _HUNDRED = "CIFAR-10_human.pt", "CIFAR-100_human.pt"
# MD5 of the files in UCSC-REAL/cifar-10-100n.
_MD5 = {_TEN: "96644db5574813cae939af5f7f2a0aec", _HUNDRED: "a67b45c1d7992051865b5c755bd68bb1"}
_FINE = _Choice(_HUNDRED, "noisy_label", "clean_label", 100)
_CHOICES = {
    "clean": _Choice(_TEN, "clean_label", "clean_label", 10),
    "aggre": _Choice(_TEN, "aggre_label", "clean_label", 10),
    "rand1": _Choice(_TEN, "random_label1", "clean_label", 10),
    "rand2": _Choice(_TEN, "random_label2", "clean_label", 10),
    "rand3": _Choice(_TEN, "random_label3", "clean_label", 10),
    "worst": _Choice(_TEN, "worse_label", "clean_label", 10),
    "fine": _FINE,
    "noisy100": _FINE,
    "clean100": _Choice(_HUNDRED, "clean_label", "clean_label", 100),
    "coarse": _Choice(_HUNDRED, "noisy_coarse_label", "clean_coarse_label", 20),
    "clean_coarse": _Choice(_HUNDRED, "clean_coarse_label", "clean_coarse_label", 20),
}
_BY_CLASSES = {10: "worst", 100: "fine", 20: "coarse"}


class HumanNoise(RecordedLabels):
    """Labels of CIFAR-10N or CIFAR-100N for the 50,000 training images, in the order of torchvision's files.

    Args:
        root: Folder of ``CIFAR-10_human.pt`` and ``CIFAR-100_human.pt`` as published.
        path: The file itself; overrides ``root``.
        labels: CIFAR-10N: ``aggre`` (majority of three people), ``rand1``, ``rand2``, ``rand3`` (each one person's),
            ``worst`` (a wrong one if any of the three is wrong), ``clean``. CIFAR-100N: ``fine`` (also ``noisy100``),
            ``coarse`` (the 20 superclasses), ``clean100``, ``clean_coarse``. None: ``worst`` for 10 classes, ``fine``
            for 100, ``coarse`` for 20.
        check_md5: Reject any file but the published one; False allows your own files with the same structure.

    Raises:
        ValueError: If ``labels`` is unknown, or neither ``root`` nor ``path`` is given.

    Source: the files of UCSC-REAL/cifar-10-100n.

    References:
        Wei et al.: Learning with Noisy Labels Revisited: A Study Using Real-World Human Annotations. ICLR 2022.
        https://arxiv.org/abs/2110.12088
        Code: UCSC-REAL/cifar-10-100n@49df7d8

    Example:
        >>> HumanNoise(root="folder_of_the_files", labels="worst").source
        'CIFAR-N (worst)'
    """

    kind = "human"

    def __init__(
        self,
        root: str | Path | None = None,
        path: str | Path | None = None,
        labels: str | None = None,
        check_md5: bool = True,
    ) -> None:
        super().__init__()
        if labels is not None and labels not in _CHOICES:
            raise ValueError(f"unknown human labels {labels!r}; choose one of {', '.join(_CHOICES)}")
        if root is None and path is None:
            raise ValueError(f"human labels need noise.path=FILE, or noise.root=FOLDER with {_TEN} or {_HUNDRED}")
        self.root = root
        self.path = path
        self.labels = labels
        self.check_md5 = check_md5
        self._read: NoisyLabels | None = None

    @property
    def source(self) -> str:
        return f"CIFAR-N ({self.labels or 'labels by the number of classes'})"

    def uncovered(self, split: str) -> str:
        return (
            "these labels are for the 50,000 training images of torchvision's CIFAR; use data=cifar10 or data=cifar100"
        )

    def recorded(self, num_classes: int) -> NoisyLabels:
        labels = self.labels or _BY_CLASSES.get(num_classes)
        if labels is None:
            raise ValueError(f"human labels are for the 10, 20 or 100 classes of CIFAR, but the data has {num_classes}")
        choice = _CHOICES[labels]
        if choice.num_classes != num_classes:
            raise ValueError(_wrong_classes(labels, choice.num_classes, num_classes))
        if self._read is None:
            self._read = self._open(choice)
        return self._read

    def _open(self, choice: _Choice) -> NoisyLabels:
        path = Path(self.path) if self.path is not None else Path(self.root or "") / choice.file
        path = path.expanduser()
        if not path.is_file():
            raise ValueError(
                f"no file {path.absolute()}; put {choice.file} from data/ of UCSC-REAL/cifar-10-100n there, or set "
                "noise.path to where it is"
            )
        content = read_torch_file(path, _MD5[choice.file] if self.check_md5 else None)
        observed, clean = (_labels(content, key, choice.num_classes, path) for key in (choice.observed, choice.clean))
        if len(observed) != len(clean):
            raise ValueError(
                f"{path}: {choice.observed} has {len(observed)} labels, but {choice.clean} has {len(clean)}"
            )
        return NoisyLabels(observed, clean, np.arange(len(clean)), choice.num_classes, self.kind, None, None)


def _labels(content: dict[str, object], key: str, num_classes: int, path: Path) -> Labels:
    if key not in content:
        raise ValueError(f"{path} lacks {key}; it holds {', '.join(map(str, content)) or 'nothing'}")
    value = content[key]
    try:
        # Ragged lists make numpy raise, other lists become arrays of another kind.
        array = np.asarray(value) if isinstance(value, np.ndarray | list) else np.empty(0)
    except (ValueError, OverflowError):
        array = np.empty(0)
    if array.dtype.kind not in "iu" or array.ndim != 1 or not len(array):
        raise ValueError(f"{path}: {key} is not a list of whole numbers, one per image")
    labels: Labels = array.astype(np.int64)
    check_labels(labels, num_classes, f"{path}: {key}")
    return labels


def _wrong_classes(labels: str, needed: int, got: int) -> str:
    fitting = [name for name, choice in _CHOICES.items() if choice.num_classes == got]
    way_out = f"choose one of {', '.join(fitting)}" if fitting else "use the data that they are for"
    if needed == 20:
        way_out = (
            "give CIFAR-100 with its 20 superclasses as labels, e.g. as an array file with data=npz"
            + (" and data.labels_are_clean=true" if labels != "clean_coarse" else "")
            + (f", or {way_out}" if fitting else "")
        )
    return f"human labels {labels!r} have {needed} classes, but the data has {got}; {way_out}"
