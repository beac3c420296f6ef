"""What every callback does: pin the pictures, draw under protection and within the budget, and settle failures."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn

from lightning_viz.data.batch import unpack_batch
from lightning_viz.data.dataloaders import loaders
from lightning_viz.data.distributed import is_sharded
from lightning_viz.data.probe import Hardest, Probe
from lightning_viz.methods import Target
from lightning_viz.sinks import DiskError

from .artifacts import Item
from .guard import guard
from .lightning_compat import pl, rank_zero_warn
from .listening import HARDEST, Listening
from .network import find_network
from .session import convert, logging_step, session_of
from .state import Memory
from .validation import check_probe, check_target, runs
from .words import plain_tag
from .writer import Log


class Drawing(Listening):
    """The work behind `VizCallback`, which says when, and whose subclasses say what."""

    tag: str | None
    history: int
    target: Any
    max_overhead: float | None
    on_error: Literal["warn", "raise"]

    @abstractmethod
    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Item]:
        """What to log now: compute, render, yield. Runs in evaluation mode, with gradients possible."""

    def check(self, network: nn.Module) -> None:
        """Raise ValueError for arguments that do not fit the network, such as a layer it has not. Before training."""

    def begin(self, network: nn.Module, probe: Probe) -> None:
        """Before the first step, with the pictures: pin what has to be, raise ValueError for arguments that do not fit."""

    def passes(self, count: int) -> float:
        """About how many pictures the first drawing of `count` sends through the network, forward and backward; forward alone
        is a third of one. A budget goes by it until it has seen what a drawing takes."""
        return count

    def prepare(self, trainer: pl.Trainer, network: nn.Module, stage: str) -> None:
        """Before each drawing, with the trainer at hand: get what `draw` needs of the data."""

    def explained(self, probe: Probe) -> Target:
        """`target` for these pictures, as the methods take it."""
        if self.target != "label":
            return self.target[: len(probe)] if isinstance(self.target, list) else self.target
        if probe.labels is None:
            raise ValueError(
                "target='label' needs labels, and the probe has none; give target=None for the predicted class"
            )
        return probe.labels

    def _prepare(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """All that can be wrong is found before any work is done."""
        session_of(trainer).check_loggers(trainer)
        if is_sharded(trainer):
            return  # its weights are not to be looked at
        network = find_network(pl_module, self.forward)
        self.check(network)
        if isinstance(self.probe, Probe) and trainer.is_global_zero:
            with guard(pl_module, trainer.precision_plugin):
                check_probe(network, convert(self.probe.head(1), trainer))

    def _pin_probe(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str, batch: Any, kind: str) -> None:
        """Pin the pictures at the first batch, when the loaders are there. Data that are no images raise, at once."""
        session, memory = session_of(trainer), self._memory
        if stage in memory.begun or not trainer.is_global_zero or session.sink(trainer) is None:
            return
        memory.begun.add(stage)
        with session.budget.spending():
            self._choose_probe(trainer, pl_module, stage, batch, kind)

    def _choose_probe(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str, batch: Any, kind: str
    ) -> None:
        session, memory = session_of(trainer), self._memory
        probe = self.probe if isinstance(self.probe, Probe) else None
        if probe is None:
            count = max(one.max_images for one in peers(trainer) if one.unpack == self.unpack)
            probe = session.probe(trainer, stage, count, self.unpack or unpack_batch, batch, kind)
        probe = convert(probe.head(self.max_images), trainer)
        with guard(pl_module, trainer.precision_plugin):
            self._begin(find_network(pl_module, self.forward), probe)
        self._settle(trainer)
        if not isinstance(self.probe, Hardest):
            self._pin(trainer, stage, probe)
        elif (kept := remembered(memory)) is not None:
            self._pin(trainer, stage, convert(replace(probe, images=kept[0], labels=kept[1], origin=HARDEST), trainer))
        elif kind == "training" and not loaders(trainer.val_dataloaders):
            raise ValueError("probe=Probe.hardest() needs a validation loop, and there is none; give a probe, or None")

    def _begin(self, network: nn.Module, probe: Probe) -> None:
        """Raise for arguments that do not fit; a network that fails by itself is no reason to stop the run."""
        try:
            if self.target is not None:
                check_target(network, probe, self.explained(probe), self._memory.portions)
            self.begin(network, probe)
        except Exception as error:
            if isinstance(error, ValueError | TypeError) and runs(network, probe.head(1)):
                raise
            self._memory.failures.append(error)

    def _pin(self, trainer: pl.Trainer, stage: str, probe: Probe) -> None:
        if not self._memory.pin(stage, probe) and not self._refreshes:
            session_of(trainer).warn(
                "lightning_viz starts its film strips anew: the probe is not the one of before the resume; "
                "give a probe=, or split your data with a fixed seed, to see the same pictures throughout"
            )

    def _log(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str, step: int | None = None) -> None:
        """Draw and send, once per step; whatever goes wrong ends here."""
        session, memory = session_of(trainer), self._memory
        sink = session.sink(trainer)
        step = logging_step(trainer) if step is None else step
        if memory.failed or sink is None or stage not in memory.probes or step <= memory.last_steps.get(stage, -1):
            return
        name = self._name(trainer)
        if session.may_draw(trainer, name, self.max_overhead, self.passes(len(memory.probes[stage]))):
            memory.last_steps[stage] = step
            history = 0 if self._refreshes else self.history
            try:
                with session.budget.spending() as seconds, guard(pl_module, trainer.precision_plugin):
                    network = find_network(pl_module, self.forward)
                    log = Log(sink, memory, stage, step, self.tag, history, network, memory.probes[stage])
                    self.prepare(trainer, network, stage)
                    for item in self.draw(network, log.probe):
                        log.send(item)
                if trainer.state.fn == "fit":
                    session.budget.drew(name, step, seconds())
                    sink.scalar(plain_tag(f"viz/seconds/{name}"), step, seconds())
            except Exception as error:
                memory.failures.append(error)
        memory.harvest = None  # it holds the network
        self._settle(trainer)

    def _settle(self, trainer: pl.Trainer) -> None:
        """Failures, also those of the worker that paints: warn once and rest, or raise."""
        memory, failures = self._memory, self._memory.failures
        if not failures:
            return
        error, known = failures[0], memory.failed
        memory.failed, memory.failures = True, []  # an exception keeps all that was in its frames
        if known:
            return
        if self.on_error == "raise":
            raise error
        if isinstance(error, DiskError):
            session_of(trainer).warn_of_writing(error)
            return
        rank_zero_warn(
            f"{type(self).__name__} failed and draws no more in this run; training goes on. Cause: "
            f"{type(error).__name__}: {error} (on_error='raise' stops the run and shows where)"
        )

    def _name(self, trainer: pl.Trainer) -> str:
        """The tag, or the class; with a number, if an earlier callback of the trainer has the same."""
        name = self.tag or type(self).__name__
        same = [one for one in peers(trainer) if (one.tag or type(one).__name__) == name]
        number = next((n for n, one in enumerate(same) if one is self), 0)
        return f"{name}_{number + 1}" if number else name


def peers(trainer: pl.Trainer) -> "list[Drawing]":
    """This library's callbacks of a trainer."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [one for one in callbacks if isinstance(one, Drawing)]


def remembered(memory: Memory) -> tuple[Tensor, Tensor] | None:
    """Images and labels of the probe that was chosen before a resume."""
    images = memory.kept.get("probe/images")
    return None if images is None else (images, memory.kept["probe/labels"])
