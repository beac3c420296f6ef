"""Lightning as the user has it: `pytorch_lightning`, `lightning.pytorch`, or both. Nothing else here imports either.

They are two copies of the same code with classes of their own, and a process that has one should not load the other.
"""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from lightning_viz.collect.data_access import DataAccess
from lightning_viz.data.batch import Unpack
from lightning_viz.data.dataloaders import count_samples, loaders_in
from lightning_viz.methods.model.model_output import OutputMeaning

__all__ = ["pl", "rank_zero_info", "rank_zero_warn"]  # imported here for the other modules

PACKAGES = "pytorch_lightning", "lightning.pytorch"

#: Strategies that shard weights, by name, since each Lightning has classes of its own. DeepSpeed does so in one of its stages.
_SHARDING = {"FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy", "XLAFSDPStrategy"}

if TYPE_CHECKING:
    import pytorch_lightning as pl
    from pytorch_lightning.utilities import rank_zero_info, rank_zero_warn
else:
    pl = import_module(next((name for name in PACKAGES if name in sys.modules), PACKAGES[0]))
    rank_zero_info, rank_zero_warn = pl.utilities.rank_zero_info, pl.utilities.rank_zero_warn


class Callback(pl.Callback):
    """A callback of every Lightning that is imported: each trainer and its CLI ask for their own class."""


def join() -> None:
    """Make `Callback` a subclass of the callbacks of those Lightnings, too, that were imported since."""
    classes = [getattr(sys.modules.get(name), "Callback", Callback) for name in PACKAGES]
    Callback.__bases__ += tuple(one for one in classes if not issubclass(Callback, one))


join()


def is_a(name: str, value: Any) -> bool:
    """Whether the class of `value`, or one it derives from, has this name."""
    return any(kind.__name__ == name for kind in type(value).__mro__)


def is_sharded(trainer: pl.Trainer) -> bool:
    """Whether each process has a part of the weights only: a forward pass in one process would wait for the others."""
    return any(is_a(name, trainer.strategy) for name in _SHARDING)


def logging_step(trainer: pl.Trainer) -> int:
    """The step that Lightning gives to scalars logged now; `global_step` would count every optimizer.

    Lightning's LearningRateMonitor reads it here, too: it has no public name.
    """
    return trainer.fit_loop.epoch_loop._batches_that_stepped


def split_of(trainer: pl.Trainer) -> str:
    """The data of the evaluation loop that runs: "test", or "validation"."""
    return "test" if trainer.state.fn == "test" else "validation"


def eval_loaders(trainer: pl.Trainer, split: str) -> list[DataLoader[Any]]:
    """The dataloaders of the test loop, or of the validation loop."""
    return loaders_in(trainer.test_dataloaders if split == "test" else trainer.val_dataloaders)


def has_validation(trainer: pl.Trainer) -> bool:
    """Whether the fit has a validation loop."""
    return bool(eval_loaders(trainer, "validation")) and bool(trainer.limit_val_batches)


def eval_data(trainer: pl.Trainer, split: str, unpack: Unpack, meaning: OutputMeaning | None = None) -> DataAccess:
    """The data of "validation" or "test"; the training data where there are no validation data."""

    def prepare(batch: Any) -> Any:
        batch = trainer.precision_plugin.convert_input(batch)
        with not_training(trainer):
            return trainer.strategy.batch_to_device(batch)

    found = eval_loaders(trainer, split)
    batches = trainer.num_test_batches if split == "test" else trainer.num_val_batches
    if not found:
        split, found, batches = "training", loaders_in(trainer.train_dataloader), [trainer.num_training_batches]
    counts = [count_samples(loader, most, trainer.world_size) for loader, most in zip(found, batches, strict=False)]
    return DataAccess(split, found, [*counts, *[None] * (len(found) - len(counts))], unpack, prepare, meaning)


def batches_to_come(trainer: pl.Trainer) -> float:
    """How many training batches the fit still takes, infinite where that is not known."""
    epochs = math.inf if trainer.max_epochs in (None, -1) else trainer.max_epochs - trainer.current_epoch
    batches = trainer.num_training_batches * epochs
    if trainer.max_steps >= 0:
        batches = min(batches, (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches)
    return batches


def is_complete_loop(trainer: pl.Trainer) -> bool:
    """Whether the validation loop that runs sees every batch that it ever sees: the sanity check rarely does."""
    return not trainer.sanity_checking or trainer.num_sanity_val_batches == trainer.num_val_batches


@contextmanager
def not_training(trainer: pl.Trainer) -> Iterator[None]:
    """The trainer's state is "validating", as it is when the pictures are seen next: a user's transforms may ask."""
    stage = trainer.state.stage
    if trainer.training:
        trainer.validating = True
    try:
        yield
    finally:
        trainer.state.stage = stage


def why_not_logged(trainer: pl.Trainer) -> str | None:
    """Why no picture can be logged; None for a learning-rate finder's logger, which takes nothing on purpose."""
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return "fast_dev_run has no logger"
    if getattr(trainer, "barebones", False):
        return "Trainer(barebones=True) allows no logger; leave barebones=True out to see pictures"
    if is_sharded(trainer):
        return (
            f"{type(trainer.strategy).__name__} shards weights, and all of them are needed in one process; train on one "
            "device or with DDP to see pictures"
        )
    if not trainer.loggers:
        return "the trainer has no logger; give Trainer(logger=TensorBoardLogger(...))"
    if any(is_a("DummyLogger", logger) for logger in trainer.loggers):
        return None
    kinds = ", ".join(type(logger).__name__ for logger in trainer.loggers)
    return f"{kinds} cannot show pictures; add a TensorBoardLogger to Trainer(logger=[...])"


def callbacks_of(trainer: pl.Trainer) -> list[Any]:
    """The trainer's callbacks of this library."""
    callbacks: list[pl.Callback] = trainer.callbacks  # type: ignore[attr-defined]
    return [one for one in callbacks if isinstance(one, Callback)]
