"""What drawing takes of a trainer's fit: planned before the first step, limited, logged, and said."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING

from lightning_viz.data.dataloaders import first_loader
from lightning_viz.data.probe import Probe
from lightning_viz.data.samplers import batch_size_of
from lightning_viz.methods.model.batching import FORWARD
from lightning_viz.sinks.sink_queue import SinkQueue

from .budget import Budget
from .guard import guard
from .lightning_compat import (
    batches_to_come,
    callbacks_of,
    eval_data,
    has_validation,
    is_a,
    logging_step,
    pl,
    rank_zero_info,
)
from .progress import TIMED, time_pass

if TYPE_CHECKING:
    from .runner import CallbackRunner

LARGE_SHARE = 0.2  # of the fit's time, above which a warning is logged
LONG = 10.0  # seconds, before which a share means little


@dataclass(eq=False)
class Overhead:
    """The budget of one trainer's fits, counted in its batches."""

    warn: Callable[..., None]
    budget: Budget = field(default_factory=Budget)
    _batch_size: int = 0
    _batches_before: int = 0  #: of the fit, such as those before a resume
    _has_said_where: bool = False

    def begin_fit(self, budget: Budget) -> None:
        self.budget = budget

    def plan(self, trainer: pl.Trainer) -> None:
        """Before the first step: how much training is to come."""
        loader = first_loader(trainer.train_dataloader)
        self._batch_size = (batch_size_of(loader) if loader is not None else None) or 1
        self._batches_before = trainer.fit_loop.total_batch_idx
        self.budget.planned = batches_to_come(trainer) * self._batch_size

    def warn_of_too_large(self, fractions: Iterable[float | None]) -> None:
        """Before the first step: which callbacks the budget has no time for."""
        for fraction in (one for one in fractions if one is not None):
            for name, passes in self.budget.too_large(fraction).items():
                self.warn(
                    f"lightning_viz: {name} may draw nothing: a drawing is estimated to take as long as training on {passes:,.0f} "
                    f"images, and max_overhead={fraction} of this fit is {fraction * self.budget.planned:,.0f} for all callbacks "
                    "together; give a larger max_overhead, or options that make it cheaper"
                )

    def count_batch(self, trainer: pl.Trainer) -> None:
        self.budget.trained = (trainer.fit_loop.total_batch_idx + 1 - self._batches_before) * self._batch_size

    def passes(
        self, runner: "CallbackRunner", trainer: pl.Trainer, module: pl.LightningModule, probe: Probe | None
    ) -> float:
        """What a drawing costs: as many image passes as the last one made, or, before the first, as are estimated."""
        if runner.progress.passes is not None or probe is None:
            return runner.progress.passes or 0.0
        missing = runner.callback.SAMPLES_READ - _samples_read(runner, trainer)
        with self.budget.spending(), guard(module, trainer.precision_plugin):
            estimated = runner.callback.estimated_passes(runner.network(module, probe), probe.images)
        return max(0.0, estimated - FORWARD * missing)

    def reserve(self, runner: "CallbackRunner", trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Keep the time of a last drawing free in the budget."""
        callback = runner.callback
        if callback.max_overhead is None or runner.disabled or not runner.probes.is_ready("validation"):
            return
        with runner.settling():
            self._time_pass(runner, trainer, module)
            passes, extra = self.passes(runner, trainer, module, runner.probes.get("validation")), 0.0
            if has_validation(trainer) and not callback.schedule.in_steps:  # later they are recorded in that loop
                extra = min(passes, FORWARD * _samples_read(runner, trainer))
            name = runner.session.name_of(runner, trainer)
            self.budget.reserve(name, passes - extra, callback.PRIORITY, extra, callback.SECONDS)

    def _time_pass(self, runner: "CallbackRunner", trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if self.budget.pass_seconds is None and (probe := runner.probes.get("validation")) is not None:
            with self.budget.spending(), guard(module, trainer.precision_plugin):
                images = probe.images[: min(TIMED, runner.auto_batch.limit or TIMED)]
                self.budget.pass_seconds = time_pass(runner.network(module, probe), images, lambda: self.budget.elapsed)

    def puts_off(self, runner: "CallbackRunner", trainer: pl.Trainer) -> bool:
        """Whether there is no time for the drawing after the loop that begins: then nothing is recorded for it.

        What is drawn at the end of training after all reads samples by index, or what the last loop has recorded.
        """
        fraction, data = runner.callback.max_overhead, eval_data(trainer, "validation", runner.unpack)
        if fraction is None or trainer.state.fn != "fit" or not self.budget.trained or self.budget.is_over:
            return False
        return data.is_indexable(0) and not self.budget.allows(runner.session.name_of(runner, trainer), fraction)

    def allows(self, runner: "CallbackRunner", trainer: pl.Trainer, module: pl.LightningModule, split: str) -> bool:
        """Whether a callback may draw now."""
        fraction = runner.callback.max_overhead
        if fraction is None or trainer.state.fn != "fit":
            return True
        name = runner.session.name_of(runner, trainer)
        passes = self.passes(runner, trainer, module, runner.probes.get(split))
        put_off, runner.is_put_off = runner.is_put_off and not self.budget.ended, False
        if not put_off and self.budget.allows(name, fraction, passes):
            self.budget.claim(passes)
            return True
        self.budget.refuse(name)
        if not self.budget.is_last_call:
            self.warn(
                f"lightning_viz draws less often than scheduled: more would exceed max_overhead={fraction} of the fit's time; "
                "viz/seconds logs what each drawing takes, max_overhead=None draws everything"
            )
        return False

    def log(self, trainer: pl.Trainer, queue: SinkQueue, step: int | None) -> None:
        """The share of the time up to the last drawing, if training is past that step; without a step, of the whole fit."""
        log = partial(queue.scalar, "viz/overhead")
        if step is None:
            self.budget.log_total(log, logging_step(trainer) - 1)
        elif self.budget.log_share(log, step) and self.budget.elapsed - self.budget.spent > LONG:
            self._warn_of_large_share(trainer)

    def report(self, trainer: pl.Trainer) -> None:
        """At the end of a fit: a large share, who never drew, and where the pictures are."""
        if self.budget.elapsed > LONG:
            self._warn_of_large_share(trainer)
        if self.budget.never_drawn:
            self.warn(
                f"lightning_viz drew nothing of {', '.join(self.budget.never_drawn)} in this fit: it was too short for that "
                "within max_overhead; give a larger max_overhead, or None to draw everything"
            )
        folder = next((one.log_dir for one in trainer.loggers if is_a("TensorBoardLogger", one)), None)
        if folder is not None and self.budget.has_drawn and not self._has_said_where:
            self._has_said_where = True
            rank_zero_info(
                f"lightning_viz: the pictures are in {folder}; to see them: tensorboard --logdir {quote(folder)}"
            )

    def _warn_of_large_share(self, trainer: pl.Trainer) -> None:
        share = self.budget.spent / self.budget.elapsed
        if share > LARGE_SHARE and any(one.max_overhead is None for one in callbacks_of(trainer)):
            self.warn(
                f"lightning_viz takes more than a fifth of the time of this fit ({share:.0%} so far); viz/seconds logs what each "
                "drawing takes; draw less often (every_n_epochs=), or within a share of the time (max_overhead=0.05)",
                "large share",
            )


def _samples_read(runner: "CallbackRunner", trainer: pl.Trainer) -> int:
    """How many samples a drawing reads by index where no loop was recorded."""
    count = next(iter(eval_data(trainer, "validation", runner.unpack).counts), None) or 0
    return min(runner.callback.SAMPLES_READ, count)
