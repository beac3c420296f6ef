"""Which sink a logger gets: one entry per kind of logger."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .file_sink import FileSink
from .mlflow_sink import MLFlowSink
from .sink import Sink
from .tensorboard_sink import TensorBoardSink
from .wandb_sink import WandbSink

#: By the name of the logger's class: each Lightning has classes of its own.
SINKS: Mapping[str, Callable[[Any], Sink]] = {
    "TensorBoardLogger": lambda logger: TensorBoardSink(lambda: logger.experiment),
    "WandbLogger": WandbSink,
    "MLFlowLogger": MLFlowSink,
    "CSVLogger": lambda logger: FileSink(lambda: logger.log_dir, logger.log_metrics),
}


def sinks_of(loggers: Sequence[Any]) -> list[Sink]:
    """One for each logger that shows pictures. Files are written only where no other logger shows them."""
    found = [SINKS[name](logger) for logger in loggers for name in SINKS if name in _class_names(logger)]
    return [sink for sink in found if not isinstance(sink, FileSink)] or found


def _class_names(logger: Any) -> list[str]:
    """The names of a logger's class and of those it derives from."""
    return [kind.__name__ for kind in type(logger).__mro__]
