"""Pictures and scalars to a logger's files; never a model, never Lightning."""

from .tensorboard import TensorBoardSink

__all__ = ["TensorBoardSink"]
