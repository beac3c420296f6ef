"""DrawContext: all that a drawing needs, handed to `draw(ctx)`; and the protocol of what draws with it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, TypeVar

from torch import Tensor, nn

from lightning_viz.collect.accumulator import Accumulator
from lightning_viz.collect.data_access import DataAccess
from lightning_viz.collect.indexed_reader import UnreadableError
from lightning_viz.collect.recorder import Recording
from lightning_viz.data.batch import BatchError, Unpack
from lightning_viz.data.probe import Hardest, Probe
from lightning_viz.data.samplers import Positions
from lightning_viz.methods import Target
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.outputs import slice_target
from lightning_viz.render.text import Caption

from .artifacts import Artifact
from .captions import Predictions, describe_meaning
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
    warn: Callable[..., None]  #: once for each message, or for each cause if one is given as well
    cache: dict[Any, Any]  #: what the callback computes once for a run, such as receptive fields
    _state: CallbackState
    _recording: Recording | None
    _predict: Callable[[Probe], Predictions]
    is_fit: bool = True  #: False in `trainer.validate()` and `trainer.test()` alone, which later drawings do not follow

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

    @property
    def note(self) -> str:
        """Where the pictures come from, and what the predictions below them are, in a line."""
        return "; ".join([self.probe.note, *describe_meaning(self.predictions.meaning)])

    def batched(self, method: Callable[..., Tensor], images: Tensor, target: Target = None, **options: Any) -> Tensor:
        """`method(network, images, target, **options)`, as many images at once as memory allows: (B, ...)."""
        return self.auto_batch.cat(
            lambda part: method(self.network, images[part], slice_target(target, part), **options), len(images)
        )

    @property
    def recording(self) -> Recording:
        """Of the last loop before this drawing; an empty one where none was recorded, or it failed."""
        return self._recording if self._recording and self._recording.error is None else Recording()

    def fresh(self, kind: type[Kind]) -> list[Kind]:
        """The callback's accumulators of this kind, if a complete loop with the weights of this step has filled them."""
        if not self.recording.is_fresh(self.global_step):
            return []
        return [one for one in self.recording.accumulators if isinstance(one, kind)]

    def collect(
        self,
        recorded: Callable[[Any], bool],
        make: Callable[[], Accumulator],
        choose: Callable[[Any], Positions],
        loader: int = 0,
        same_order: bool = False,
    ) -> Collected | None:
        """The accumulator that the loop has filled; else one filled from samples read by index; else what there is.

        `recorded` says whether an accumulator is the one wanted, and holds something; `make` makes an empty one for samples
        that are read, at the positions that `choose` returns for the reader of the `loader`. `same_order` asks for loops in
        which a position always means the same sample. None where there is nothing, which is warned of. Raises BatchError
        where the batches hold no images that can be read.
        """
        recording, data = self.recording, f"{self.data.name} data"
        found = next((one for one in recording.accumulators if recorded(one)), None)
        fresh = found is not None and recording.is_fresh(self.global_step)
        if fresh and (not same_order or self.data.has_fixed_order(loader)):
            return Collected(found, f"{data}, recorded in the validation loop")
        failure: BaseException | None = None if self._recording is None else self._recording.error
        unread = "the data are a stream, which cannot be read by index"
        if (reader := self.data.reader(loader)) is not None:
            accumulator = make()
            try:
                reader.run(self.network, accumulator, choose(reader), loader)
                if recorded(accumulator):
                    missed = found is None and recording.batches[loader]
                    cause = ", since the loop recorded nothing of the layer" if missed else ""
                    return Collected(accumulator, f"{data}, read by index for this drawing{cause}")
                unread = "the network does not run it for samples read by index either"
            except UnreadableError as error:
                unread, failure = str(error), failure or error.__cause__
        if found is not None:
            return Collected(found, f"{data}, those recorded so far")
        if isinstance(failure, BatchError):
            raise failure
        self._warn_nothing_collected(recording.batches[loader], unread)
        return None

    def _warn_nothing_collected(self, batches: int, unread: str) -> None:
        """`batches` of the loop were seen. One warning for each cause, however many callbacks it stops and how often."""
        seen, loop = "", f"{'test' if self.split == 'test' else 'validation'} loop"
        if self.schedule.in_steps:
            unrecorded = f"no {loop} is recorded for a schedule in steps"
            remedy = "draw at the end of epochs (every_n_epochs) instead of steps"
        elif self.data.name == "training":
            unrecorded, remedy = f"there is no {loop} to record", "add validation data"
        elif batches:
            unrecorded = f"the {loop} does not run the watched layer, or not on each batch of images by itself"
            seen = f" ({batches} batches seen, no activation recorded)"
            remedy = "run it there, or give forward= a callable from (module, images) to the output of what runs there"
        else:
            unrecorded = f"no {loop} has been recorded yet"
            remedy = f"it draws at the end of the next epoch that has a {loop}"
        cause = f"lightning_viz has no samples of the {self.data.name} data to look at: {unrecorded}"
        self.warn(f"{cause}{seen}, and {unread}; {remedy}", cause + unread)


class VizCallbackProtocol(Protocol):
    """What the runtime needs of a callback: its options, and what it draws."""

    NEEDS_IMAGES: ClassVar[bool]
    State: ClassVar[type[CallbackState]]
    PINNED: ClassVar[Sequence[str]]
    CHEAPER: ClassVar[str]
    SAMPLES_READ: ClassVar[int]
    PRIORITY: ClassVar[int]
    SECONDS: ClassVar[float]
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
