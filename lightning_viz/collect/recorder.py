"""ForwardRecorder: hooks on the network for one loop, which feed accumulators from the loop's own forward passes."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_viz.data.batch import ImageBatch, Unpack, read_batch
from lightning_viz.data.distributed import gather_to_all, gather_to_first
from lightning_viz.data.samplers import Positions, sample_positions
from lightning_viz.methods.model.model_output import OutputMeaning
from lightning_viz.methods.model.modes import plain_tensor
from lightning_viz.methods.model.outputs import logits

from .accumulator import Accumulator, HookPoint, RecordedBatch


@dataclass(eq=False)
class Recording:
    """The accumulators of one callback in one loop. An error drops these alone, and the loop goes on."""

    accumulators: list[Accumulator] = field(default_factory=list)
    error: Exception | None = None
    complete: bool = True  #: whether the loop sees every batch that it ever sees
    global_step: int | None = None  #: of the weights that were recorded, once the loop is over
    batches: Counter[int] = field(default_factory=Counter)  #: seen by this process, by loader, whatever was recorded
    scored: bool = False  #: whether the network's scores were recorded in any of them
    _points: dict[str, HookPoint] = field(default_factory=dict)
    _values: dict[str, Any] = field(default_factory=dict)  #: of the current batch

    def attempt(self, work: Callable[..., Any], *args: Any) -> Any:
        """The result of this part of the work; None where it fails, or an earlier one failed."""
        if self.error is None:
            try:
                return work(*args)
            except Exception as error:
                self.error = error
                self._points, self._values = {}, {}
        return None

    def is_fresh(self, global_step: int) -> bool:
        """The one rule: recorded without error, over a complete loop, with the weights of this step."""
        return self.error is None and self.complete and self.global_step == global_step

    def find_points(self, network: nn.Module, images: Tensor) -> None:
        for accumulator in self.accumulators:
            self._points |= accumulator.hook_points(network, images)

    def merge(self, states: Sequence[Sequence[Any]]) -> None:
        """`states` are those of each process, which has one for each accumulator."""
        for index, accumulator in enumerate(self.accumulators):
            accumulator.merge_state([process[index] for process in states])


@dataclass(eq=False)
class ForwardRecorder:
    """Records the forward passes of one loop for all recordings."""

    network: nn.Module  #: returns the scores
    unpack: Unpack
    recordings: Sequence[Recording]  #: one for each callback, in the same order in every process
    #: Where the loop's own passes are compiled and skip hooks: the guard under which each batch is run once more.
    rerun: Callable[[], AbstractContextManager[None]] | None = None
    meaning: OutputMeaning | None = None  #: of the scores, where it is decided
    seconds: float = 0.0  #: that the loop waited
    _batch: ImageBatch | None = None  #: that goes through the network now
    _scores: Tensor | None = None
    _outputs: list[nn.Module] = field(default_factory=list)
    _hooks: ExitStack = field(default_factory=ExitStack)
    _attached: bool = False
    _done: dict[int, int] = field(default_factory=dict)  #: samples so far, by loader
    _unreadable: dict[int, Exception] = field(default_factory=dict)  #: by loader: nothing is recorded from there on

    def open(self, batch: Any) -> None:
        """Run the first image of the batch, to find which modules return the scores; the guard around it undoes all else."""
        with self._working():
            image = read_batch(batch, self.unpack).images[:1]
            self._outputs = modules_returning_scores(self.network, image)
            for recording in self._active:
                recording.attempt(recording.find_points, self.network, image)

    def start(self, batch: Any, loader: int = 0) -> None:
        """Before a batch goes through the network."""
        with self._working():
            self._batch = self._read(batch, loader) if self._active else None
            if self.rerun is not None and self._batch is not None:
                with self.rerun(), torch.no_grad():
                    self._attach()
                    self.network(self._batch.images.clone())
                self.close()
            elif not self._attached:
                self._attach()

    def end(self, loader: int, data: DataLoader[Any] | None, positions: Positions | None = None) -> None:
        """After it has. `positions` are its samples' in the data, where it is not the loader's next batch."""
        with self._working():
            if not self._active or self._batch is None:
                return
            images, labels = self._batch.images, self._batch.labels
            done = self._done.get(loader, 0)
            self._done[loader] = done + len(images)
            positions = sample_positions(data, done, len(images)) if positions is None else positions
            for recording in self._active:
                seen = RecordedBatch(images, labels, self._scores, recording._values, positions, loader, self.meaning)
                for accumulator in recording.accumulators:
                    recording.attempt(accumulator.update, seen)
                recording._values = {}
                recording.batches[loader] += 1
                recording.scored = recording.scored or self._scores is not None
            self._batch, self._scores = None, None

    def close(self) -> None:
        """Remove the hooks."""
        self._hooks.close()

    def merge(self, global_step: int) -> None:
        """After the loop: remove the hooks and bring the processes together. Every process joins.

        A recording that failed in one process is dropped in all.
        """
        self.close()
        states = [one.attempt(lambda its: [each.state() for each in its], one.accumulators) for one in self.recordings]
        own = [(one.error and f"{type(one.error).__name__}: {one.error}", one.complete) for one in self.recordings]
        for recording, reports in zip(self.recordings, zip(*gather_to_all(own), strict=True), strict=True):
            recording.complete, recording.global_step = all(complete for _, complete in reports), global_step
            causes = [cause for cause, _ in reports if cause is not None]
            if recording.error is None and causes:
                recording.error = RuntimeError(f"another process failed to record its validation loop: {causes[0]}")
        healthy = self._active  # the same in every process, from here on
        sent = [state for recording, state in zip(self.recordings, states, strict=True) if recording in healthy]
        gathered = gather_to_first(sent) if healthy else []
        for index, recording in enumerate(healthy):
            recording.attempt(recording.merge, [process[index] for process in gathered])

    def _read(self, batch: Any, loader: int) -> ImageBatch | None:
        """None where the loop runs other images besides, and from the first batch of a loader on that cannot be read.

        A further loader may be of another kind. One that ends before those it is combined with returns None.
        """
        try:
            found = read_batch(batch, self.unpack)
        except Exception as error:
            self._unreadable.setdefault(loader, error)
            return None
        if loader == 0 and loader in self._unreadable:  # the positions of its samples are not known
            raise self._unreadable[loader]
        return found if found.is_plain and loader not in self._unreadable else None

    @property
    def _active(self) -> list[Recording]:
        return [one for one in self.recordings if one.accumulators and one.error is None]

    @contextmanager
    def _working(self) -> Iterator[None]:
        """Counts the seconds of the outermost call. An error in what all recordings share is an error of each."""
        before, start = self.seconds, time.perf_counter()
        try:
            yield
        except Exception as error:
            self.close()
            for recording in self._active:
                recording.error = error
        finally:
            self.seconds = before + time.perf_counter() - start  # instead of what inner calls have added

    def _attach(self) -> None:
        self._attached = True
        for module in self._outputs:
            self._hooks.enter_context(module.register_forward_hook(self._keep_scores))
        for recording in self._active:
            for name, point in recording._points.items():
                module = point.module
                listen = module.register_forward_pre_hook if point.of_input else module.register_forward_hook
                self._hooks.enter_context(listen(partial(self._keep_value, recording, name, point)))

    def _keep_value(self, recording: Recording, name: str, point: HookPoint, _: nn.Module, *values: Any) -> None:
        batch, activation = self._batch, next(iter(values[0]), None) if point.of_input else values[1]
        if batch is not None and isinstance(activation, Tensor) and activation.shape[:1] == batch.images.shape[:1]:
            activation = plain_tensor(activation)
            with self._working(), torch.no_grad():
                recording.attempt(
                    lambda: recording._values.update({name: point.reduce(point.function(activation), batch.images)})
                )

    def _keep_scores(self, module: nn.Module, inputs: Any, output: Any) -> None:
        with self._working():  # where the LightningModule is called for a whole validation step, it returns none
            scores, batch = _scores_in(output), self._batch
            if scores is not None and batch is not None and scores.ndim in (1, 2) and len(scores) == len(batch.images):
                self._scores = plain_tensor(scores).detach()


def _scores_in(output: Any) -> Tensor | None:
    with suppress(TypeError):
        return logits(output)
    return None


def modules_returning_scores(network: nn.Module, images: Tensor) -> list[nn.Module]:
    """The modules that return the network's scores, found with one forward pass: the network, and what it calls last.

    Several, because a validation step may call any of these.
    """
    found: list[tuple[nn.Module, Any]] = []
    with ExitStack() as hooks, torch.no_grad():
        for module in network.modules():
            hooks.enter_context(module.register_forward_hook(lambda part, _, output: found.append((part, output))))
        network(images.clone())
    scores = [(part, one) for part, output in found if (one := _scores_in(output)) is not None]
    if not scores or scores[-1][0] is not found[-1][0]:
        return []
    last = scores[-1][1]
    same = [part for part, one in scores if one.shape == last.shape and one.data_ptr() == last.data_ptr()]
    return list(dict.fromkeys(same))
