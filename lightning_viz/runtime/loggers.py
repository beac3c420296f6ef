"""Which loggers take pictures."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lightning_viz.sinks import FileSink, MLFlowSink, Sink, TensorBoardSink, WandbSink

#: By the name of the logger's class: each Lightning has classes of its own.
SINKS: Mapping[str, Callable[[Any], Sink]] = {
    "TensorBoardLogger": lambda logger: TensorBoardSink(lambda: logger.experiment),
    "WandbLogger": WandbSink,
    "MLFlowLogger": MLFlowSink,
    "CSVLogger": lambda logger: FileSink(lambda: logger.log_dir, logger.log_metrics),
}


def sinks_of(loggers: Sequence[Any]) -> list[Sink]:
    """One for each logger that takes pictures. Files are written only where no other logger shows them."""
    found = [SINKS[name](logger) for logger in loggers for name in SINKS if is_a(name, logger)]
    return [sink for sink in found if not isinstance(sink, FileSink)] or found


def is_a(name: str, logger: Any) -> bool:
    """Whether the logger's class has this name, or descends from one."""
    return any(kind.__name__ == name for kind in type(logger).__mro__)
