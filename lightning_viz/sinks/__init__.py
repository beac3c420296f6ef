"""Pictures, scalars and embeddings to a logger's files; never a model, never Lightning."""

from .projector import ProjectorSink
from .snapshot import Snapshot
from .tensorboard import TensorBoardSink

__all__ = ["ProjectorSink", "Snapshot", "TensorBoardSink"]
