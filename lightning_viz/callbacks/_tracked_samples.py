"""Which samples the embedding's scalars and film strips are about: the same at every step."""

from dataclasses import dataclass

import numpy as np

from lightning_viz.collect.data_access import DataAccess
from lightning_viz.collect.indexed_reader import IndexedReader
from lightning_viz.collect.samples import Ints, Samples
from lightning_viz.data.class_balanced import choose_rows, hash_uniform
from lightning_viz.data.samplers import Positions

TRACKED = 500  # samples that scalars and film strips are about, and that are read where there is no loop to record


@dataclass(frozen=True)
class TrackedSamples:
    """The choice of at most `TRACKED` samples."""

    most: int  #: samples that are embedded
    seed: int
    class_balanced: bool
    neighbours: (
        int  #: of each sample that are counted: with too many classes, so many of the same class are chosen, too
    )

    def choose(self, reader: IndexedReader) -> Positions:
        return reader.choose(min(self.most, TRACKED), self.seed, self.class_balanced, self.neighbours + 1)

    def positions(self, data: DataAccess, loader: int) -> Positions | None:
        """Where they are known before they are seen."""
        reader = None if self.class_balanced or not data.has_fixed_order(loader) else data.reader(loader)
        return None if reader is None else self.choose(reader)

    def rows(self, samples: Samples, known: Positions | None) -> Ints:
        """Their rows among the samples, whatever the features are; `known` are their `positions`."""
        if known is not None and (found := np.isin(samples.positions, known)).any():
            return found.nonzero()[0]
        keys = hash_uniform(samples.positions, self.seed)
        labels = samples.labels if self.class_balanced else None
        return np.sort(choose_rows(keys, samples.positions, labels, TRACKED))
