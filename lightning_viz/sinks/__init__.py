"""Pictures, scalars and embeddings to a logger's files; never a model, never Lightning."""

from .projector import ProjectorSink
from .room import DiskError
from .snapshot import Snapshot
from .tensorboard import TensorBoardSink

__all__ = ["DiskError", "ProjectorSink", "Snapshot", "TensorBoardSink"]
