"""What the callbacks that listen to the validation loop add to it, what a drawing of theirs costs, and how memory grows.

    python benchmarks/harvest.py

The loop is ResNet-18 over 10,000 pictures of 64 pixels, with each callback and without, by turns, in this process; medians.
Memory is the peak of a process of its own for each number of samples, of a tiny network. About ten minutes.
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
ROUNDS = 5
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


class Stopwatch(pl.Callback):
    """The time from the first batch of a loop to the last, drawing aside."""

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 1:  # after the callback has looked for its layer
            self.start = time.perf_counter()

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self.last = time.perf_counter()
        if batch_idx:
            self.seconds = self.last - self.start


def validate(module, callbacks, data, folder):
    """Seconds of the loop, seconds after it, pictures that went through the network."""
    watch = Stopwatch()
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=TensorBoardLogger(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[watch, *callbacks],
    )
    before = module.pictures
    trainer.validate(module, data, verbose=False)
    return watch.seconds, time.perf_counter() - watch.last, module.pictures - before


def time_the_loop(folder):
    module = Classifier(torchvision.models.resnet18(num_classes=CLASSES))
    data = DataLoader(Synthetic(COUNT, SIDE), 100)
    validate(module, [], data, folder)  # warm
    found = {None: [], **{listener: [] for listener in LISTENERS}}
    for _ in range(ROUNDS):
        for listener, seen in found.items():
            callbacks = [listener(on_error="raise")] if listener else []
            seen.append(validate(module, callbacks, data, folder))
    return found


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
    with tempfile.TemporaryDirectory() as folder:
        found = time_the_loop(folder)
    plain = found.pop(None)
    seconds = statistics.median(one[0] for one in plain)
    print(
        f"{datetime.date.today()}, {platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}; "
        f"the loop without a callback: {seconds:.1f} s\n"
    )
    print(
        "| callback | the loop with it | from, to | pictures more through the network | a drawing, until all is on disk |"
    )
    print("| --- | ---: | ---: | ---: | ---: |")
    for listener, seen in found.items():
        ratios = [one[0] / other[0] for one, other in zip(seen, plain, strict=True)]
        drawing = statistics.median(one[1] - other[1] for one, other in zip(seen, plain, strict=True))
        extra = {one[2] - other[2] for one, other in zip(seen, plain, strict=True)}
        print(
            f"| `{listener.__name__}` | {statistics.median(ratios):.3f} × | {min(ratios):.3f}, {max(ratios):.3f} | "
            f"{', '.join(map(str, sorted(extra)))} | {drawing:.1f} s |",
            flush=True,
        )
    print("\n| what | measured |\n| --- | ---: |")
    for count in (10_000, 100_000, 1_000_000):
        done = subprocess.run(
            [sys.executable, __file__, "--peak", str(count)], capture_output=True, text=True, check=True
        )
        print(f"| peak memory of the process, {count:,} samples | {float(done.stdout.splitlines()[-1]):.0f} MiB |")


if __name__ == "__main__":
    main()
