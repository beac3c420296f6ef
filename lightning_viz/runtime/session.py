"""VizSession: what the callbacks of one trainer share, done once for all of them."""

from functools import partial
from typing import Any

from torch import nn

from lightning_viz.collect.recorder import ForwardRecorder
from lightning_viz.data.probe import Probe
from lightning_viz.methods.model.modes import is_compiled
from lightning_viz.sinks.sink_queue import SinkQueue, SinkQueues

from .budget import Budget
from .captions import Predictions, predict, weights_version
from .context import VizCallbackProtocol
from .errors import ErrorReporter
from .guard import guard
from .lightning_compat import (
    callbacks_of,
    eval_loaders,
    is_sharded,
    logging_step,
    pl,
    split_of,
    why_not_logged,
)
from .network import Networks
from .output_meaning import OutputMeanings
from .overhead import Overhead
from .probe_source import ProbeSource
from .runner import CallbackRunner


class VizSession:
    """One per trainer, kept for as long as the trainer is. Its first callback leads: it does what is done once."""

    def __init__(self) -> None:
        self.errors = ErrorReporter()
        self.warn = self.errors.warn
        self.overhead = Overhead(self.warn)
        self.probes, self.networks = ProbeSource(self.warn), Networks()
        self._queues = SinkQueues()
        self._runners: dict[str, CallbackRunner] = {}
        self._recorders: list[ForwardRecorder] = []
        self.meanings = OutputMeanings()
        self._predictions: tuple[tuple[Any, ...], Probe, Predictions] | None = None

    def __reduce__(self) -> tuple[type["VizSession"], tuple[()]]:
        """A trainer that is sent to another process, or copied, has a session of its own there."""
        return VizSession, ()

    # The callbacks.

    def attach(
        self, callback: VizCallbackProtocol, trainer: pl.Trainer, module: pl.LightningModule, stage: str
    ) -> CallbackRunner:
        """The runner of a callback for the run that begins: the one before, if it is of the same module."""
        if self.leads(trainer, callback):
            self.errors.begin_run()
            self.meanings = OutputMeanings()
            self.networks.begin_run()
            if stage == "fit":
                before = self._queues.seconds
                self.overhead.begin_fit(Budget(lambda: self._queues.seconds - before))
        runner = self._runners.get(callback.state_key)
        if runner is None or not runner.is_of(callback, module):
            runner = self._runners[callback.state_key] = CallbackRunner(callback, self, module)
        runner.begin_run()
        return runner

    def runners(self, trainer: pl.Trainer) -> list[CallbackRunner]:
        """Of all callbacks of the trainer, in their order; one that was added during the run is attached now."""
        found = []
        for callback in callbacks_of(trainer):
            if not callback.runner.is_attached_to(self):
                callback.runner = self.attach(callback, trainer, trainer.lightning_module, "")
            found.append(callback.runner)
        return found

    def leads(self, trainer: pl.Trainer, callback: VizCallbackProtocol) -> bool:
        """Whether this is the first callback of the trainer."""
        return callbacks_of(trainer)[:1] == [callback]

    def name_of(self, runner: CallbackRunner, trainer: pl.Trainer) -> str:
        """The tag, or the class; with a number, if an earlier callback of the trainer has the same."""
        names = {one: one.callback.tag or type(one.callback).__name__ for one in [*self.runners(trainer), runner]}
        number = [one for one, name in names.items() if name == names[runner]].index(runner)
        return f"{names[runner]}_{number + 1}" if number else names[runner]

    # The budget.

    @property
    def budget(self) -> Budget:
        return self.overhead.budget

    def plan(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> None:
        """Before the first step: pin all probes, and keep the time of the last drawings free."""
        runners = self.runners(trainer)
        for runner in runners:
            runner.probes.pin(trainer, module, "validation", batch, "training")
        self.overhead.plan(trainer)
        if trainer.is_global_zero and self.queue(trainer) is not None:
            for runner in runners:
                self.overhead.reserve(runner, trainer, module)
            self.overhead.warn_of_too_large({one.callback.max_overhead for one in runners})

    def count_batch(self, trainer: pl.Trainer) -> None:
        self.overhead.count_batch(trainer)
        self._log_overhead(trainer, logging_step(trainer))

    def end_fit(self, trainer: pl.Trainer) -> None:
        """Draw what the budget has put off, write everything, and log and say what the fit's drawings took."""
        self.budget.ended = True
        runners = {self.name_of(runner, trainer): runner for runner in self.runners(trainer)}
        for name in self.budget.waiting:
            if name in runners:
                runners[name].draw(trainer, trainer.lightning_module, "validation", logging_step(trainer) - 1)
        with self.budget.spending():
            self.flush()
        self._log_overhead(trainer)
        self.overhead.report(trainer)

    def _log_overhead(self, trainer: pl.Trainer, step: int | None = None) -> None:
        if (queue := self.queue(trainer)) is not None:
            with self.errors.writing():
                self.overhead.log(trainer, queue, step)

    # The loggers.

    def queue(self, trainer: pl.Trainer) -> SinkQueue | None:
        """To the trainer's loggers of this moment."""
        return None if is_sharded(trainer) else self._queues.of(trainer.loggers)

    def check_loggers(self, trainer: pl.Trainer) -> None:
        """Warn once why nothing will be drawn, where that is so."""
        if self.queue(trainer) is None and (reason := why_not_logged(trainer)) is not None:
            self.warn(f"lightning_viz draws nothing: {reason}")

    def flush(self) -> None:
        """Return when everything drawn is on disk."""
        for queue in self._queues:
            with self.errors.writing():
                queue.flush()

    # The probe.

    def predictions(
        self, trainer: pl.Trainer, module: nn.Module, network: nn.Module, probe: Probe, runner: CallbackRunner
    ) -> Predictions:
        """What the network predicts for a probe: one forward pass for all callbacks that draw at this moment."""
        moment = trainer.state.fn, trainer.global_step, trainer.fit_loop.total_batch_idx
        key = id(probe), id(runner.callback.forward), moment, weights_version(module)
        if self._predictions is None or self._predictions[0] != key or key[-1] is None:
            meaning = self.meanings.of(runner.callback.forward)
            self._predictions = key, probe, predict(network, probe, runner.auto_batch, meaning)
        return self._predictions[2]

    # The validation and the test loop.

    def before_eval_batch(
        self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any, index: int, loader: int
    ) -> None:
        """With the first batch, pin the probes and attach the recorder's hooks."""
        split = split_of(trainer)
        if loader == 0:  # in the sanity check before the first step, too
            for runner in self.runners(trainer):
                runner.probes.pin(trainer, module, split, batch, split)
        if loader == index == 0:
            self._recorders = self._open_recorders(trainer, module, batch)
        for recorder in self._recorders:
            recorder.start(batch, loader)

    def after_eval_batch(self, trainer: pl.Trainer, loader: int) -> None:
        loaders = eval_loaders(trainer, split_of(trainer))
        for recorder in self._recorders:
            recorder.end(loader, loaders[loader] if loader < len(loaders) else None)

    def after_eval_loop(self, trainer: pl.Trainer) -> None:
        """Remove the hooks, and bring together what all processes recorded."""
        recorders, self._recorders = self._recorders, []
        for recorder in recorders:
            recorder.merge(trainer.global_step)
            self.budget.count_loop(recorder.seconds)
        if recorders:
            for runner in self.runners(trainer):
                runner.after_recording(trainer, split_of(trainer))

    def abort(self, trainer: pl.Trainer) -> None:
        """After an exception: remove the hooks, and write everything."""
        for recorder in self._recorders:
            recorder.close()
        self._recorders = []
        for runner in self.runners(trainer):
            runner.recording = None  # it refers to the network
        self._log_overhead(trainer)
        self.flush()

    def _open_recorders(self, trainer: pl.Trainer, module: pl.LightningModule, batch: Any) -> list[ForwardRecorder]:
        """One, unless callbacks differ in `forward=` or `unpack=`. Every process opens the same ones."""
        if self.queue(trainer) is None:
            return []
        runners = self.runners(trainer)
        for runner in runners:
            runner.is_put_off = not runner.callback.schedule.in_steps and self.overhead.puts_off(runner, trainer)
        if trainer.world_size > 1:  # what the first has pinned, such as the channels to show, every process has
            own = [(one.pins, self.meanings.of(one.callback.forward), one.is_put_off) for one in runners]
            for runner, (values, meaning, runner.is_put_off) in zip(
                runners, trainer.strategy.broadcast(own), strict=True
            ):
                vars(runner.state).update(values)
                self.meanings.set(runner.callback.forward, meaning)
        groups: dict[tuple[int, int], list[CallbackRunner]] = {}
        for runner in runners:
            runner.start_recording(trainer, split_of(trainer))
            groups.setdefault((id(runner.callback.forward), id(runner.unpack)), []).append(runner)
        protection = partial(guard, module, trainer.precision_plugin)
        recorders = []
        for group in groups.values():
            recordings = [runner.recording for runner in group if runner.recording is not None]
            if not any(one.accumulators or one.error for one in recordings):
                continue
            recorder = ForwardRecorder(module, group[0].unpack, recordings, protection if is_compiled(module) else None)
            recorder.meaning = self.meanings.of(group[0].callback.forward)
            recorders.append(recorder)
            try:
                with protection():
                    recorder.network = self.networks.of(module, group[0].callback.forward, recorder.unpack(batch)[0])
                    recorder.open(batch)
            except Exception as error:
                for recording in recordings:
                    recording.error = recording.error or error
        return recorders


def session_of(trainer: pl.Trainer) -> VizSession:
    """The one session of this trainer. The trainer holds it: each refers to the other, and both are freed together."""
    session: VizSession = vars(trainer).get("_lightning_viz") or VizSession()
    vars(trainer)["_lightning_viz"] = session
    return session
