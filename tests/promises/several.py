"""What two processes do together: `python several.py FOLDER ACCELERATOR` in each, with LOCAL_RANK and MASTER_PORT set."""

import os
import sys
import warnings
from functools import partial
from pathlib import Path

import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from torch import distributed, nn
from torch.distributed.fsdp import fully_shard
from torch.utils.data import Subset

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from lightning_viz import Probe
from tests.careful import Augmented, Careful, loaders, train_carefully
from tests.support import Lit, Restless, loader, quick_suite, small_network, trainer

RANK = int(os.environ["LOCAL_RANK"])


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


class Sharded(Lit):
    def configure_model(self):
        for layer in (self.network[0], self.network[3], self.network[9], self.network):
            fully_shard(layer, mesh=self.device_mesh["data_parallel"])


def train_sharded(folder):
    """The warnings of this library, the steps that were taken, and what the weights have become."""
    probe, strategy = Probe(torch.rand(2, 3, 12, 12)), ModelParallelStrategy(2, 1)
    run = trainer(folder, quick_suite(probe=probe, on_error="raise"), strategy=strategy, devices=2, max_epochs=1)
    module = Sharded()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run.fit(module, loader(), loader())
    ours = [str(one.message) for one in caught if "lightning_viz" in str(one.message)]
    return ours, run.global_step, {type(weight).__name__ for weight in module.parameters()}


def main(folder, accelerator):
    """SyncBatchNorm is for GPUs alone: DDP refuses it on a CPU."""
    train = partial(
        train_carefully, module=Together, data=uneven, seed=7 + RANK,
        strategy="ddp", devices=2, accelerator=accelerator, sync_batchnorm=accelerator == "gpu", use_distributed_sampler=False,
    )  # fmt: skip
    found = {
        "without": train(folder / "without"),
        "with": train(folder / "with", quick_suite(on_error="raise", max_images=2, history=0)),
        "sharded": train_sharded(folder / "sharded") if accelerator == "cpu" else None,
    }
    torch.save(found, folder / f"{RANK}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
