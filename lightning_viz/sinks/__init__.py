"""Pictures, scalars and embeddings to loggers; never a model, never Lightning's own classes."""

from .files import FileSink
from .mlflow import MLFlowSink
from .projector import ProjectorSink
from .queue import Queue
from .room import DiskError
from .sink import Sink
from .snapshot import Snapshot
from .tensorboard import TensorBoardSink
from .wandb import WandbSink

__all__ = [
    "DiskError",
    "FileSink",
    "MLFlowSink",
    "ProjectorSink",
    "Queue",
    "Sink",
    "Snapshot",
    "TensorBoardSink",
    "WandbSink",
]
