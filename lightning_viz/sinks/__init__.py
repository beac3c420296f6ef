"""Pictures, scalars and embeddings to the files of a logger; never a model, never Lightning's own classes."""

from .disk_space import DiskError
from .file_sink import FileSink
from .logger_sinks import sinks_of
from .mlflow_sink import MLFlowSink
from .projector_sink import ProjectorSink
from .sink import Sink
from .sink_queue import SinkQueue
from .snapshot import Snapshot
from .tensorboard_sink import TensorBoardSink
from .wandb_sink import WandbSink

__all__ = [
    "DiskError", "FileSink", "MLFlowSink", "ProjectorSink", "Sink", "SinkQueue", "Snapshot", "TensorBoardSink",
    "WandbSink", "sinks_of",
]  # fmt: skip
