"""VizCallback: the options that all callbacks share, and Lightning's hooks over the runner."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal, Never

from torch import Tensor, nn

from lightning_viz.collect.accumulator import Accumulator
from lightning_viz.collect.data_access import DataAccess
from lightning_viz.data.arguments import (
    as_list,
    as_target,
    check_callable,
    check_choice,
    check_count,
    check_flag,
    check_fraction,
    check_tag,
    describe_value,
)
from lightning_viz.data.batch import Unpack
from lightning_viz.data.probe import Hardest, Probe
from lightning_viz.methods import Target
from lightning_viz.methods.model.layers import resolve_layer
from lightning_viz.runtime.artifacts import Artifact
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.lightning_compat import Callback, join, pl, split_of
from lightning_viz.runtime.network import Forward
from lightning_viz.runtime.output_meaning import resolve_target
from lightning_viz.runtime.runner import CallbackRunner
from lightning_viz.runtime.schedule import Schedule
from lightning_viz.runtime.session import session_of
from lightning_viz.runtime.state import CallbackState

from ._options import (
    TargetOption,
    check_schedule,
    describe_options,
    describe_unknown_option,
    show_inherited_options,
)

Trainer = pl.Trainer
Module = pl.LightningModule


class VizCallback(Callback):
    """Draws what a network learns while it trains. A subclass says what, in `draw`.

    Args:
        every_n_epochs: draw at the end of every n-th training epoch.
        every_n_train_steps: draw after every n-th training step instead; not together with `every_n_epochs`.
        log_at_start: draw before the first step as well: the untrained or pretrained network is the first picture.
        probe: the pictures to look at. By default all callbacks of a trainer share class-balanced pictures of the validation
            data (of the training data where there are none; a warning says so). `Probe.hardest()` chooses the validation
            pictures with the highest loss.
        max_images: how many pictures of the probe to draw.
        tag: replaces the first part of the tags in TensorBoard ("saliency" in "saliency/gradient"); one with a slash, such as
            "compare/last", the first two where there is a single panel, so that networks stand side by side.
        history: columns of the film strip; 0 turns it off.
        target: what to explain: None for the predicted class, "label" for the true one, a class index, one index per
            picture, or a callable from the model's output to one score per picture (B,).
        max_overhead: the fraction of the fit's time, in (0, 1], that the drawing of all callbacks of the trainer may take
            together; beyond it they draw less often. Time to draw the trained network is kept free until the end, first for
            Grad-CAM, saliency and embedding. Before the first step at most half of it is spent, estimated by the number of
            images that go through the network. It is logged as `viz/overhead` and `viz/seconds/...`.
        on_error: "warn" warns once and disables the callback, and training goes on; "raise" raises.
        forward: a callable from (LightningModule, images) to the output, where `module(images)` is not what is wanted.
        unpack: a callable from a batch to (images, labels), where the batch is of a structure that is not recognised: neither
            (images, labels), also with several views or crops of each image, nor a dict with the usual keys.

    Raises ValueError or TypeError for an invalid argument, at once.
    """

    #: Whether it looks at images; False for one that reads weights alone and draws whatever the data are: it has no probe.
    NEEDS_IMAGES: ClassVar[bool] = True
    #: What survives a resume. A callback that remembers more derives its own dataclass.
    State: ClassVar[type[CallbackState]] = CallbackState
    #: The arguments by which two callbacks of one class are told apart in a checkpoint, next to `tag=`.
    TAG_FIELDS: ClassVar[Sequence[str]] = ()
    #: The fields of the state that the first process shares with the others before a loop is recorded.
    PINNED: ClassVar[Sequence[str]] = ()
    #: How to make a drawing cheaper, with the names of the arguments; part of the warning before a long drawing.
    CHEAPER: ClassVar[str] = "fewer pictures (max_images=)"
    #: How many samples a drawing reads by index at most; `estimated_passes` counts them all.
    SAMPLES_READ: ClassVar[int] = 0
    #: Where a budget has no time for a last drawing of every callback, the largest comes first; then the cheapest.
    PRIORITY: ClassVar[int] = 0
    #: What the first drawing takes besides its image passes, such as for imports, projections and rendering.
    SECONDS: ClassVar[float] = 0.05

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
        target: TargetOption = None,
        max_overhead: float | None = None,
        on_error: Literal["warn", "raise"] = "warn",
        forward: Forward | None = None,
        unpack: Unpack | None = None,
        **unknown: Never,
    ) -> None:
        super().__init__()
        join()
        if unknown:
            raise TypeError(describe_unknown_option(type(self), next(iter(unknown))))
        if probe is not None and not isinstance(probe, Probe | Hardest):
            raise TypeError(
                f"probe={describe_value(probe)} is {type(probe).__name__}; give a Probe(images, labels), or Probe.hardest()"
            )
        self.every_n_epochs = check_count("every_n_epochs", every_n_epochs, 1)
        self.every_n_train_steps = check_count("every_n_train_steps", every_n_train_steps, 1, optional=True)
        check_schedule(every_n_epochs, every_n_train_steps)
        self.log_at_start = check_flag("log_at_start", log_at_start)
        self.probe = probe
        self.max_images = check_count("max_images", max_images, 1)
        self.tag = check_tag(tag)
        self.history = check_count("history", history, 0)
        self.target: TargetOption = as_target(target)
        self.max_overhead = check_fraction("max_overhead", max_overhead)
        self.on_error = check_choice("on_error", on_error, ("warn", "raise"))
        self.forward = check_callable("forward", forward)
        self.unpack = check_callable("unpack", unpack)
        self.runner = CallbackRunner(self)

    def __repr__(self) -> str:
        return describe_options(self)

    def __init_subclass__(cls) -> None:
        """Show all options in the signature: to `help()`, editors, jsonargparse and Hydra."""
        super().__init_subclass__()
        if "__init__" in vars(cls):
            show_inherited_options(cls)

    # What a subclass says.

    @abstractmethod
    def draw(self, ctx: DrawContext) -> Iterator[Artifact]:
        """Compute, and yield what to log now. Runs in evaluation mode, with gradients possible."""

    def check(self, network: nn.Module) -> None:
        """Raise ValueError for arguments that do not fit the network: here, for unknown layers. Before training."""
        for option in ("layer", "layers"):
            for layer in as_list(getattr(self, option, None)):
                resolve_layer(network, layer, option)

    def check_images(self, ctx: DrawContext) -> None:
        """Before the first step: raise ValueError for arguments that do not fit the images; pin what stays the same."""

    def estimated_passes(self, network: nn.Module, images: Tensor) -> float:
        """How many images the first drawing of these images sends forward and backward through the network; forward only
        counts a third. A budget goes by it until it has seen what a drawing takes."""
        return len(images)

    def accumulators(self, data: DataAccess, state: Any) -> Sequence[Accumulator]:
        """What to record in a validation or test loop that is drawn next; new ones each time."""
        return []

    def tag_fields(self) -> dict[str, Any]:
        """The values of `TAG_FIELDS`."""
        return {name: getattr(self, name) for name in self.TAG_FIELDS}

    def target_of(self, ctx: DrawContext) -> Target:
        """`target` for the pictures of the probe, as the methods expect it. Raises ValueError where there is none."""
        return resolve_target(self.target, ctx.probe, ctx.predictions)

    # Lightning's hooks, in the order of a run.

    @property
    def schedule(self) -> Schedule:
        """When to draw."""
        return Schedule(self.every_n_epochs, self.every_n_train_steps, self.log_at_start)

    def setup(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        self.runner = session_of(trainer).attach(self, trainer, pl_module, stage)

    def on_fit_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._attached(trainer).check_arguments(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: Module) -> None:
        self._attached(trainer).start_training(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: Module, batch: Any, batch_idx: int) -> None:
        self._attached(trainer).before_train_batch(trainer, pl_module, batch)

    def on_train_batch_end(self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._attached(trainer).after_train_batch(trainer, pl_module)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Module) -> None:
        self._attached(trainer).after_train_epoch(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: Module) -> None:
        if self._leads(trainer):
            session_of(trainer).end_fit(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: Module) -> None:
        if trainer.state.fn != "fit":
            self._attached(trainer).check_arguments(trainer, pl_module)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: Module, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._leads(trainer):
            session_of(trainer).before_eval_batch(trainer, pl_module, batch, batch_idx, dataloader_idx)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: Module, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._leads(trainer):
            session_of(trainer).after_eval_batch(trainer, dataloader_idx)

    def on_validation_end(self, trainer: Trainer, pl_module: Module) -> None:
        if self._leads(trainer):
            session_of(trainer).after_eval_loop(trainer)
        if trainer.state.fn != "fit":
            self._attached(trainer).draw(trainer, pl_module, split_of(trainer))

    on_test_start, on_test_end = on_validation_start, on_validation_end
    on_test_batch_start, on_test_batch_end = on_validation_batch_start, on_validation_batch_end

    def on_exception(self, trainer: Trainer, pl_module: Module, exception: BaseException) -> None:
        if self._leads(trainer):
            session_of(trainer).abort(trainer)

    def teardown(self, trainer: Trainer, pl_module: Module, stage: str) -> None:
        if self._leads(trainer):
            session_of(trainer).flush()
        self.runner.finish()

    def _leads(self, trainer: Trainer) -> bool:
        return session_of(trainer).leads(trainer, self)

    def _attached(self, trainer: Trainer) -> CallbackRunner:
        session_of(trainer).runners(trainer)  # attaches a callback that was added during the run
        return self.runner

    # What survives a resume.

    @property
    def state_key(self) -> str:
        """Two callbacks of a class need different tags."""
        return self._generate_state_key(tag=self.tag, **self.tag_fields())

    def state_dict(self) -> dict[str, Any]:
        return self.runner.state.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.runner.load_state(state_dict)
