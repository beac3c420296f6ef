"""The suite: every callback, in the order in which they are attached."""

import inspect
from collections import UserList
from typing import Any, Unpack

from lightning_viz.runtime.lightning_compat import Callback, callbacks_of, pl

from ._options import CommonOptions
from .activations import ActivationLogger
from .base import VizCallback
from .class_synthesis import ClassSynthesisLogger
from .deep_dream import DeepDreamLogger
from .embedding_projector import EmbeddingProjectorLogger
from .filters import FilterLogger
from .grad_cam import GradCAMLogger
from .saliency import SaliencyLogger
from .top_patches import TopPatchesLogger

#: The registry of callbacks: the suite, the contract tests and the fuzz tests read it.
CALLBACKS: tuple[type[VizCallback], ...] = (
    FilterLogger,
    ActivationLogger,
    SaliencyLogger,
    GradCAMLogger,
    EmbeddingProjectorLogger,
    TopPatchesLogger,
    ClassSynthesisLogger,
    DeepDreamLogger,
)

BUDGET = 0.05  # of the fit's time


class CallbackList(UserList[VizCallback]):
    """A list of callbacks that may also stand where one callback is meant, as in `Trainer(callbacks=[viz_callbacks()])`.

    Hydra's users make one object of each `_target_` and collect these objects in a list. (Of a `list` within a list, Hydra
    itself would make its ListConfig.) Lightning calls the hooks of each object: `setup` adds the callbacks to the trainer,
    behind this list, and all other hooks do nothing.
    """

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Raises ValueError for a callback that the trainer has already, under the same tag."""
        added = [one for one in self if one not in trainer.callbacks]  # type: ignore[attr-defined]
        known = {one.state_key for one in callbacks_of(trainer)}
        if twice := [type(one).__name__ for one in added if one.state_key in known]:
            raise ValueError(
                f"{', '.join(twice)}: in viz_callbacks() and beside it; leave one of them out, or give it a tag="
            )
        place = next(index for index, one in enumerate(trainer.callbacks) if one is self)  # type: ignore[attr-defined]
        trainer.callbacks[place + 1 : place + 1] = added  # type: ignore[attr-defined]

    def __getattr__(self, name: str) -> Any:
        return getattr(Callback(), name)


def viz_callbacks(**common: Unpack[CommonOptions]) -> CallbackList:
    """Every callback at its defaults, with these common options (see `VizCallback`), ready for `Trainer(callbacks=...)`.

    The suite draws much, so it has a budget: `max_overhead` is 0.05 here unless given. In short runs the expensive callbacks
    draw rarely or never, and a warning says so; `max_overhead=None` draws everything.

    The list may also stand as one callback among others: `Trainer(callbacks=[viz_callbacks(), ModelCheckpoint()])`.
    """
    options: CommonOptions = {"max_overhead": BUDGET, **common}
    return CallbackList(callback(**options) for callback in CALLBACKS)


viz_callbacks.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        one.replace(default=BUDGET) if one.name == "max_overhead" else one
        for one in inspect.signature(VizCallback).parameters.values()
        if one.kind is one.KEYWORD_ONLY
    ]
)
