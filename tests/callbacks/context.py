"""Drawings without a trainer: a callback, a network in evaluation mode and a probe."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn
from torch.utils.data import DataLoader

from lightning_viz import Probe, VizCallback
from lightning_viz.collect.data_access import DataAccess
from lightning_viz.collect.recorder import ForwardRecorder, Recording
from lightning_viz.data.batch import unpack_batch
from lightning_viz.data.dataloaders import count_samples
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.runtime.artifacts import Artifact
from lightning_viz.runtime.captions import predict
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.schedule import Schedule
from lightning_viz.runtime.state import CallbackState


def data_of(*loaders: DataLoader, name: str = "validation") -> DataAccess:
    """Dataloaders without a trainer: a batch stays as it is collated."""
    counts = [count_samples(loader, float("inf"), 1) for loader in loaders]
    return DataAccess(name, loaders, counts, unpack_batch, prepare=lambda batch: batch)


def reject(message: str) -> None:
    """A warning where none is expected."""
    raise AssertionError(message)


def make_context(network: nn.Module, probe: Probe, callback: VizCallback | None = None, **options: Any) -> DrawContext:
    """With the state that the callback has kept from its earlier drawings. `options` are fields of the context."""
    auto_batch = options.pop("auto_batch", AutoBatch())
    fields: dict[str, Any] = {
        "split": "validation",
        "step": 0,
        "global_step": 0,
        "schedule": Schedule(),
        "data": data_of(),
        "warn": reject,
        "_state": CallbackState() if callback is None else callback.runner.state,
        "_recording": None,
        "_predict": lambda shown: predict(network, shown, auto_batch),
        "cache": {},
    }
    return DrawContext(network.eval(), probe, auto_batch=auto_batch, **{**fields, **options})


def draw(callback: VizCallback, network: nn.Module, probe: Probe, **options: Any) -> list[Artifact]:
    """All that one drawing yields."""
    ctx = make_context(network, probe, callback, **options)
    callback.check_images(ctx)
    return list(callback.draw(ctx))


def by_tag(artifacts: Iterable[Artifact]) -> dict[str, Any]:
    return {getattr(one, "tag", None) or one.name: one for one in artifacts}


def scalars(artifacts: Iterable[Artifact]) -> dict[str, float]:
    return {one.tag: one.value for one in artifacts if hasattr(one, "value")}


def texts(captions: Sequence[Any]) -> list[list[str]]:
    """The lines of captions."""
    return [[line.text for line in caption] for caption in captions]


def record(callback: VizCallback, network: nn.Module, data: DataAccess, global_step: int = 0) -> Recording:
    """What the callback's accumulators record in a loop over these data."""
    recording = Recording(list(callback.accumulators(data, callback.runner.state)))
    recorder = ForwardRecorder(network.eval(), unpack_batch, [recording])
    for number, loader in enumerate(data.loaders):
        for index, batch in enumerate(loader):
            if number == index == 0:
                recorder.open(batch)
            recorder.start(batch, number)
            network(unpack_batch(batch)[0])
            recorder.end(number, loader)
    recorder.merge(global_step)
    if recording.error is not None:
        raise recording.error
    return recording


def count_forwards(network: nn.Module) -> list[int]:
    """Grows by the number of images of each forward pass of the network."""
    counts: list[int] = []
    network.register_forward_pre_hook(lambda module, inputs: counts.append(len(inputs[0])))
    return counts
