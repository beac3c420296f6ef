"""How the cost of a drawing grows with the dataset, with the probe images, and with the synthesised images.

    python -m benchmarks.growth [--device cuda]

A small network on images of 32 pixels. Seconds are `viz/seconds`, without the first drawing, which also finds the layers.
"""

import argparse
import logging
import statistics
import tempfile
import warnings
from collections.abc import Iterator

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_viz import ClassSynthesisLogger, VizCallback, viz_callbacks

CLASSES = 20


class Noise(Dataset):
    """Images generated on request."""

    def __init__(self, count):
        self.count, self.noise = count, torch.rand(3, 96, 32)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.noise[:, index % 64 : index % 64 + 32], index % CLASSES


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        widths = [3, 32, 64, 64]
        layers = [
            part for n in range(3) for part in (nn.Conv2d(widths[n], widths[n + 1], 3, stride=1 + n % 2), nn.ReLU())
        ]
        self.network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES))

    def forward(self, images):
        return self.network(images)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self(batch[0])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.05)


def seconds(callbacks: list[VizCallback], samples: int, device: str) -> float:
    """Median over three drawings of all these callbacks together, with a dataset of `samples` images."""
    torch.manual_seed(0)
    data = DataLoader(Noise(samples), 50, shuffle=False)
    with tempfile.TemporaryDirectory() as folder:
        logger = TensorBoardLogger(folder)
        trainer = pl.Trainer(
            accelerator="gpu" if device == "cuda" else "cpu",
            devices=1,
            max_steps=8,
            limit_val_batches=2,
            callbacks=callbacks,
            logger=logger,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        trainer.fit(Classifier(), data, data)
        events = EventAccumulator(logger.log_dir)
        events.Reload()
        tags = [tag for tag in events.Tags()["scalars"] if tag.startswith("viz/seconds/")]
        return sum(statistics.median(event.value for event in events.Scalars(tag)[-3:]) for tag in tags)


def tables(device: str) -> Iterator[str]:
    """Yield the lines of the Markdown tables."""
    options = {"every_n_train_steps": 2, "max_overhead": None, "on_error": "raise"}
    yield from ["| dataset | seconds per drawing, whole suite |", "| --- | ---: |"]
    for samples in (10**3, 10**4, 10**5, 10**6):
        yield f"| {samples:,} samples | {seconds(viz_callbacks(**options), samples, device):.2f} |"
    yield from [
        "",
        "| probe images | seconds per drawing, suite without synthesis | seconds per image |",
        "| --- | ---: | ---: |",
    ]
    for count in (4, 8, 16, 32):
        suite = [one for one in viz_callbacks(max_images=count, **options) if not isinstance(one, ClassSynthesisLogger)]
        spent = seconds(suite, 1000, device)
        yield f"| {count} | {spent:.2f} | {spent / count:.3f} |"
    yield from ["", "| synthesised images | seconds per drawing | seconds per image |", "| --- | ---: | ---: |"]
    for count in (2, 5, 10, 20):
        spent = seconds([ClassSynthesisLogger(list(range(count)), **options)], 1000, device)
        yield f"| {count} | {spent:.2f} | {spent / count:.3f} |"
    yield ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for line in tables(parser.parse_args().device):
        print(line, flush=True)
