"""PyTorch Lightning callbacks that show, in TensorBoard and while it trains, what an image network learns.

    trainer = pl.Trainer(callbacks=[FilterLogger(), SaliencyLogger(), GradCAMLogger()])

The tensor functions behind the pictures are in `lightning_viz.methods`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .callbacks import (
        ActivationLogger,
        ClassSynthesisLogger,
        DeepDreamLogger,
        DrawContext,
        EmbeddingProjectorLogger,
        FilterLogger,
        GradCAMLogger,
        Panel,
        Probe,
        SaliencyLogger,
        Scalar,
        TopPatchesLogger,
        VizCallback,
        viz_callbacks,
    )

__version__ = "0.1.0"
__all__ = [
    "ActivationLogger", "ClassSynthesisLogger", "DeepDreamLogger", "DrawContext", "EmbeddingProjectorLogger",
    "FilterLogger", "GradCAMLogger", "Panel", "Probe", "SaliencyLogger", "Scalar", "TopPatchesLogger", "VizCallback",
    "viz_callbacks",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Names on demand: `import lightning_viz` alone loads neither Lightning nor matplotlib (which Lightning loads)."""
    if name in __all__:
        callbacks = import_module(".callbacks", __name__)
        lightning_compat = import_module(".runtime.lightning_compat", __name__)
        lightning_compat.join()  # a Lightning imported since may be about to ask what this is
        return getattr(callbacks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
