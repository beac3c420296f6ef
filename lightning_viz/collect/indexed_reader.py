"""IndexedReader: samples read from a dataset by index, where there is no loop to record."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_viz.data.batch import ImageBatch, Unpack, read_batch
from lightning_viz.data.class_balanced import choose_classes, choose_rows, hash_uniform, listed_labels, shallow_copy
from lightning_viz.data.samplers import Positions, batch_size_of, dataset_indices
from lightning_viz.methods.model.model_output import OutputMeaning

from .accumulator import Accumulator
from .recorder import ForwardRecorder, Recording


class UnreadableError(RuntimeError):
    """The data cannot be read by index in this process."""


@dataclass(frozen=True, eq=False)
class IndexedReader:
    """Reads samples of a loader's dataset as the loop would see them."""

    loader: DataLoader[Any]  #: whose dataset and `collate_fn` are used; its iterator is never opened
    unpack: Unpack
    prepare: Callable[[Any], Any]  #: from a collated batch to the batch of the loop: converted, and on the device
    count: int  #: how many samples a loop sees
    meaning: OutputMeaning | None = None  #: of the network's output, where it is decided

    def choose(self, size: int, seed: int = 0, class_balanced: bool = False, each: int = 1) -> Positions:
        """Positions of a random choice that is the same each time, in the order of the data.

        Where the dataset lists so many classes that `size` samples hold fewer than `each` of a class on average, they are
        `each` of some of the classes.
        """
        indices = dataset_indices(self.loader)[: self.count]
        listed = listed_labels(self.loader.dataset) if class_balanced or each > 1 else None
        if listed is not None and not class_balanced and 10 * each <= size < len(indices):
            found = listed[indices]
            if len(np.unique(found)) * each > size:
                rows = choose_classes(hash_uniform(indices, seed), indices, found, size, each, seed)
                if len(rows) == size:  # or most classes are smaller
                    return np.sort(indices[rows])
        labels = listed if class_balanced else None
        rows = choose_rows(hash_uniform(indices, seed), indices, None if labels is None else labels[indices], size)
        return np.sort(indices[rows])

    def batches(self, positions: Positions) -> Iterator[tuple[ImageBatch, Positions]]:
        """Batches of one image of each of these samples, and their positions. Raises UnreadableError."""
        dataset, size = shallow_copy(self.loader.dataset), batch_size_of(self.loader) or 32
        for start in range(0, len(positions), size):
            part = positions[start : start + size]
            try:
                batch = self.prepare(self.loader.collate_fn([dataset[int(position)] for position in part]))
                found = read_batch(batch, self.unpack).first_of_each
            except Exception as error:
                raise UnreadableError(f"samples cannot be read by index: {error}") from error
            yield found, part

    def run(self, network: nn.Module, accumulator: Accumulator, positions: Positions, loader: int = 0) -> None:
        """Run these samples and feed the accumulator, as if they were its `loader`-th loop. Raises UnreadableError."""
        recording = Recording([accumulator])
        recorder = ForwardRecorder(network, tuple, [recording], meaning=self.meaning)
        try:
            for found, part in self.batches(positions):
                batch = found.images, found.labels
                if part[0] == positions[0]:
                    recorder.open(batch)
                recorder.start(batch)
                with torch.no_grad():
                    network(found.images)
                recorder.end(loader, None, part)
        finally:
            recorder.close()
        if recording.error is not None:
            raise recording.error
