"""The evaluation data of a run, as a drawing sees them: the loaders, their sizes, and samples read by index."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from lightning_viz.data.batch import Unpack
from lightning_viz.data.samplers import has_fixed_order, is_indexable
from lightning_viz.methods.model.model_output import OutputMeaning

from .indexed_reader import IndexedReader


@dataclass(frozen=True, eq=False)
class DataAccess:
    """The dataloaders of a split: the validation or test data, or the training data where there are no validation data."""

    name: str  #: "validation", "test" or "training"
    loaders: Sequence[DataLoader[Any]]
    counts: Sequence[int | None]  #: samples that a loop sees of each loader, over all processes; None if unknown
    unpack: Unpack
    prepare: Callable[[Any], Any]  #: from a collated batch to the batch of the loop: converted, and on the device
    meaning: OutputMeaning | None = None  #: of the network's output, where it is decided

    def has_fixed_order(self, loader: int) -> bool:
        return loader < len(self.loaders) and has_fixed_order(self.loaders[loader])

    def is_indexable(self, loader: int) -> bool:
        return loader < len(self.loaders) and is_indexable(self.loaders[loader])

    def reader(self, loader: int) -> IndexedReader | None:
        """Reads samples of a loader; None for a stream, or a dataset that batches by itself."""
        if loader >= len(self.loaders) or (count := self.counts[loader]) is None:
            return None
        data = self.loaders[loader]
        if isinstance(data.dataset, IterableDataset) or data.batch_sampler is None:
            return None
        return IndexedReader(data, self.unpack, self.prepare, count, self.meaning)
