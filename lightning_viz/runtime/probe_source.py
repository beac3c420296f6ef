"""Where the pictures come from: `ProbeSource` shares them per trainer, `PinnedProbes` holds those of one callback."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lightning_viz.collect.sample_selector import SampleSelector
from lightning_viz.data.batch import Unpack, read_batch
from lightning_viz.data.class_balanced import read_balanced_batch
from lightning_viz.data.dataloaders import first_loader, loaders_in
from lightning_viz.data.metadata import dataset_chain, describe_probe
from lightning_viz.data.probe import Hardest, Probe
from lightning_viz.methods.model.image_calls import runs

from .guard import guard
from .lightning_compat import eval_loaders, not_training, pl
from .network import explained_gradients
from .output_meaning import check_class_names, check_target, find_known_labels

if TYPE_CHECKING:
    from .runner import CallbackRunner

HARDEST = "validation pictures with the highest loss"
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


class PinnedProbes(dict[str, Probe]):
    """The pictures of one callback, by split, pinned at the first batch of a run."""

    def __init__(self, runner: "CallbackRunner") -> None:
        super().__init__()
        self._runner = runner
        self._pinned: set[str] = set()  #: the splits whose first batch this run has seen
        self.known_hardest: set[str] = set()  #: the splits whose hardest pictures are known

    @property
    def is_hardest(self) -> bool:
        """Whether the pictures are those with the highest loss."""
        return self._runner.callback.NEEDS_IMAGES and isinstance(self._runner.callback.probe, Hardest)

    @property
    def refresh(self) -> bool:
        """Whether the pictures are others after each loop."""
        return self.is_hardest and getattr(self._runner.callback.probe, "refresh", False)

    def begin_run(self) -> None:
        self._pinned.clear()

    def restore(self) -> None:
        self.known_hardest = set() if self._runner.state.hardest_images is None else {"validation"}

    def needs_hardest(self, split: str) -> bool:
        """Whether the next loop is to find the pictures with the highest loss."""
        return self.is_hardest and (self.refresh or split not in self.known_hardest)

    def is_ready(self, split: str) -> bool:
        """Whether the callback has all that it needs to draw."""
        return split in self or not self._runner.callback.NEEDS_IMAGES

    def pin(self, trainer: pl.Trainer, module: pl.LightningModule, split: str, batch: Any, source: str) -> None:
        """Pin the pictures at the first batch of a run, and raise ValueError for arguments that do not fit.

        Data that cannot be read are a failure of the callback.
        """
        runner = self._runner
        is_first = split not in self._pinned and trainer.is_global_zero
        if not is_first or runner.disabled or runner.session.queue(trainer) is None:
            return
        self._pinned.add(split)
        unfit: ValueError | None = None
        with runner.settling(), runner.session.budget.spending():
            probe = self._choose(trainer, split, batch, source) if runner.callback.NEEDS_IMAGES else None
            with guard(module, trainer.precision_plugin):
                self._decide_meaning(trainer, module, split, batch, probe)
                unfit = self._check(trainer, module, split, probe)
            if probe is not None and unfit is None:
                unfit = self._pin(trainer, split, probe, source)
        if unfit is not None:
            raise unfit

    def _pin(self, trainer: pl.Trainer, split: str, probe: Probe, source: str) -> ValueError | None:
        if not self.is_hardest:
            self._follow(split, probe)
        elif self._runner.state.hardest_images is not None:
            images, labels = self._runner.state.hardest_images, self._runner.state.hardest_labels
            self._follow_hardest(trainer, split, images, labels)
        elif source == "training" and not loaders_in(trainer.val_dataloaders):
            remedy = "give a probe, or None"
            return ValueError(f"probe=Probe.hardest() needs a validation loop, and there is none; {remedy}")
        return None

    def pin_hardest(self, trainer: pl.Trainer, split: str, selector: SampleSelector) -> None:
        """The pictures with the highest losses become the probe."""
        if not trainer.is_global_zero:
            return
        if (hardest := selector.ranked()) is None:
            if (recording := self._runner.recording) is not None and not recording.scored:
                raise ValueError(
                    f"probe=Probe.hardest() found no loss: the loop over the {split} data does not run the watched network "
                    f"({sum(recording.batches.values())} batches seen, no scores recorded); run it there, or give a probe"
                )
            raise ValueError(
                "probe=Probe.hardest() found no loss in the validation loop: it needs class indices in the batch and scores "
                "(B, classes) from the network, not all of them NaN; give unpack=, or a probe"
            )
        with torch.inference_mode(False):  # in which the loop may be: gradients need ordinary tensors
            several = None if hardest.label_sets is None else hardest.label_sets[:, 0]
            images, labels = hardest.images.clone(), torch.from_numpy(hardest.labels if several is None else several)
        if split == "validation" and not self.refresh:
            self._runner.state.hardest_images, self._runner.state.hardest_labels = images, labels
        self._follow_hardest(trainer, split, images, labels)

    def _follow_hardest(self, trainer: pl.Trainer, split: str, images: Tensor, labels: Tensor | None) -> None:
        loader = first_loader(eval_loaders(trainer, split))
        self._follow(split, convert(describe(trainer, images, labels, loader, HARDEST), trainer))

    def _choose(self, trainer: pl.Trainer, split: str, batch: Any, source: str) -> Probe:
        runner = self._runner
        count = runner.callback.max_images
        if isinstance(runner.callback.probe, Probe):
            return convert(runner.callback.probe.head(count), trainer)
        peers = [one.callback for one in runner.session.runners(trainer) if one.callback.NEEDS_IMAGES]
        largest = max([count, *(one.max_images for one in peers if one.unpack is runner.callback.unpack)])
        return runner.session.probes.shared(trainer, split, (count, largest), runner.unpack, batch, source)

    def _check(
        self, trainer: pl.Trainer, module: pl.LightningModule, split: str, probe: Probe | None
    ) -> ValueError | None:
        """The error for arguments that do not fit; a network that fails by itself is no reason to stop the run."""
        runner = self._runner
        ctx, forward = runner.context(trainer, module, split, -1, probe), runner.callback.forward
        try:
            if probe is None:
                runner.callback.check_images(ctx)
                return None
            if isinstance(runner.callback.probe, Probe):
                check_class_names(probe, runner.session.meanings.of(forward))
            with explained_gradients(module, ctx.network, forward, probe):
                if runner.callback.target is not None:
                    check_target(ctx.network, probe.images, runner.callback.target_of(ctx), runner.auto_batch)
                runner.callback.check_images(ctx)
        except ValueError as error:  # a TypeError is of an output without scores
            if probe is None or runs(ctx.network, probe.images[:1]):
                return error
            raise
        return None

    def _decide_meaning(
        self, trainer: pl.Trainer, module: pl.LightningModule, split: str, batch: Any, probe: Probe | None
    ) -> None:
        session, forward = self._runner.session, self._runner.callback.forward
        if probe is not None and session.meanings.of(forward) is None:
            network = self._runner.network(module, probe)
            known = find_known_labels(trainer, split, batch, self._runner.unpack, probe)
            session.meanings.decide(network, forward, probe, known)

    def _follow(self, split: str, probe: Probe) -> None:
        self[split] = probe
        if split == "validation" and not self._runner.state.follow(probe) and not self.refresh:
            self._runner.session.warn(
                "lightning_viz starts its film strips again: the pictures of the probe are others than before; "
                "give a probe=, or split your data with a fixed seed, to see the same pictures throughout"
            )


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
