"""The overhead of the whole suite: ResNet-18 at 64 pixels, 12,000 images of Fashion-MNIST, three epochs.

    python -m benchmarks.suite [--device cuda] [--max-overhead 0.02]

By default the suite as returned by `viz_callbacks()`. The overhead is `viz/overhead`: the seconds that training waited, plus
the processor time of the worker thread divided by the number of processors, as a fraction of the training time. Each budget
and the run without callbacks take some minutes.
"""

import argparse
import gzip
import logging
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytorch_lightning as pl
import torch
import torchvision
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import FashionMNIST
from torchvision.transforms import v2

from lightning_viz import viz_callbacks

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
TRAIN, VALIDATION, EPOCHS, SIDE = 12_000, 2_000, 3, 64


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = torchvision.models.resnet18(num_classes=10)

    def forward(self, images):
        return self.network(images)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("validation", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)


def data(folder):
    """The dataloaders, from Debian's copy of the data if it is installed, otherwise from a download."""
    raw = folder / "FashionMNIST/raw"
    if DEBIAN.is_dir():
        raw.mkdir(parents=True)
        for path in DEBIAN.glob("*.gz"):
            with gzip.open(path) as packed, (raw / path.stem).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
    scale = [v2.Grayscale(3), v2.Resize(SIDE), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
    parts = [FashionMNIST(folder, train, v2.Compose(scale), download=not DEBIAN.is_dir()) for train in (True, False)]
    return (
        DataLoader(Subset(parts[0], range(TRAIN)), 64, shuffle=True),
        DataLoader(Subset(parts[1], range(VALIDATION)), 100),
    )


def fit(folder, loaders, callbacks, device):
    """The seconds of a training run, and its events."""
    torch.manual_seed(0)
    logger = TensorBoardLogger(folder)
    trainer = pl.Trainer(
        accelerator="gpu" if device == "cuda" else "cpu",
        devices=1,
        max_epochs=EPOCHS,
        callbacks=callbacks,
        logger=logger,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    start = time.perf_counter()
    trainer.fit(Classifier(), *loaders)
    seconds = time.perf_counter() - start
    events = EventAccumulator(logger.log_dir, size_guidance={"scalars": 0, "images": 1})
    events.Reload()
    return seconds, events


def tables(device: str, budgets: Sequence[float | None]) -> Iterator[str]:
    """Yield the lines of the Markdown tables."""
    with tempfile.TemporaryDirectory() as folder:
        loaders = data(Path(folder))
        seconds, _ = fit(folder, loaders, [], device)
        yield f"Without callbacks {seconds:.0f} s.\n"
        for budget in budgets:
            callbacks = viz_callbacks(on_error="raise", max_overhead=budget)
            seconds, events = fit(folder, loaders, callbacks, device)
            share = events.Scalars("viz/overhead")[-1].value
            yield from [
                f"`max_overhead={budget}`: the callbacks used {100 * share:.1f}% of {seconds:.0f} s.\n",
                "| seconds per drawing, at step | " + " | ".join(str(step) for step in steps(events)) + " |",
                "| --- |" + " ---: |" * len(steps(events)),
            ]
            for tag in sorted(one for one in events.Tags()["scalars"] if one.startswith("viz/seconds/")):
                drawn = {event.step: f"{event.value:.2f}" for event in events.Scalars(tag)}
                cells = (drawn.get(step, "") for step in steps(events))
                yield f"| `{tag.rpartition('/')[2]}` | {' | '.join(cells)} |"
            yield ""


def steps(events) -> list[int]:
    return sorted(
        {
            event.step
            for tag in events.Tags()["scalars"]
            if tag.startswith("viz/seconds/")
            for event in events.Scalars(tag)
        }
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--max-overhead", nargs="*", type=float, default=[0.05])
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for line in tables(arguments.device, arguments.max_overhead):
        print(line, flush=True)
