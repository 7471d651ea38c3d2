"""Asymmetric noise: classes are mistaken for particular other classes."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from alasca_pl.noise.labels import Labels
from alasca_pl.noise.model import NoiseModel, Samples, draw_from_matrix, rounded_count

# Superclass of each fine class of CIFAR-100, in order of the fine ids.
_SUPERCLASS = (
    4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15,
    0, 11, 1, 10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17,
    10, 3, 2, 12, 12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19,
    18, 1, 2, 15, 6, 0, 17, 8, 14, 13,
)  # fmt: skip


class AsymmetricNoise(NoiseModel):
    """Labels flipped along a map of classes, or in cycles within groups of classes.

    With ``class_map``, ``ceil(rate * n_c)`` samples of each mapped class c flip. With ``groups``, each sample moves with
    probability ``rate`` to the next class of its group.

    Args:
        rate: Nominal rate in [0, 1].
        class_map: From a class to the class it is mistaken for, e.g. ``{9: 1}``; other classes keep their labels.
        groups: ``consecutive``: blocks of five consecutive ids (the usual CIFAR-100 noise, although torchvision's
            CIFAR-100 numbers its classes alphabetically); ``superclass``: the 20 superclasses of CIFAR-100; or a list
            of lists of classes. At most one of ``class_map`` and ``groups`` can be given.
        usual: ``class_map`` or ``groups`` by name, used if neither is given.
        double_flip: Process the classes of ``class_map`` one after the other on labels already changed, so that a
            sample moved from cat to dog may move back, as in the code behind the published CIFAR-10 numbers. False
            flips by clean label. With ``groups`` there is nothing to process in order, so it makes no difference.
        seed: Seed of the draw.

    Raises:
        ValueError: If a value is outside its range, or a class does not exist.

    Source: jongwooko/ALASCA, Kthyeon/FINE_official and shengliu66/ELR (whose issue 16 reports the double flip).

    References:
        Patrini et al.: Making Deep Neural Networks Robust to Label Noise: A Loss Correction Approach. CVPR 2017.
        https://arxiv.org/abs/1609.03683
        Code: jongwooko/ALASCA@a47249d, Kthyeon/FINE_official@d5ab341, shengliu66/ELR@934af53

    Example:
        >>> samples = Samples(np.array([0, 0, 1, 2]), np.arange(4), num_classes=3)
        >>> AsymmetricNoise(1.0, class_map={0: 2}).draw(samples).label.tolist()
        [2, 2, 1, 2]
    """

    kind = "asymmetric"
    rate: float

    def __init__(
        self,
        rate: float,
        class_map: Mapping[int, int] | None = None,
        groups: Literal["consecutive", "superclass"] | Sequence[Sequence[int]] | None = None,
        double_flip: bool = False,
        seed: int = 0,
        usual: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(rate, seed)
        if class_map is None and groups is None and usual is not None:
            class_map, groups = usual.get("class_map"), usual.get("groups")
        if (class_map is None) == (groups is None):
            got = "neither" if class_map is None else "both"
            raise ValueError(
                f"asymmetric noise needs one of class_map and groups, got {got}; for instance "
                "'noise.class_map={0:1,1:0}' swaps classes 0 and 1"
            )
        if class_map is not None and not isinstance(class_map, Mapping):
            raise ValueError(
                f"class_map must map classes to classes, got {class_map!r}; e.g. 'noise.class_map={{0:1,1:0}}'"
            )
        if isinstance(groups, str) and groups not in ("consecutive", "superclass"):
            raise ValueError(f"unknown groups {groups!r}; choose consecutive, superclass or a list of lists of classes")
        self.class_map = None if class_map is None else {int(a): int(b) for a, b in class_map.items()}
        self.groups = groups
        self.double_flip = double_flip

    def corrupt(self, samples: Samples, rng: np.random.Generator) -> Labels:
        label, num_classes = samples.label, samples.num_classes
        if self.class_map is None:
            return draw_from_matrix(label, self._cycles(num_classes), rng)
        for source, target in self.class_map.items():
            if not (0 <= source < num_classes and 0 <= target < num_classes):
                raise ValueError(f"class_map names {source} -> {target}, but classes are 0 to {num_classes - 1}")
        observed = label.copy()
        for source in sorted(self.class_map):
            members = np.flatnonzero((observed if self.double_flip else label) == source)
            chosen = rng.permutation(members)[: rounded_count(self.rate, len(members))]
            observed[chosen] = self.class_map[source]
        return observed

    def _cycles(self, num_classes: int) -> np.ndarray:
        groups = self._group_lists(num_classes)
        members = [member for group in groups for member in group]
        for member in members:
            if not 0 <= member < num_classes:
                raise ValueError(f"groups name class {member}, but classes are 0 to {num_classes - 1}")
            if members.count(member) > 1:
                raise ValueError(f"groups name class {member} more than once; a class belongs to one group at most")
        matrix = np.eye(num_classes)
        for group in groups:
            for source, target in zip(group, [*group[1:], group[0]]):
                matrix[source, source] -= self.rate
                matrix[source, target] += self.rate
        return matrix

    def _group_lists(self, num_classes: int) -> list[list[int]]:
        if self.groups == "consecutive":
            if num_classes % 5:
                raise ValueError(f"groups=consecutive needs a multiple of 5 classes, got {num_classes}; give class_map")
            return [list(range(start, start + 5)) for start in range(0, num_classes, 5)]
        if self.groups == "superclass":
            if num_classes != len(_SUPERCLASS):
                raise ValueError(f"groups=superclass is for the 100 classes of CIFAR-100, got {num_classes}")
            return [[fine for fine in range(100) if _SUPERCLASS[fine] == coarse] for coarse in range(20)]
        assert self.groups is not None
        return [[int(member) for member in group] for group in self.groups if group]
