"""The base of all callbacks: when to draw, under what protection, and where it goes."""

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn

from lightning_viz.methods import Target
from lightning_viz.sinks import DiskError

from .batches import Unpack, unpack_batch
from .checks import (
    check_callable,
    check_choice,
    check_count,
    check_flag,
    check_probe,
    check_share,
    check_tag,
    check_target,
    check_target_argument,
    runs,
)
from .guard import guard
from .lightning import join, pl, rank_zero_warn
from .listening import HARDEST, Listening
from .log import Log
from .memory import Memory
from .network import Forward, find_network
from .panel import Item
from .probe import Hardest, Probe
from .processes import is_sharded
from .session import convert, loaders, session_of


class VizCallback(Listening):
    """Draws what a network learns while it trains. A subclass says what, in `draw`; the rest is here.

    Args:
        every_n_epochs: draw at the end of every n-th training epoch.
        every_n_train_steps: draw after every n-th training step instead.
        log_at_start: draw before the first step as well: the untrained or pretrained network is the first picture.
        probe: the pictures to look at. By default all callbacks of a trainer share one, taken class-balanced from the
            validation data (from the training data where there are none, which is said). `Probe.hardest()` chooses the
            validation pictures with the highest loss.
        max_images: how many pictures of the probe to draw.
        tag: replaces the first part of the tags in TensorBoard ("saliency" in "saliency/gradient").
        history: columns of the film strip; 0 turns it off.
        target: what to explain: None for the predicted class, "label" for the true one, a class index, one index per
            picture, or a callable from the model's output to one score per picture.
        max_overhead: the share of the fit's time, such as 0.05, that the drawing of all callbacks of the trainer may take
            together; where it would take more, they draw less often. What it takes is logged as `viz/overhead`, and what
            each drawing took as `viz/seconds/...`. The first drawing is always made.
        on_error: "warn" warns once and switches this callback off, training goes on; "raise" raises.
        forward: a callable from (LightningModule, images) to the output, where `module(images)` is not it.
        unpack: a callable from a batch to (images, labels), where the batch is neither (images, labels) nor a dict
            with the usual keys.

    Raises ValueError or TypeError for an argument that cannot be meant, at once.
    """

    def __init__(
        self,
        *,
        every_n_epochs: int = 1,
        every_n_train_steps: int | None = None,
        log_at_start: bool = True,
        probe: Probe | Hardest | None = None,
        max_images: int = 8,
        tag: str | None = None,
        history: int = 8,
        target: None | int | list[int] | Literal["label"] | Callable[[Any], Tensor] = None,
        max_overhead: float | None = None,
        on_error: Literal["warn", "raise"] = "warn",
        forward: Forward | None = None,
        unpack: Unpack | None = None,
    ) -> None:
        super().__init__()
        join()
        for name, value, least in (
            ("every_n_epochs", every_n_epochs, 1),
            ("every_n_train_steps", every_n_train_steps, 1),
            ("max_images", max_images, 1),
            ("history", history, 0),
        ):
            check_count(name, value, least, optional=name == "every_n_train_steps")
        check_choice("on_error", on_error, ("warn", "raise"))
        check_flag("log_at_start", log_at_start)
        check_target_argument(target)
        check_share("max_overhead", max_overhead)
        check_callable("forward", forward)
        check_callable("unpack", unpack)
        check_tag(tag)
        if probe is not None and not isinstance(probe, Probe | Hardest):
            raise TypeError(f"probe is {type(probe).__name__}; give a Probe(images, labels), or Probe.hardest()")
        self.every_n_epochs = every_n_epochs
        self.every_n_train_steps = every_n_train_steps
        self.log_at_start = log_at_start
        self.probe = probe
        self.max_images = max_images
        self.tag = tag
        self.history = history
        self.target = target
        self.max_overhead = max_overhead
        self.on_error = on_error
        self.forward = forward
        self.unpack = unpack
        self._memory = Memory()

    @abstractmethod
    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Item]:
        """What to log now: compute, render, yield. Runs in evaluation mode, with gradients possible."""

    def check(self, network: nn.Module) -> None:
        """Raise ValueError for arguments that do not fit the network, such as a layer it has not. Before training."""

    def begin(self, network: nn.Module, probe: Probe) -> None:
        """Before the first step, with the pictures: pin what has to be, raise ValueError for arguments that do not fit."""

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

    # Hooks, in the order of a run.

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        session = session_of(trainer)
        self._memory = session.memory(self.state_key, pl_module)
        if stage == "fit":
            session.begin_fit()

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._prepare(trainer, pl_module)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._memory.started = False
        self._memory.global_step = trainer.global_step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self._memory.started:  # not in on_train_start: a probe from a stream needs the first batch
            self._memory.started = True
            self._pin_probe(trainer, pl_module, "fit", batch, "training")
            if self.log_at_start and not self._memory.last_steps:
                self._log(trainer, pl_module, "fit")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        every = self.every_n_train_steps
        stepped = trainer.global_step > self._memory.global_step  # false within accumulated batches
        self._memory.global_step = trainer.global_step
        session_of(trainer).tell_overhead(trainer, logging_step(trainer))
        if every and stepped and (logging_step(trainer) + 1) % every == 0:
            self._log(trainer, pl_module, "fit")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.every_n_train_steps is None and (trainer.current_epoch + 1) % self.every_n_epochs == 0:
            # Lightning has counted on already, and logs the epoch's scalars at the step before.
            self._log(trainer, pl_module, "fit", logging_step(trainer) - 1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        session = session_of(trainer)
        with session.budget.spending():
            session.flush()
        session.tell_overhead(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._prepare(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._gather(trainer, pl_module, "fit")
        if trainer.state.fn == "validate":
            self._log(trainer, pl_module, "fit")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._prepare(trainer, pl_module)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._gather(trainer, pl_module, "test")
        self._log(trainer, pl_module, "test")

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._stop_listening()
        session_of(trainer).tell_overhead(trainer)
        session_of(trainer).flush()

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        session_of(trainer).flush()
        self._memory.harvest = None
        self._settle(trainer)

    # What survives a resume.

    @property
    def state_key(self) -> str:
        """Two callbacks of a class stand side by side if their tags differ."""
        return self._generate_state_key(tag=self.tag, **self.distinction())

    def distinction(self) -> dict[str, Any]:
        """The arguments that are part of the tags."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        return self._memory.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._memory.load_state_dict(state_dict)

    # The work.

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
            callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
            peers = [one for one in callbacks if isinstance(one, VizCallback) and one.unpack == self.unpack]
            count = max(one.max_images for one in peers)
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

    # Drawing.

    def _log(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str, step: int | None = None) -> None:
        """Draw and send, once per step; whatever goes wrong ends here."""
        session, memory = session_of(trainer), self._memory
        sink = session.sink(trainer)
        step = logging_step(trainer) if step is None else step
        if memory.failed or sink is None or stage not in memory.probes or step <= memory.last_steps.get(stage, -1):
            return
        name = self._name(trainer)
        if session.may_draw(trainer, name, self.max_overhead):
            memory.last_steps[stage] = step
            history = 0 if self._refreshes else self.history
            with session.budget.spending():
                try:
                    start = time.perf_counter()
                    with guard(pl_module, trainer.precision_plugin):
                        network = find_network(pl_module, self.forward)
                        log = Log(sink, memory, stage, step, self.tag, history, network, memory.probes[stage])
                        self.prepare(trainer, network, stage)
                        for item in self.draw(network, log.probe):
                            log.send(item)
                    if trainer.state.fn == "fit":
                        session.budget.drew(name, step, seconds := time.perf_counter() - start)
                        sink.scalar(f"viz/seconds/{name}", step, seconds)
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
        if isinstance(error, DiskError):  # that of all callbacks
            session_of(trainer).warn(f"lightning_viz draws no more in this run; training goes on. Cause: {error}")
            return
        rank_zero_warn(
            f"{type(self).__name__} failed and draws no more in this run; training goes on. Cause: "
            f"{type(error).__name__}: {error} (on_error='raise' stops the run and shows where)"
        )

    def _name(self, trainer: pl.Trainer) -> str:
        """The tag, or the class; with a number, if an earlier callback of the trainer has the same."""
        callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
        earlier = [one for one in callbacks[: callbacks.index(self)] if isinstance(one, VizCallback)]
        name = self.tag or type(self).__name__
        same = sum((one.tag or type(one).__name__) == name for one in earlier)
        return f"{name}_{same + 1}" if same else name


def logging_step(trainer: pl.Trainer) -> int:
    """The step that Lightning gives to scalars logged now: `global_step` would count every optimizer. Lightning's own
    LearningRateMonitor reads it here, too."""
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def remembered(memory: Memory) -> tuple[Tensor, Tensor] | None:
    """Images and labels of the probe that was chosen before a resume."""
    images = memory.kept.get("probe/images")
    return None if images is None else (images, memory.kept["probe/labels"])
