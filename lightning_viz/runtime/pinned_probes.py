"""The pictures of one callback: pinned at the first batch of a run, or after a loop those with the highest loss."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lightning_viz.collect.recorder import Recording
from lightning_viz.collect.sample_selector import SampleSelector, by_loss
from lightning_viz.data.dataloaders import first_loader, loaders_in
from lightning_viz.data.probe import Hardest, Probe
from lightning_viz.methods.model.image_calls import runs

from .guard import guard
from .lightning_compat import eval_loaders, pl
from .network import explained_gradients
from .output_meaning import MissingLabelsError, check_class_names, check_target, find_known_labels
from .probe_source import convert, describe

if TYPE_CHECKING:
    from .runner import CallbackRunner

HARDEST = "validation pictures with the highest loss"


class PinnedProbes(dict[str, Probe]):
    """The probe of one callback, by split."""

    def __init__(self, runner: "CallbackRunner") -> None:
        super().__init__()
        self._runner = runner
        self._pinned: set[str] = set()  #: the splits whose first batch this run has seen
        self._known_hardest: set[str] = set()  #: the splits whose hardest pictures are known

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
        self._known_hardest = set() if self._runner.state.hardest_images is None else {"validation"}

    def is_ready(self, split: str) -> bool:
        """Whether the callback has all that it needs to draw."""
        return split in self or not self._runner.callback.NEEDS_IMAGES

    def check(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Raise ValueError for a given probe that does not fit the network."""
        given = self._runner.callback.probe
        if isinstance(given, Probe) and trainer.is_global_zero:
            with guard(module, trainer.precision_plugin):
                probe, forward = convert(given.head(1), trainer), self._runner.callback.forward
                self._runner.session.networks.check_probe(module, forward, probe)

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

    def _needs_hardest(self, split: str) -> bool:
        return self.is_hardest and (self.refresh or split not in self._known_hardest)

    def accumulators(self, split: str) -> list[SampleSelector]:
        """What the next loop is to record: the pictures with the highest loss, if they are wanted."""
        return [SampleSelector(self._runner.callback.max_images, by_loss)] if self._needs_hardest(split) else []

    def after_recording(self, trainer: pl.Trainer, split: str, recording: Recording) -> None:
        """The pictures with the highest loss become the probe, if they are wanted, in the first process."""
        if not recording.complete or not self._needs_hardest(split):
            return
        self._known_hardest.add(split)  # in every process, also where it fails: all want the same of the next loop
        selectors = [one for one in recording.accumulators if isinstance(one, SampleSelector) and one.key is by_loss]
        for selector in selectors if trainer.is_global_zero else []:
            recording.attempt(self._pin_hardest, trainer, split, recording, selector)

    def _pin_hardest(self, trainer: pl.Trainer, split: str, recording: Recording, selector: SampleSelector) -> None:
        if (hardest := selector.ranked()) is None:
            if not recording.scored:
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
        except MissingLabelsError as error:
            if isinstance(runner.callback.probe, Probe):
                return error
            raise  # the data have none
        except ValueError as error:  # a TypeError is of an output without scores
            if probe is None or runs(ctx.network, probe.images[:1]):
                return error
            raise
        return None

    def _decide_meaning(
        self, trainer: pl.Trainer, module: pl.LightningModule, split: str, batch: Any, probe: Probe | None
    ) -> None:
        session, forward = self._runner.session, self._runner.callback.forward
        if probe is not None and not session.meanings.is_tried(forward):
            network = self._runner.network(module, probe)
            known = find_known_labels(trainer, split, batch, self._runner.unpack, probe)
            session.meanings.decide(network, forward, probe, known)

    def _follow(self, split: str, probe: Probe) -> None:
        self[split] = probe
        if count := int((~probe.images.isfinite().flatten(1).all(dim=1)).sum()):
            self._runner.session.warn(
                f"lightning_viz: {count} of {len(probe.images)} pictures of the probe hold NaN or infinite values; their own "
                "panels show nothing else; look at the data, or give a probe= without them",
                "pictures that are not finite",
            )
        if split == "validation" and not self._runner.state.follow(probe) and not self.refresh:
            self._runner.session.warn(
                "lightning_viz starts its film strips again: the pictures of the probe are others than before; "
                "give a probe=, or split your data with a fixed seed, to see the same pictures throughout"
            )
