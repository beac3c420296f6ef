"""The evaluation data of a run, as a drawing sees them: the loaders, their sizes, and samples read by index."""

from dataclasses import dataclass
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from lightning_viz.collect.indexed_reader import IndexedReader
from lightning_viz.data.batch import Unpack
from lightning_viz.data.dataloaders import count_samples, loaders_in
from lightning_viz.data.samplers import has_fixed_order, is_indexable
from lightning_viz.methods.model.model_output import OutputMeaning

from .lightning_compat import eval_loaders, not_training, pl


@dataclass(frozen=True, eq=False)
class DataAccess:
    """The dataloaders of a split: the validation or test data, or the training data where there are no validation data."""

    trainer: pl.Trainer
    unpack: Unpack
    name: str  #: "validation", "test" or "training"
    loaders: list[DataLoader[Any]]
    counts: list[int | None]  #: samples that a loop sees of each loader, over all processes; None if unknown
    meaning: OutputMeaning | None = None  #: of the network's output, where it is decided

    @classmethod
    def of(cls, trainer: pl.Trainer, split: str, unpack: Unpack, meaning: OutputMeaning | None = None) -> "DataAccess":
        """The data of "validation" or "test"."""
        found = eval_loaders(trainer, split)
        batches = trainer.num_test_batches if split == "test" else trainer.num_val_batches
        if not found:
            split, found, batches = "training", loaders_in(trainer.train_dataloader), [trainer.num_training_batches]
        counts = [count_samples(loader, most, trainer.world_size) for loader, most in zip(found, batches, strict=False)]
        return cls(trainer, unpack, split, found, [*counts, *[None] * (len(found) - len(counts))], meaning)

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
        return IndexedReader(data, self.unpack, self._prepare, count, self.meaning)

    def _prepare(self, batch: Any) -> Any:
        """A collated batch as the loop would get it."""
        batch = self.trainer.precision_plugin.convert_input(batch)
        with not_training(self.trainer):
            return self.trainer.strategy.batch_to_device(batch)
