"""Where the pictures come from: `ProbeSource` makes each shared probe once for a trainer."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import ref

from torch import Tensor
from torch.utils.data import DataLoader

from lightning_viz.data.batch import Unpack, read_batch
from lightning_viz.data.class_balanced import read_balanced_batch
from lightning_viz.data.dataloaders import first_loader
from lightning_viz.data.metadata import dataset_chain, describe_probe
from lightning_viz.data.probe import Probe

from .guard import guard
from .lightning_compat import eval_loaders, not_training, pl

TRAINING_PICTURES = (
    "lightning_viz shows training pictures: no validation data could be read before the first step; "
    "give probe=Probe(images, labels) to choose pictures"
)


@dataclass(eq=False)
class _Shared:
    """A probe with what it was made of: another module, other data or more pictures need another."""

    module: "ref[pl.LightningModule]"  # weak: it refers to the trainer, whose session this belongs to
    dataset: Any
    unpack: Unpack  # kept alive, so that its id is not used again
    probe: Probe
    #: Its first pictures on the device, by how many: always the same object.
    heads: dict[int, Probe] = field(default_factory=dict)


class ProbeSource:
    """Makes each shared probe once for a module and a dataset."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._known: dict[tuple[str, int, int], _Shared] = {}

    def shared(
        self, trainer: pl.Trainer, split: str, counts: tuple[int, int], unpack: Unpack, batch: Any, source: str
    ) -> Probe:
        """The first pictures of the shared probe of a split, on the device.

        `counts` are how many pictures are wanted, and how many the largest callback wants. Where the dataset cannot be
        read by index, the pictures are those of `batch`, which is from the data named `source`. Raises ValueError where
        the data are not images.
        """
        module, (count, largest) = trainer.lightning_module, counts
        loader, name = first_loader(eval_loaders(trainer, split)), split
        if loader is None and source == "training":
            loader, name = first_loader(trainer.train_dataloader), source
        dataset, key = None if loader is None else loader.dataset, (split, id(unpack), largest)
        known = self._known.get(key)
        if known is None or known.module() is not module or known.dataset is not dataset:
            with guard(module), not_training(trainer):  # the user's transforms may be random
                sample = self._read(trainer, loader, largest, unpack)
                name, sample = (source, batch) if sample is None else (name, sample)
                if name == "training":
                    self._warn(TRAINING_PICTURES)
                found = read_batch(sample, unpack)
                images = found.images[:largest].detach().clone()
                labels = None if found.labels is None else found.labels[:largest].clone()
                origin = f"pictures of the {name} data" + (f", {found.note}" if found.note else "")
                probe = describe(trainer, images, labels, loader, origin)
            known = self._known[key] = _Shared(ref(module), dataset, unpack, probe)
        if count not in known.heads:
            known.heads[count] = convert(known.probe.head(count), trainer)
        return known.heads[count]

    def _read(self, trainer: pl.Trainer, loader: DataLoader[Any] | None, count: int, unpack: Unpack) -> Any | None:
        """A batch read by index; None for a dataset that only its workers can read, or that the loop combines."""

        def labels_of(batch: Any) -> Tensor | None:
            return read_batch(batch, unpack).first_of_each.labels

        with suppress(Exception):
            sample = None if loader is None else read_balanced_batch(loader, count, labels_of)
            if sample is not None:
                sample = trainer.strategy.batch_to_device(sample)
                read_batch(sample, unpack)
            return sample
        return None


def convert(probe: Probe, trainer: pl.Trainer) -> Probe:
    """On the trainer's device, in its precision."""
    probe = probe.to(trainer.strategy.root_device)
    return replace(probe, images=trainer.precision_plugin.convert_input(probe.images))


def describe(
    trainer: pl.Trainer, images: Tensor, labels: Tensor | None, loader: DataLoader[Any] | None, origin: str
) -> Probe:
    """A probe of these images of a loader, with what its dataset, the datamodule and the module know of them."""
    sources = [] if loader is None else [*dataset_chain(loader.dataset), loader.collate_fn]
    sources.append(getattr(trainer, "datamodule", None))
    return describe_probe(images, labels, origin, sources, trainer.lightning_module)
