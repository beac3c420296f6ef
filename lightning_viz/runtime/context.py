"""DrawContext: all that a drawing needs, handed to `draw(ctx)`; and the protocol of what draws with it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from torch import Tensor, nn

from lightning_viz.collect.accumulator import Accumulator
from lightning_viz.collect.indexed_reader import UnreadableError
from lightning_viz.collect.recorder import Recording
from lightning_viz.data.batch import BatchError, Unpack
from lightning_viz.data.probe import Hardest, Probe
from lightning_viz.data.samplers import Positions
from lightning_viz.methods import Target
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.outputs import slice_target
from lightning_viz.render import Caption

from .artifacts import Artifact
from .captions import Predictions
from .data_access import DataAccess
from .network import Forward
from .schedule import Schedule
from .state import CallbackState

State = TypeVar("State", bound=CallbackState)
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Collected:
    """What an accumulator collected, and in a few words from what."""

    accumulator: Any
    origin: str


@dataclass(frozen=True, eq=False)
class DrawContext:
    """One drawing of one callback: the network in evaluation mode, the pinned pictures, and what was recorded."""

    network: nn.Module  #: returns the scores; on its device, gradients possible
    _probe: Probe | None
    split: str  #: "validation" or "test"
    step: int  #: that is written to the logger
    global_step: int  #: optimizer steps taken so far
    schedule: Schedule  #: of the callback
    data: DataAccess  #: the evaluation data, readable by index
    auto_batch: AutoBatch  #: halves the batch where memory does not suffice
    warn: Callable[[str], None]  #: once for each message in a run
    cache: dict[Any, Any]  #: what the callback computes once for a run, such as receptive fields
    _state: CallbackState
    _recording: Recording | None
    _predict: Callable[[Probe], Predictions]

    @property
    def probe(self) -> Probe:
        """The pinned pictures on the network's device, `max_images` of them."""
        if self._probe is None:
            raise RuntimeError("a callback with NEEDS_IMAGES = False has no probe; leave NEEDS_IMAGES out to have one")
        return self._probe

    def state(self, kind: type[State]) -> State:
        """What survives a resume, as the callback's own dataclass."""
        if not isinstance(self._state, kind):
            raise TypeError(f"the callback's state is {type(self._state).__name__}; set State = {kind.__name__}")
        return self._state

    @property
    def has_history(self) -> bool:
        """Whether film strips and comparisons over time are of this split."""
        return self.split == "validation"

    @cached_property
    def predictions(self) -> Predictions:
        """What the network predicts for the probe: one forward pass, shared by all callbacks."""
        return self._predict(self.probe)

    @property
    def captions(self) -> list[Caption]:
        """The prediction below each picture."""
        return list(self.predictions.captions)

    def batched(self, method: Callable[..., Tensor], images: Tensor, target: Target = None, **options: Any) -> Tensor:
        """`method(network, images, target, **options)`, as many images at once as memory allows: (B, ...)."""
        return self.auto_batch.cat(
            lambda part: method(self.network, images[part], slice_target(target, part), **options), len(images)
        )

    def fresh(self, kind: type[Kind]) -> list[Kind]:
        """The callback's accumulators of this kind, if a complete loop with the weights of this step has filled them."""
        recording = self._recording
        if recording is None or not recording.is_fresh(self.global_step):
            return []
        return [one for one in recording.accumulators if isinstance(one, kind)]

    def collect(
        self,
        recorded: Callable[[Any], bool],
        make: Callable[[], Accumulator],
        choose: Callable[[Any], Positions],
        loader: int = 0,
        same_order: bool = False,
    ) -> Collected | None:
        """The accumulator that the loop has filled; else one filled from samples read by index; else what there is.

        `recorded` says whether an accumulator of the loop is the one wanted, and holds something; `make` makes an empty one
        for samples that are read, at the positions that `choose` returns for the reader of the `loader`. `same_order` asks
        for loops in which a position always means the same sample. None where there is nothing yet. Raises BatchError
        where the batches hold no images that can be read.
        """
        recording = self._recording if self._recording and self._recording.error is None else Recording()
        cause: BaseException | None = None if self._recording is None else self._recording.error
        found = next((one for one in recording.accumulators if recorded(one)), None)
        fresh = found is not None and recording.is_fresh(self.global_step)
        if fresh and (not same_order or self.data.has_fixed_order(loader)):
            return Collected(found, f"{self.data.name} data, recorded in the validation loop")
        if (reader := self.data.reader(loader)) is not None:
            accumulator = make()
            try:
                reader.run(self.network, accumulator, choose(reader), loader)
                return Collected(accumulator, f"{self.data.name} data, read by index for this drawing")
            except UnreadableError as error:
                cause = cause or error.__cause__
        if found is not None:
            return Collected(found, f"{self.data.name} data, those recorded so far")
        if isinstance(cause, BatchError):
            raise cause
        return None

    def warn_nothing_collected(self, name: str, what: str) -> None:
        """The data can be neither recorded nor read at this moment."""
        when = "it draws at the end of the next epoch that has a validation loop"
        if self.schedule.in_steps:
            when = "draw at the end of epochs (every_n_epochs) instead of steps"
        self.warn(
            f"lightning_viz has no {what} for {name}: the data are a stream, or cannot be read by index, and are recorded "
            f"in the validation loop only; {when}"
        )


class VizCallbackProtocol(Protocol):
    """What the runtime needs of a callback: its options, and what it draws."""

    NEEDS_IMAGES: ClassVar[bool]
    State: ClassVar[type[CallbackState]]
    PINNED: ClassVar[Sequence[str]]
    probe: Probe | Hardest | None
    max_images: int
    tag: str | None
    history: int
    target: Any
    max_overhead: float | None
    on_error: Literal["warn", "raise"]
    forward: Forward | None
    unpack: Unpack | None

    @property
    def schedule(self) -> Schedule: ...
    @property
    def state_key(self) -> str: ...
    def check(self, network: nn.Module) -> None: ...
    def check_images(self, ctx: DrawContext) -> None: ...
    def estimated_passes(self, network: nn.Module, images: Tensor) -> float: ...
    def accumulators(self, data: DataAccess, state: Any) -> Sequence[Accumulator]: ...
    def target_of(self, ctx: DrawContext) -> Any: ...
    def draw(self, ctx: DrawContext) -> Iterator[Artifact]: ...
