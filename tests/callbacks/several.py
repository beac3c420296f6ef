"""The callbacks that listen to the validation loop, in one process or in several: `python several.py FOLDER PROCESSES`."""

import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from lightning_viz import ActivationLogger, EmbeddingProjectorLogger, GradCAMLogger, Probe, TopPatchesLogger
from tests.support import CLASSES, Lit, dataset, loader


class Idle(Lit):
    """It stays as it is, however many steps it takes."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.0)


class Spied(TopPatchesLogger):
    def draw(self, network, probe):
        for one in self._found:
            top = one.answers.top
            images = {n: one.images[n] for n in sorted(set(top.positions.flatten().tolist()))}
            where = [top.positions, top.rows, top.columns, top.labels]
            self.drawn.append((one.layer, one.answers.channels, where, top.values, images))
        yield from super().draw(network, probe)


def fit(folder, devices):
    """23 samples in batches of 4: of two processes the second repeats one, and its last batch is smaller."""
    pl.seed_everything(0, verbose=False)
    patches = Spied(max_units=3, on_error="raise")
    patches.drawn = []
    hardest = GradCAMLogger(probe=Probe.hardest(), on_error="raise")
    run = pl.Trainer(
        accelerator="cpu",
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        max_epochs=3,
        logger=TensorBoardLogger(folder, name="run"),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[
            EmbeddingProjectorLogger(max_points=15, on_error="raise"),
            ActivationLogger(on_error="raise"),
            patches,
            hardest,
        ],
    )
    features = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 9, 3), nn.ReLU(), nn.Flatten()]
    network = nn.Sequential(*features, nn.Linear(81, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    run.fit(Idle(network), loader(), loader(dataset(23), batch_size=4))
    if run.is_global_zero:
        found = {"patches": patches.drawn, "hardest": hardest._memory.probes["fit"].images}
        torch.save(found, Path(folder) / "found.pt")


if __name__ == "__main__":
    fit(sys.argv[1], int(sys.argv[2]))
