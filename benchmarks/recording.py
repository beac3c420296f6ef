"""What it costs to record the validation loop: time per batch, time per drawing, and memory.

    python -m benchmarks.recording

The loop is ResNet-18 over 10,000 images of 64 pixels. Each callback records every second batch; the ratio is the median time of
recorded batches over that of unrecorded batches, then the median over the rounds. Memory is the peak of a separate process for
each number of samples, with a tiny network. Takes about six minutes.
"""

import argparse
import datetime
import logging
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

import pytorch_lightning as pl
import torch
import torchvision
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_viz import ActivationLogger, EmbeddingProjectorLogger, TopPatchesLogger

COUNT, SIDE, CLASSES = 10_000, 64, 10
ROUNDS = 3
LISTENERS = EmbeddingProjectorLogger, ActivationLogger, TopPatchesLogger


class Synthetic(Dataset):
    """Noise images, generated on request."""

    def __init__(self, count, side):
        self.count, self.noise = count, torch.rand(3, side + 64, side)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return self.noise[:, index % 64 : index % 64 + self.noise.shape[2]], index % CLASSES


class Classifier(pl.LightningModule):
    def __init__(self, network):
        super().__init__()
        self.network = network
        self.pictures = 0

    def forward(self, images):
        self.pictures += len(images)
        return self.network(images)

    def validation_step(self, batch, batch_idx):
        self.log("loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))


def by_turns(listener):
    """The callback, recording only every second batch of the loop, with the seconds of each batch."""

    class ByTurns(listener):
        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            now = time.perf_counter()
            if batch_idx:
                self.seconds.append(now - self.start)  # of the previous batch, and of loading this one
            self.start = now
            if batch_idx % 2 == 0:
                super().on_validation_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)

        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
            if batch_idx % 2 == 0:
                super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

        def on_validation_end(self, trainer, pl_module):
            """Draw nothing here: drawing is timed with the unchanged callback."""

    callback = ByTurns(on_error="raise")
    callback.seconds = []
    return callback


class Stopwatch(pl.Callback):
    """Records when the last batch of a loop ended."""

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.last = time.perf_counter()


def validate(module, callbacks, data, folder):
    """Seconds from the last batch until everything is on disk, and the number of images through the network."""
    watch, before = Stopwatch(), module.pictures
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=TensorBoardLogger(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[watch, *callbacks],
    )
    trainer.validate(module, data, verbose=False)
    return time.perf_counter() - watch.last, module.pictures - before


def time_the_loop(listener, module, data, folder):
    """One row of the table."""
    ratios = []
    for _ in range(ROUNDS):
        callback = by_turns(listener)
        validate(module, [callback], data, folder)
        recorded, unrecorded = callback.seconds[2::2], callback.seconds[3::2]  # the first batch also finds the layers
        ratios.append(statistics.median(recorded) / statistics.median(unrecorded))
    drawing, pictures = validate(module, [listener(on_error="raise")], data, folder)
    return (
        f"| `{listener.__name__}` | {statistics.median(ratios):.3f} × | {min(ratios):.3f} to {max(ratios):.3f} | "
        f"{pictures - COUNT} | {drawing:.1f} s |"
    )


def peak(count):
    """Print the peak memory of this process, in MiB, after a loop over `count` samples; runs in a separate process."""
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, CLASSES))
    with tempfile.TemporaryDirectory() as folder:
        validate(Classifier(network), [EmbeddingProjectorLogger()], DataLoader(Synthetic(count, 8), 1000), folder)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peak", type=int)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    if arguments.peak:
        peak(arguments.peak)
        return
    print(
        f"{datetime.date.today()}, {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}\n"
    )
    print(
        "| callback | time per batch | range over rounds | additional images through the network | drawing, until on disk |"
    )
    print("| --- | ---: | ---: | ---: | ---: |")
    module = Classifier(torchvision.models.resnet18(num_classes=CLASSES))
    data = DataLoader(Synthetic(COUNT, SIDE), 100)
    with tempfile.TemporaryDirectory() as folder:
        for listener in LISTENERS:
            print(time_the_loop(listener, module, data, folder), flush=True)
    print("\n| what | measured |\n| --- | ---: |")
    for count in (10_000, 100_000, 1_000_000):
        done = subprocess.run(
            [sys.executable, __file__, "--peak", str(count)], capture_output=True, text=True, check=True
        )
        print(f"| peak memory of the process, {count:,} samples | {float(done.stdout.splitlines()[-1]):.0f} MiB |")


if __name__ == "__main__":
    main()
