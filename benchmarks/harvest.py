"""What the callbacks that listen to the validation loop add to it, what a drawing of theirs costs, and how memory grows.

    python -m benchmarks.harvest

The loop is ResNet-18 over 10,000 pictures of 64 pixels. Each callback listens to every second batch; the median of the
batches with it against the median of those without, the median of the rounds. Memory is the peak of a process of its own for
each number of samples, of a tiny network. About six minutes.
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
    """Pictures of noise, made when they are asked for."""

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
    """The callback, listening to every second batch of the loop only, and how long each batch took."""

    class ByTurns(listener):
        def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
            now = time.perf_counter()
            if batch_idx:
                self.seconds.append(now - self.start)  # of the batch before, and of getting this one
            self.start = now
            if batch_idx % 2 == 0:
                super().on_validation_batch_start(trainer, pl_module, batch, batch_idx, dataloader_idx)

        def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
            if batch_idx % 2 == 0:
                super().on_validation_batch_end(trainer, pl_module, outputs, batch, batch_idx, dataloader_idx)

        def on_validation_end(self, trainer, pl_module):
            """What is drawn is timed with the callback as it is."""

    callback = ByTurns(on_error="raise")
    callback.seconds = []
    return callback


class Stopwatch(pl.Callback):
    """When the last batch of a loop was done."""

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.last = time.perf_counter()


def validate(module, callbacks, data, folder):
    """Seconds from the last batch until all is on disk, and pictures that went through the network."""
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
    """A row of the table."""
    ratios = []
    for _ in range(ROUNDS):
        callback = by_turns(listener)
        validate(module, [callback], data, folder)
        heard, unheard = callback.seconds[2::2], callback.seconds[3::2]  # the first one looks for the layers
        ratios.append(statistics.median(heard) / statistics.median(unheard))
    drawing, pictures = validate(module, [listener(on_error="raise")], data, folder)
    return (
        f"| `{listener.__name__}` | {statistics.median(ratios):.3f} × | {min(ratios):.3f} to {max(ratios):.3f} | "
        f"{pictures - COUNT} | {drawing:.1f} s |"
    )


def peak(count):
    """Run by itself: the peak memory of this process after a loop of `count` samples, in MiB."""
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
    print("| callback | a batch with it | over the rounds | pictures more through the network | drawing, to disk |")
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
