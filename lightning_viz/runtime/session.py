"""What the callbacks of one trainer share: the probe, the sink, and what was warned of."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary, ref

from torch import Tensor
from torch.utils.data import DataLoader

from lightning_viz.data.batch import Unpack, unpack_batch
from lightning_viz.data.class_balanced import chain, describe, sample_batch
from lightning_viz.data.dataloaders import first, loaders
from lightning_viz.data.distributed import is_sharded
from lightning_viz.data.probe import Probe
from lightning_viz.data.samplers import batch_size_of
from lightning_viz.sinks import DiskError, Queue

from .budget import Budget
from .guard import guard
from .lightning_compat import pl, rank_zero_warn
from .loggers import is_a, sinks_of
from .state import Memory


class Session:
    """One per trainer, kept for as long as the trainer is."""

    def __init__(self) -> None:
        self._probes: dict[tuple[str, Unpack], Probe] = {}
        self._queues: dict[tuple[int, ...], tuple[Queue | None, list[Any]]] = {}
        self._warned: set[str] = set()
        self.budget = Budget()
        self._batch_size = self._batches_before = 0
        self._memories: dict[str, tuple[ref[pl.LightningModule], Memory]] = {}

    def memory(self, key: str, module: pl.LightningModule) -> Memory:
        """What the callback of this key remembers of this trainer's run with this module: another one starts anew."""
        known, memory = self._memories.get(key, (None, None))
        if known is None or memory is None or known() is not module:
            memory = Memory()
            self._memories[key] = (ref(module), memory)
        return memory

    def begin_fit(self) -> None:
        """Count the time from now on."""
        before = self._behind()
        self.budget = Budget(lambda: self._behind() - before)

    def plan(self, trainer: pl.Trainer) -> None:
        """Before the first step: how much is to come."""
        loader, loop = first(loaders(trainer.train_dataloader)), trainer.fit_loop
        epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs - trainer.current_epoch
        batches = trainer.num_training_batches * epochs
        if trainer.max_steps >= 0:
            batches = min(batches, (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches)
        self._batch_size = (batch_size_of(loader) if loader is not None else None) or 1
        self._batches_before = loop.total_batch_idx
        self.budget.planned = batches * self._batch_size

    def count(self, trainer: pl.Trainer) -> None:
        """After a batch."""
        self.budget.trained = (trainer.fit_loop.total_batch_idx + 1 - self._batches_before) * self._batch_size

    def may_draw(self, trainer: pl.Trainer, name: str, share: float | None, passes: float) -> bool:
        """Whether a callback of this name may draw now, where this share of the fit's time may be spent.

        `passes` are the pictures that go through the network for it.
        """
        if trainer.state.fn != "fit" or self.budget.allows(name, share, passes):
            return True
        self.warn(
            f"lightning_viz draws less often than it was asked to: more would take over max_overhead={share} of the fit's "
            "time; viz/seconds says what takes how long, max_overhead=None draws all"
        )
        return False

    def warn_of_left_out(self) -> None:
        """After a fit: say which callbacks never drew."""
        if self.budget.left_out:
            self.warn(
                f"lightning_viz drew nothing of {', '.join(self.budget.left_out)} in this fit, which was too short for it to stay "
                "within max_overhead; give them more, or max_overhead=None to draw all"
            )

    def tell_overhead(self, trainer: pl.Trainer, step: int | None = None) -> None:
        """Log the share of the fit's time that drawing took, with the step drawn last, if that is over at this step; without
        one, that of the whole fit."""
        if (sink := self.sink(trainer)) is None:
            return
        try:
            if step is None:
                self.budget.tell_all(partial(sink.scalar, "viz/overhead"), logging_step(trainer) - 1)
            else:
                self.budget.tell(partial(sink.scalar, "viz/overhead"), step)
        except Exception as error:
            self.warn_of_writing(error)

    def _behind(self) -> float:
        """Seconds that the queues' work takes from a training that keeps all processors busy."""
        processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return sum(queue.seconds for queue, _ in self._queues.values() if queue is not None) / processors

    def warn(self, message: str) -> None:
        """Warn, once per trainer whoever finds it."""
        if message not in self._warned:
            self._warned.add(message)
            rank_zero_warn(message)

    def sink(self, trainer: pl.Trainer) -> Queue | None:
        """Where to log now. Asked each time: a learning-rate finder swaps in a logger that takes nothing."""
        if is_sharded(trainer):
            return None
        key = tuple(map(id, trainer.loggers))
        if key not in self._queues:
            sinks = sinks_of(trainer.loggers)
            self._queues[key] = (Queue(sinks) if sinks else None), list(trainer.loggers)  # which keep their ids
        return self._queues[key][0]

    def check_loggers(self, trainer: pl.Trainer) -> None:
        """Say once why nothing will be drawn, where that is so."""
        if self.sink(trainer) is not None:
            return
        if trainer.fast_dev_run:  # type: ignore[attr-defined]
            self.warn("lightning_viz draws nothing: fast_dev_run has no logger")
        elif is_sharded(trainer):
            self.warn(
                f"lightning_viz draws nothing: {type(trainer.strategy).__name__} shards weights, and it needs all of them in "
                "one process; train on one device or with DDP to see pictures"
            )
        elif not trainer.loggers:
            self.warn(
                "lightning_viz draws nothing: the trainer has no logger; give Trainer(logger=TensorBoardLogger(...))"
            )
        elif not any(is_a("DummyLogger", logger) for logger in trainer.loggers):
            kinds = ", ".join(type(logger).__name__ for logger in trainer.loggers)
            self.warn(
                f"lightning_viz draws nothing: {kinds} takes no pictures; add a TensorBoardLogger to Trainer(logger=[...])"
            )

    def flush(self) -> None:
        """Return when all that was drawn is on disk. A disk that is full or gone is warned of, and stops no run."""
        for queue, _ in self._queues.values():
            try:
                if queue is not None:
                    queue.flush()
            except Exception as error:
                self.warn_of_writing(error)

    def warn_of_writing(self, error: Exception) -> None:
        """Say once that a disk takes no more, whichever callback finds it."""
        if isinstance(error, DiskError):
            self.warn(f"lightning_viz draws no more in this run; training goes on. Cause: {error}")
        else:
            self.warn(f"lightning_viz could not write all pictures: {type(error).__name__}: {error}")

    def probe(self, trainer: pl.Trainer, stage: str, count: int, unpack: Unpack, batch: Any, kind: str) -> Probe:
        """The shared probe of `count` pictures for a stage, "fit" or "test", made when it is first asked for.

        It comes from the dataset by index, or else from `batch`, the one at hand, whose data are of this `kind`.
        Raises ValueError where the data are no images.
        """
        if (stage, unpack) not in self._probes:
            assert trainer.lightning_module is not None
            # The user's transforms may be random, and may ask whether this is training.
            with guard(trainer.lightning_module), not_training(trainer):
                self._probes[stage, unpack] = self._make_probe(trainer, stage, count, unpack, batch, kind)
        return self._probes[stage, unpack]

    def _make_probe(self, trainer: pl.Trainer, stage: str, count: int, unpack: Unpack, batch: Any, kind: str) -> Probe:
        name = "test" if stage == "test" else "validation"
        loader = first(loaders(trainer.test_dataloaders if stage == "test" else trainer.val_dataloaders))
        if loader is None and kind == "training":
            name, loader = kind, first(loaders(trainer.train_dataloader))
        try:
            sample = sample_batch(loader, count, lambda batch: unpack(batch)[1]) if loader is not None else None
            if sample is not None:
                sample = trainer.strategy.batch_to_device(sample)
                if unpack is not unpack_batch:
                    unpack(sample)
        except Exception:  # a dataset that can be read by its workers only, or that the loop combines with others
            sample = None
        if sample is None:
            name, sample = kind, batch
        if name == "training":
            self.warn(
                "lightning_viz shows training pictures: there are no validation data that it could read before the first "
                "step; give probe=Probe(images, labels) to choose your own"
            )
        images, labels = unpack(sample)
        images, labels = images[:count].detach().clone(), None if labels is None else labels[:count].clone()
        return described(trainer, images, labels, loader, f"pictures of the {name} data")


def convert(probe: Probe, trainer: pl.Trainer) -> Probe:
    """On the trainer's device, in its precision."""
    probe = probe.to(trainer.strategy.root_device)
    return replace(probe, images=trainer.precision_plugin.convert_input(probe.images))


def described(
    trainer: pl.Trainer, images: Tensor, labels: Tensor | None, loader: DataLoader[Any] | None, origin: str
) -> Probe:
    """A probe of these images of a loader, with what its dataset, the datamodule and the module know of them."""
    data = [*(chain(loader.dataset) if loader is not None else ()), getattr(trainer, "datamodule", None)]
    return describe(images, labels, origin, [one for one in data if one is not None], trainer.lightning_module)


@contextmanager
def not_training(trainer: pl.Trainer) -> Iterator[None]:
    """The trainer says that it validates, as it will when the pictures are seen next."""
    stage = trainer.state.stage
    if trainer.training:
        trainer.validating = True
    try:
        yield
    finally:
        trainer.state.stage = stage


def logging_step(trainer: pl.Trainer) -> int:
    """The step that Lightning gives to scalars logged now: `global_step` would count every optimizer. Lightning's own
    LearningRateMonitor reads it here, too."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


_SESSIONS: "WeakKeyDictionary[pl.Trainer, Session]" = WeakKeyDictionary()


def session_of(trainer: pl.Trainer) -> Session:
    """The one session of this trainer."""
    return _SESSIONS.setdefault(trainer, Session())
