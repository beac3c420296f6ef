"""Small real models, data and runs that many tests share."""

import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from lightning_viz import VizCallback
from lightning_viz.callbacks.suite import CALLBACKS as CALLBACKS  # the registry

from .cases import CASES

CLASSES = 4

#: What leaves them all that they do but makes it quick, for tests that draw very often, or large networks.
QUICK: dict[type[VizCallback], dict[str, Any]] = {case.callback: dict(case.options) for case in CASES if case.options}


def quick(callback: type[VizCallback], **options: Any) -> VizCallback:
    """A callback that does all, in little time."""
    return callback(**{**QUICK.get(callback, {}), **options})


def quick_suite(**common: Any) -> list[VizCallback]:
    """Every callback, each quick."""
    return [quick(one, **common) for one in CALLBACKS]


def options_of(callback: VizCallback) -> tuple[type, dict[str, Any]]:
    """What makes an equal callback: its class, and the values of all its options."""
    return type(callback), {name: getattr(callback, name) for name in inspect.signature(type(callback)).parameters}


#: The first parts of the tags that the whole suite draws under.
SUITE = {case.tag for case in CASES}


class Notes:
    """What a module notes of its forward passes: the guard restores a list in an attribute, but not this."""

    __slots__ = ("entries",)

    def __init__(self) -> None:
        self.entries: list[Any] = []


class Restless(nn.Module):
    """Draws from every random state and counts its calls, in evaluation mode too: what the guard has to undo."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("sums", torch.zeros(()))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1  # by assignment, as many do
        self.sums.add_(inputs.mean().detach())
        return inputs * (1 + 0.01 * (random.random() + np.random.rand() + torch.rand(()).item()))


class Scaling(nn.Module):
    """A network that scales its images in its own way, and keeps the types of those that it is given."""

    def __init__(self, scale: Callable[[torch.Tensor], torch.Tensor], inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner, self.scale, self.seen = small_network() if inner is None else inner, scale, []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen.append(images.dtype)
        return self.inner(self.scale(images))


def scale_bytes(images: torch.Tensor) -> torch.Tensor:
    """To 0 to 1; floats are refused."""
    if images.dtype != torch.uint8:
        raise TypeError("bytes are expected")
    return images / 255


def small_network(channels: int = 3) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.Conv2d(6, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.Dropout2d(0.3),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, CLASSES),
    )


class Lit(pl.LightningModule):
    """A small classifier that logs its loss, with a network of one's choice."""

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        self.network = small_network() if network is None else network
        self.losses: list[float] = []

    def forward(self, images: torch.Tensor) -> Any:
        return self.network(images)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
        self.losses.append(loss.item())
        self.log("loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("validation", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)


def dataset(count: int = 24, channels: int = 3, size: int = 12) -> TensorDataset:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(count, channels, size, size, generator=generator)
    return TensorDataset(images, torch.arange(count) % CLASSES)


class Stream(IterableDataset):
    """The samples of `dataset()` without an index."""

    def __iter__(self) -> Iterator[Any]:
        return iter(dataset())


class Backwards:
    """A custom sampler: the loop's first sample is the last of the data."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(23, -1, -1))

    def __len__(self) -> int:
        return 24


def loader(data: Dataset | None = None, **options: Any) -> DataLoader:
    return DataLoader(dataset() if data is None else data, batch_size=options.pop("batch_size", 6), **options)


def trainer(folder: Path, callbacks: Sequence[pl.Callback] = (), **options: Any) -> pl.Trainer:
    """A quiet trainer, on the CPU unless asked otherwise, that logs to TensorBoard files in `folder`."""
    options = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": TensorBoardLogger(folder, name="run"),
        "max_epochs": 2,
        "log_every_n_steps": 1,
        "enable_checkpointing": False,
        **options,
    }
    return pl.Trainer(
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=list(callbacks),
        **options,
    )


class Events:
    """A run's event files, read back by TensorBoard's own reader."""

    def __init__(self, folder: str | Path) -> None:
        self._events = EventAccumulator(str(folder), size_guidance={"images": 0, "scalars": 0})
        self._events.Reload()

    @property
    def image_tags(self) -> list[str]:
        return self._events.Tags()["images"]

    @property
    def scalar_tags(self) -> list[str]:
        return self._events.Tags()["scalars"]

    def image_steps(self, tag: str) -> list[int]:
        return [event.step for event in self._events.Images(tag)]

    def scalar_steps(self, tag: str) -> list[int]:
        return [event.step for event in self._events.Scalars(tag)]

    def scalars(self, tag: str) -> list[float]:
        return [event.value for event in self._events.Scalars(tag)]

    def pictures(self, tag: str) -> list[bytes]:
        return [event.encoded_image_string for event in self._events.Images(tag)]
