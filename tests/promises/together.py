"""What two processes do together: `python together.py FOLDER ACCELERATOR` in each, with LOCAL_RANK and MASTER_PORT set.

Each part saves what it found in `FOLDER/PART-RANK.pt`. `record` is also what one process does alone.
"""

import os
import sys
import warnings
from copy import deepcopy
from functools import partial
from pathlib import Path
from unittest.mock import patch

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import Subset

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from lightning_viz import (
    ActivationLogger,
    EmbeddingProjectorLogger,
    FilterLogger,
    GradCAMLogger,
    Probe,
    TopPatchesLogger,
)
from lightning_viz.collect.channel_statistics import ChannelStatisticsAccumulator
from lightning_viz.collect.sample_selector import SampleSelector, by_loss
from lightning_viz.runtime.session import session_of
from tests.careful import Augmented, Careful, loaders, train_carefully
from tests.support import CLASSES, Lit, Restless, dataset, loader, quick_suite, small_network, trainer

RANK = int(os.environ.get("LOCAL_RANK", 0))
BOTH = {"strategy": "ddp", "devices": 2}


# Bit-identical training.


class Synced(nn.Module):
    """Takes the mean over all processes off in training mode, as SyncBatchNorm does: a forward pass of one would wait."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, inputs):
        if self.training:
            mean = inputs.detach().mean()
            distributed.all_reduce(mean)
            self.mean.lerp_(mean / distributed.get_world_size(), 0.5)
        return inputs - self.mean


class Together(Careful):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(Restless(), Synced(), *small_network())


def uneven():
    """Five batches to validate with in the first process, three in the second."""
    return loaders()[0], loader(Subset(Augmented(), range(20 if RANK == 0 else 12)), batch_size=4)


def train(folder, accelerator):
    """What training left without and with the suite. SyncBatchNorm is for GPUs alone: DDP refuses it on a CPU."""
    fit = partial(
        train_carefully, module=Together, data=uneven, seed=7 + RANK, **BOTH,
        accelerator=accelerator, sync_batchnorm=accelerator == "gpu", use_distributed_sampler=False,
    )  # fmt: skip
    suite = quick_suite(on_error="raise", max_images=2, history=0)
    return {"without": fit(folder / "without"), "with": fit(folder / "with", suite)}


# Sharded weights.


class Sharded(Lit):
    def configure_model(self):
        for layer in (self.network[0], self.network[3], self.network[9], self.network):
            fully_shard(layer, mesh=self.device_mesh["data_parallel"])


def our(caught):
    return [str(one.message) for one in caught if "lightning_viz" in str(one.message)]


def train_sharded(folder):
    """The warnings of this library, the steps that were taken, and what the weights have become."""
    probe, strategy = Probe(torch.rand(2, 3, 12, 12)), ModelParallelStrategy(2, 1)
    run = trainer(folder, quick_suite(probe=probe, on_error="raise"), strategy=strategy, devices=2, max_epochs=1)
    module = Sharded()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(module, loader(), loader())
    return our(caught), run.global_step, {type(weight).__name__ for weight in module.parameters()}


# What is recorded in the validation loop.


class Idle(Lit):
    """It stays as it is, however many steps it takes."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


class Spied(TopPatchesLogger):
    def _sheet(self, ctx, layer, found, images, origin, shuffled):
        top = found.top
        shown = {n: images[n] for n in sorted(set(top.positions.flatten().tolist()))}
        where = [top.positions, top.rows, top.columns, top.labels]
        self.drawn.append((layer, found.channels, where, top.values, shown))
        yield from super()._sheet(ctx, layer, found, images, origin, shuffled)


class Pins(pl.Callback):
    """What is pinned in this process in each validation loop, by callback."""

    def __init__(self):
        self.found = []

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        if batch_idx == 0:
            runners = session_of(trainer).runners(trainer)
            self.found.append({type(one.callback).__name__: deepcopy(one.pins) for one in runners if one.pins})


def record(folder, **options):
    """23 samples in batches of 4: of two processes the second repeats one, and its last batch is smaller."""
    pl.seed_everything(0, verbose=False)
    patches, pins = Spied(max_units=3, on_error="raise"), Pins()
    patches.drawn = []
    hardest = GradCAMLogger(probe=Probe.hardest(), on_error="raise")
    callbacks = [EmbeddingProjectorLogger(max_points=15, on_error="raise"), ActivationLogger(on_error="raise")]
    features = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 9, 3), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*features, nn.Linear(81, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    run = trainer(folder, [*callbacks, patches, hardest, pins], max_epochs=3, **options)
    run.fit(Idle(network), loader(), loader(dataset(23), batch_size=4))
    images = hardest.runner.probes["validation"].images if run.is_global_zero else None
    return {"patches": patches.drawn, "hardest": images, "pins": pins.found}


# One process fails.


class Breaking(ChannelStatisticsAccumulator):
    """Raises in this process."""

    def update(self, batch):
        raise RuntimeError("no room for statistics")


class Breaks(ActivationLogger):
    """From its third loop on, that of the second epoch, what it records fails in one process."""

    loops, rank = 0, 0

    def accumulators(self, data, state):
        self.loops += 1
        kind = Breaking if self.loops >= 3 and self.rank == RANK else ChannelStatisticsAccumulator
        return [kind(one.layers_of) for one in super().accumulators(data, state)]


def break_one(folder, rank):
    """In one process two callbacks fail to record: one from the sanity check on, one in the second epoch."""
    update = SampleSelector.update

    def no_room(self, batch):
        if self.key is by_loss and rank == RANK:
            raise RuntimeError("no room for the hardest")
        update(self, batch)

    hardest, breaks = GradCAMLogger(probe=Probe.hardest(), tag="hardest"), Breaks(tag="breaks", history=0)
    breaks.rank = rank
    others = [FilterLogger(), ActivationLogger(), TopPatchesLogger(max_units=2, patches=2), EmbeddingProjectorLogger()]
    saving = ModelCheckpoint(folder / "saved", save_top_k=-1)
    run = trainer(folder, [hardest, *others, breaks, saving], max_epochs=3, enable_checkpointing=True, **BOTH)
    with patch.object(SampleSelector, "update", no_room), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(Lit(), loader(), loader(batch_size=4))
    return {
        "warnings": our(caught),
        "steps": run.global_step,
        "disabled": {one.tag or type(one).__name__: one.runner.disabled for one in [hardest, breaks, *others]},
    }


class Uneven(Lit):
    """The sanity check is two batches: all that the second process has, and not all of the first's."""

    def train_dataloader(self):
        return loader()

    def val_dataloader(self):
        return loader(dataset(12 if self.global_rank == 0 else 8), batch_size=4)

    def validation_step(self, batch, batch_idx):
        self(batch[0])


def check_uneven(folder):
    callbacks = [GradCAMLogger(probe=Probe.hardest(), on_error="raise")]
    run = trainer(folder, callbacks, use_distributed_sampler=False, **BOTH)
    run.fit(Uneven())
    return run.global_step


def main(folder, accelerator):
    parts = {"train": partial(train, folder, accelerator)}
    if accelerator == "cpu":
        parts["sharded"] = partial(train_sharded, folder / "sharded")
        parts["recorded"] = partial(record, folder / "recorded", **BOTH)
        parts["uneven"] = partial(check_uneven, folder / "uneven")
        for rank in (0, 1):
            parts[f"broken in {rank}"] = partial(break_one, folder / f"broken in {rank}", rank)
    for name, work in parts.items():
        torch.save(work(), folder / f"{name}-{RANK}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
