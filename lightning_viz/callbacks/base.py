"""The base of all callbacks: their common options, and when to draw."""

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from lightning_viz.data.batch import Unpack
from lightning_viz.data.probe import Hardest, Probe
from lightning_viz.runtime.drawing import Drawing
from lightning_viz.runtime.lightning_compat import join, pl
from lightning_viz.runtime.network import Forward
from lightning_viz.runtime.session import logging_step, session_of
from lightning_viz.runtime.state import Memory
from lightning_viz.runtime.validation import (
    check_callable,
    check_choice,
    check_count,
    check_flag,
    check_share,
    check_tag,
    check_target_argument,
)


class VizCallback(Drawing):
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
            together; where it would take more, they draw less often. At the start they draw if that takes half of it at most,
            by the number of pictures that go through the network for it and in the whole fit. What drawing takes is logged as
            `viz/overhead`, and what each one took as `viz/seconds/...`.
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
            session_of(trainer).plan(trainer)
            self._pin_probe(trainer, pl_module, "fit", batch, "training")
            if self.log_at_start and not self._memory.last_steps:
                self._log(trainer, pl_module, "fit")

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        every = self.every_n_train_steps
        stepped = trainer.global_step > self._memory.global_step  # false within accumulated batches
        self._memory.global_step = trainer.global_step
        session_of(trainer).count(trainer)
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
        session.warn_of_left_out()

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
