"""The part of every callback that listens to the validation and the test loop."""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader

from lightning_viz.collect.recorder import Collector, Harvest
from lightning_viz.collect.samples import Keeper, by_loss
from lightning_viz.data.batch import Unpack, unpack_batch
from lightning_viz.data.dataloaders import first, loaders
from lightning_viz.data.probe import Hardest, Probe
from lightning_viz.methods.model.modes import is_compiled

from .guard import guard
from .lightning_compat import Callback, pl
from .network import Forward, find_network
from .session import convert, described, session_of
from .state import Memory

HARDEST = "validation pictures of the highest loss"


class Listening(Callback):
    """Feeds collectors from a loop's own forward passes, with hooks that live as long as the loop, in every process."""

    every_n_epochs: int
    every_n_train_steps: int | None
    log_at_start: bool
    probe: Probe | Hardest | None
    max_images: int
    forward: Forward | None
    unpack: Unpack | None
    _memory: Memory

    def collectors(self, trainer: pl.Trainer, stage: str) -> Sequence[Collector]:
        """What to make of the forward passes, anew for each loop whose end is drawn next."""
        return []

    @abstractmethod
    def _pin_probe(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str, batch: Any, kind: str) -> None:
        """With the first batch."""

    @abstractmethod
    def _pin(self, trainer: pl.Trainer, stage: str, probe: Probe) -> None:
        """Take this probe."""

    @abstractmethod
    def _settle(self, trainer: pl.Trainer) -> None:
        """Warn of failures, or raise them."""

    def on_validation_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._listen(trainer, pl_module, "fit", batch, batch_idx, dataloader_idx)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._heard(batch, dataloader_idx, loaders(trainer.val_dataloaders))

    def on_test_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self._listen(trainer, pl_module, "test", batch, batch_idx, dataloader_idx)

    def on_test_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._heard(batch, dataloader_idx, loaders(trainer.test_dataloaders))

    def _listen(
        self, trainer: pl.Trainer, module: pl.LightningModule, stage: str, batch: Any, index: int, loader: int
    ) -> None:
        """Before a batch: with the first, pin the probe and attach the hooks."""
        memory = self._memory
        if loader == 0:  # in the sanity check before the first step, too
            self._pin_probe(trainer, module, stage, batch, "validation" if stage == "fit" else stage)
        if loader == index == 0:
            memory.harvest = self._harvest(trainer, module, stage, batch)
        if memory.harvest is not None:
            memory.harvest.attempt(memory.harvest.start, batch)

    def _harvest(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str, batch: Any) -> Harvest | None:
        """Of this loop, if there is anything to listen for. Every process finds the same, or breaks, which it says then."""
        if session_of(trainer).sink(trainer) is None:
            return None
        unpack, protection = self.unpack or unpack_batch, partial(guard, module, trainer.precision_plugin)
        again = protection if is_compiled(module) else None
        harvest = Harvest(module, [], unpack, whole=is_whole(trainer), again=again)
        harvest.attempt(lambda: setattr(harvest, "network", find_network(module, self.forward)))
        harvest.attempt(lambda: harvest.collectors.extend(self._wanted(trainer, stage)))
        if harvest.collectors:
            with protection():
                harvest.attempt(lambda: harvest.open(unpack(batch)[0]))
        return harvest if harvest.collectors or harvest.error else None

    def _wanted(self, trainer: pl.Trainer, stage: str) -> list[Collector]:
        """The collectors for this loop."""
        checking, fitting = trainer.sanity_checking, trainer.state.fn == "fit"
        wanted: list[Collector] = []
        if self._memory.failed and trainer.world_size == 1:  # of several processes one alone may know of it
            return wanted
        if isinstance(self.probe, Hardest) and (self._refreshes or stage not in self._memory.chosen):
            wanted.append(Keeper(self.max_images, by_loss))
        due = self.every_n_train_steps is not None or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if not fitting or (self.log_at_start if checking else due):
            wanted.extend(self.collectors(trainer, stage))
        return wanted

    def _share_pins(self, trainer: pl.Trainer, prefix: str) -> None:
        """What the first process has pinned under this, all have. Every process joins."""
        pins = {name: one for name, one in self._memory.kept.items() if name.startswith(prefix)}
        self._memory.kept |= trainer.strategy.broadcast(pins)

    def _heard(self, batch: Any, loader: int, data: list[DataLoader[Any]]) -> None:
        """After a batch."""
        if (harvest := self._memory.harvest) is not None:
            harvest.attempt(harvest.end, batch, loader, data[loader] if loader < len(data) else None)

    def _gather(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        """After a loop: the hooks go, the processes bring together what they have."""
        memory, harvest = self._memory, self._memory.harvest
        if harvest is None or harvest.global_step is not None:
            return
        harvest.gather()
        session_of(trainer).budget.blocked += harvest.seconds
        harvest.global_step = trainer.global_step
        hardest = [one for one in harvest.collectors if isinstance(one, Keeper) and one.is_of_hardest]
        for one in hardest if harvest.whole else []:
            memory.chosen.add(stage)  # also where it breaks now: all processes want the same of the next loop
            harvest.attempt(self._choose, trainer, stage, one)
        if harvest.error is not None:
            memory.failures.append(harvest.error)
        self._settle(trainer)

    def _choose(self, trainer: pl.Trainer, stage: str, keeper: Keeper) -> None:
        """The pictures with the highest losses become the probe."""
        if not trainer.is_global_zero:
            return
        if (hardest := keeper.best) is None:
            raise ValueError(
                "probe=Probe.hardest() found no loss in the validation loop: it needs class indices in the batch and logits "
                "(B, classes) from the network, not all of them NaN; give unpack=, or a probe"
            )
        with torch.inference_mode(False):  # in which the loop may be: gradients would not take what it made
            images, labels = hardest.images.clone(), torch.from_numpy(hardest.labels)
        if stage == "fit" and not self._refreshes:
            self._memory.kept |= {"probe/images": images, "probe/labels": labels}
        data = first(loaders(trainer.test_dataloaders if stage == "test" else trainer.val_dataloaders))
        self._pin(trainer, stage, convert(described(trainer, images, labels, data, HARDEST), trainer))

    def _stop_listening(self) -> None:
        if self._memory.harvest is not None:
            self._memory.harvest.close()

    @property
    def _refreshes(self) -> bool:
        return isinstance(self.probe, Hardest) and self.probe.refresh


def is_whole(trainer: pl.Trainer) -> bool:
    """Whether the validation loop that runs sees all the batches that it ever sees: the sanity check seldom does."""
    return not trainer.sanity_checking or trainer.num_sanity_val_batches == trainer.num_val_batches
