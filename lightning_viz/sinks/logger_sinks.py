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
    found = []
    for logger in loggers:
        names = {kind.__name__ for kind in type(logger).__mro__}
        found += [make(logger) for name, make in SINKS.items() if name in names]
    return [sink for sink in found if not isinstance(sink, FileSink)] or found
