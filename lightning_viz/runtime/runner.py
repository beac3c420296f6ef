"""CallbackRunner: one callback in one run. It pins the probe, opens guard and budget, draws, and settles errors."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import ref

from torch import nn

from lightning_viz.collect.accumulator import Accumulator
from lightning_viz.collect.recorder import Recording
from lightning_viz.data.batch import BatchError, Unpack, unpack_batch
from lightning_viz.data.probe import Probe
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.sinks.sink_queue import SinkQueue

from .context import DrawContext, VizCallbackProtocol
from .guard import guard
from .lightning_compat import eval_data, is_complete_loop, is_sharded, logging_step, pl
from .network import explained_gradients
from .pinned_probes import PinnedProbes
from .progress import Progress
from .writer import Writer, clean_tag

if TYPE_CHECKING:
    from .session import VizSession


class CallbackRunner:
    """One callback with one module of one trainer."""

    def __init__(
        self,
        callback: VizCallbackProtocol,
        session: "VizSession | None" = None,
        module: pl.LightningModule | None = None,
    ) -> None:
        self.callback = callback
        self.state = callback.State()
        self.auto_batch = AutoBatch()
        self.probes = PinnedProbes(self)
        self.cache: dict[Any, Any] = {}  #: what the callback computes once for a run
        self.progress = Progress(callback, lambda text: self.session.warn(text))
        self.is_put_off = False  #: the budget has no time for the drawing after the last loop
        self.recording: Recording | None = None  #: of the last loop, until it is drawn
        self.failures: list[Exception] = []  #: also of the queue's thread
        self.disabled = False
        self._session = session
        self._module = None if module is None else ref(module)
        self._started = False
        self._global_step = 0  #: at the end of the last training batch

    def __getstate__(self) -> dict[str, Any]:
        """A copy of the callback keeps what survives a resume; session, queue and pictures are this run's alone."""
        return {"callback": self.callback, "state": self.state}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        CallbackRunner.__init__(self, kept["callback"])
        self.state = kept["state"]

    @property
    def session(self) -> "VizSession":
        if self._session is None:
            name = type(self.callback).__name__
            raise RuntimeError(f"{name} is not attached to a trainer; fit, validate or test first")
        return self._session

    @property
    def unpack(self) -> Unpack:
        return self.callback.unpack or unpack_batch

    def is_of(self, callback: VizCallbackProtocol, module: pl.LightningModule) -> bool:
        return self.callback is callback and self._module is not None and self._module() is module

    def is_attached_to(self, session: "VizSession") -> bool:
        return self._session is session

    # In the order of a run.

    def begin_run(self) -> None:
        """Fit, validate or test begins, maybe with other data."""
        self.probes.begin_run()
        self.cache.clear()
        self.disabled = False  # it is for the rest of a run

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint; one of another version starts with empty film strips."""
        try:
            self.state = self.callback.State.from_state_dict(state)
            self.probes.restore()
        except Exception as error:  # whatever a checkpoint holds
            if self._session is not None:
                self._session.warn(f"lightning_viz starts with empty film strips: {error}")

    def check_arguments(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Raise for arguments that do not fit the network, before any work is done."""
        with self.settling():
            self.session.check_loggers(trainer)
        if self.disabled or is_sharded(trainer):
            return  # its weights are not complete
        self.callback.check(self.session.networks.of(module, self.callback.forward, None))
        self.probes.check(trainer, module)

    def start_training(self, trainer: pl.Trainer) -> None:
        self._started = False
        self._global_step = trainer.global_step

    def before_train_batch(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> None:
        """With the first batch: a probe from a stream needs one."""
        if self._started:
            return
        self._started = True
        if self.session.leads(trainer, self.callback):
            self.session.plan(trainer, module, batch)
        self.probes.pin(trainer, module, "validation", batch, "training")
        if self.callback.schedule.log_at_start and "validation" not in self.state.last_steps:
            self.draw(trainer, module, "validation")

    def after_train_batch(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.session.leads(trainer, self.callback):
            self.session.count_batch(trainer)
        stepped = trainer.global_step > self._global_step  # false within accumulated batches
        self._global_step = trainer.global_step
        if stepped and self.callback.schedule.is_due_after_step(logging_step(trainer)):
            self.draw(trainer, module, "validation")

    def after_train_epoch(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.callback.schedule.is_due_after_epoch(trainer.current_epoch):
            # Lightning has counted on already, and logs the epoch's scalars at the step before.
            self.draw(trainer, module, "validation", logging_step(trainer) - 1)

    def finish(self) -> None:
        self.recording = None
        self.settle()

    # The validation and the test loop, see `VizSession`.

    @property
    def pins(self) -> dict[str, Any]:
        """The fields of the state that every process needs."""
        return {name: getattr(self.state, name) for name in self.callback.PINNED}

    def start_recording(self, trainer: pl.Trainer, split: str) -> None:
        self.recording = Recording(complete=is_complete_loop(trainer))
        self.recording.accumulators = self.recording.attempt(self._accumulators, trainer, split) or []

    def _accumulators(self, trainer: pl.Trainer, split: str) -> list[Accumulator]:
        if self.disabled and trainer.world_size == 1:  # of several processes only one may know
            return []
        hardest = self.probes.accumulators(split)
        needed = self.callback.schedule.needs_recording(trainer.current_epoch, trainer.sanity_checking)
        if trainer.state.fn == "fit" and (not needed or self.is_put_off):
            return [*hardest]
        return [*hardest, *self.callback.accumulators(eval_data(trainer, split, self.unpack), self.state)]

    def after_recording(self, trainer: pl.Trainer, split: str) -> None:
        """The loop is over, and the processes are merged."""
        recording = self.recording
        if recording is None or recording.global_step is None:
            return
        self.probes.after_recording(trainer, split, recording)
        # Without readable batches a callback whose pictures are given still draws what it needs no others for.
        if recording.error is not None and (self.probes.is_hardest or not isinstance(recording.error, BatchError)):
            self.failures.append(recording.error)
        self.settle()

    # Drawing.

    def draw(self, trainer: pl.Trainer, module: pl.LightningModule, split: str, step: int | None = None) -> None:
        """Draw and write, once per step; whatever goes wrong ends here."""
        queue = self.session.queue(trainer)
        step = logging_step(trainer) if step is None else step
        is_new = step > self.state.last_steps.get(split, -1)
        if self.disabled or queue is None or not (trainer.is_global_zero and is_new and self.probes.is_ready(split)):
            return
        with self.settling():
            if not self.session.overhead.allows(self, trainer, module, split):
                return  # what was recorded is kept: it may be drawn at the end of training
            try:
                self._draw(trainer, module, split, step, queue)
            finally:
                self.recording = None  # it holds the network

    def _draw(self, trainer: pl.Trainer, module: pl.LightningModule, split: str, step: int, queue: SinkQueue) -> None:
        callback, budget, probe = self.callback, self.session.budget, self.probes.get(split)
        name, passes = self.session.name_of(self, trainer), self.session.overhead.passes(self, trainer, module, probe)
        self.state.last_steps[split] = step
        with budget.spending() as seconds, guard(module, trainer.precision_plugin):
            ctx = self.context(trainer, module, split, step, probe)
            history = 0 if self.probes.refresh else callback.history
            writer = Writer(queue, ctx, self.state, callback.tag, history, self.failures.append)
            follow = self.progress.following(trainer, name, ctx, passes, budget)
            with follow, explained_gradients(module, ctx.network, callback.forward, probe):
                writer.write_all(callback.draw(ctx))
        if trainer.state.fn == "fit":
            budget.record(name, step, seconds())
            queue.scalar(clean_tag(f"viz/seconds/{name}"), step, seconds())

    def network(self, module: pl.LightningModule, probe: Probe | None) -> nn.Module:
        """The network as the methods call it with the images of a probe. Call under the guard."""
        return self.session.networks.for_probe(module, self.callback.forward, probe)

    def context(
        self, trainer: pl.Trainer, module: pl.LightningModule, split: str, step: int, probe: Probe | None
    ) -> DrawContext:
        network = self.network(module, probe)
        return DrawContext(
            network=network,
            _probe=probe,
            split=split,
            step=step,
            global_step=trainer.global_step,
            schedule=self.callback.schedule,
            data=eval_data(trainer, split, self.unpack, self.session.meanings.of(self.callback.forward)),
            auto_batch=self.auto_batch,
            warn=self.session.warn,
            cache=self.cache,
            _state=self.state,
            _recording=self.recording,
            _predict=partial(self.session.predictions, trainer, module, network, runner=self),
            is_fit=trainer.state.fn == "fit",
        )

    @contextmanager
    def settling(self) -> Iterator[None]:
        """Whatever goes wrong inside is a failure of this callback."""
        try:
            yield
        except Exception as error:
            self.failures.append(error)
        self.settle()

    def settle(self) -> None:
        """Failures, also those of the queue's thread: warn once and disable the callback, or raise."""
        if not self.failures:
            return
        error, known = self.failures[0], self.disabled
        self.disabled, self.failures = True, []  # an exception keeps everything in its frames
        if not known and self.callback.on_error == "raise":
            raise error
        if not known:
            self.session.errors.callback_failed(type(self.callback).__name__, error)
