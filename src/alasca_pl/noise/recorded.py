"""Noisy labels that were recorded elsewhere and are looked up by position."""

import logging
from dataclasses import replace

import numpy as np

from alasca_pl.noise.labels import Labels, NoisyLabels, check_clean_labels, same_data
from alasca_pl.noise.model import NoiseModel, Samples

log = logging.getLogger(__name__)


class RecordedLabels(NoiseModel):
    """Labels recorded for the samples of a data set's training set.

    If the data set itself has a validation split, none are recorded for it and it keeps its labels. Nothing is drawn,
    so there is no seed; each kind returns its labels from ``recorded``.
    """

    def __init__(self) -> None:
        super().__init__(rate=None, seed=None)

    def recorded(self, num_classes: int) -> NoisyLabels:
        """All recorded labels.

        Args:
            num_classes: K of the data set that needs them.

        Raises:
            ValueError: If they cannot be read or have another number of classes.
        """
        raise NotImplementedError

    @property
    def source(self) -> str:
        """Where the labels are from, for messages."""
        raise NotImplementedError

    def uncovered(self, split: str) -> str:
        """The remedy if samples have no recorded label, for messages."""
        raise NotImplementedError

    def corrupt(self, samples: Samples, rng: np.random.Generator) -> Labels:
        if samples.own_split:
            log.info(
                "the %s split is the data set's own and keeps its labels: %s is for training samples",
                samples.split,
                self.source,
            )
            return samples.label.copy()
        recorded = self.recorded(samples.num_classes)
        return recorded.label[self._rows(recorded, samples)]

    def draw(self, samples: Samples, clean_label: Labels | None = None, labels_are_clean: bool = True) -> NoisyLabels:
        """Look the labels up.

        Raises:
            ValueError: If they are for other data.
        """
        known = labels_are_clean or clean_label is not None
        if samples.own_split:
            labels = super().draw(samples, clean_label, labels_are_clean)
            return labels if known else replace(labels, clean_label=None)
        recorded = self.recorded(samples.num_classes)
        if same_data(recorded.data_digest, samples.data_digest) is False:
            raise ValueError(
                f"{self.source} is for other data: it was made for a training set with hash {recorded.data_digest}, this "
                f"one has {samples.data_digest}; give the file made for this data, or the data it was made for"
            )
        labels = super().draw(samples, clean_label, labels_are_clean)
        if recorded.clean_label is not None:
            check_clean_labels(
                self.source,
                recorded.clean_label[self._rows(recorded, samples)],
                samples.label if clean_label is None else clean_label,
                samples.index,
                f"the {samples.split} split",
            )
        elif not known:
            labels = replace(labels, clean_label=None)
        return replace(labels, rate=recorded.rate, seed=recorded.seed)

    def _rows(self, recorded: NoisyLabels, samples: Samples) -> Labels:
        """Rows of the record that belong to the samples."""
        order = np.argsort(recorded.index)
        place = np.searchsorted(recorded.index[order], samples.index)
        rows = order[np.minimum(place, len(order) - 1)]
        missing = np.flatnonzero(recorded.index[rows] != samples.index)
        if len(missing):
            raise ValueError(
                f"{self.source} has no label for {len(missing)} of the {len(samples.index)} samples of the {samples.split} "
                f"split, the first at position {samples.index[missing[0]]}; {self.uncovered(samples.split)}"
            )
        return rows
