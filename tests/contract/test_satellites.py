"""The whole suite with thirteen bands, as torchgeo's datamodules give them: normalised after the transfer, not before.

torchgeo itself is too large to install. The stand-ins have its attributes: EuroSAT's names of bands and classes, and a
datamodule that normalises in `on_after_batch_transfer` with kornia's Normalize, which keeps its numbers in `flags`.
"""

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ..stub import Stub, tiny_network
from ..support import CLASSES, SUITE, Events, Lit, quick_suite, trainer

BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B08A", "B09", "B10", "B11", "B12")


class EuroSAT(Dataset):
    """Stand-in for torchgeo.datasets.EuroSAT: reflectances times 10,000, of which clouds have the most."""

    all_band_names = BANDS
    rgb_bands = ("B04", "B03", "B02")
    classes = ("AnnualCrop", "Forest", "River", "SeaLake")

    def __init__(self):
        self.bands = BANDS
        pictures = torch.rand(8, 13, 12, 12, generator=torch.Generator().manual_seed(0))
        self.images = 300 + pictures * torch.linspace(400, 2500, 13).reshape(13, 1, 1)
        self.images[:, :, 0, 0] = 10_000.0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return {"image": self.images[index], "label": torch.tensor(index % CLASSES)}


class Normalize(nn.Module):
    """Stand-in for kornia.augmentation.Normalize."""

    def __init__(self, mean, std):
        super().__init__()
        self.flags = {"mean": mean, "std": std}

    def forward(self, images):
        mean, std = (self.flags[name].reshape(-1, 1, 1) for name in ("mean", "std"))
        return (images - mean) / std


class EuroSATDataModule(pl.LightningDataModule):
    """Stand-in for torchgeo.datamodules.EuroSATDataModule."""

    def __init__(self, mean, std):
        super().__init__()
        self.mean, self.std = mean, std
        self.aug = nn.Sequential(Normalize(mean, std))

    def train_dataloader(self):
        return DataLoader(EuroSAT(), batch_size=4)

    val_dataloader = train_dataloader

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return {**batch, "image": self.aug(batch["image"])}


class Task(Lit):
    def training_step(self, batch, batch_idx):
        return super().training_step((batch["image"], batch["label"]), batch_idx)

    def validation_step(self, batch, batch_idx):
        return super().validation_step((batch["image"], batch["label"]), batch_idx)


IMAGES = EuroSAT().images
#: What a datamodule may divide by: nothing; the statistics of each band; the largest value.
NORMALISATIONS = {
    "none": (torch.tensor(0.0), torch.tensor(1.0)),
    "of each band": (IMAGES.mean(dim=(0, 2, 3)), IMAGES.std(dim=(0, 2, 3))),
    "the largest value": (torch.tensor(0.0), torch.tensor(10_000.0)),
    "torchgeo's default": (torch.tensor(0.0), torch.tensor(255.0)),
}


@pytest.mark.parametrize("name", NORMALISATIONS)
def test_the_bands_of_the_dataset_are_shown_and_not_black(name, tmp_path):
    stub = Stub()
    trainer(tmp_path, [stub], max_epochs=1).fit(
        Task(tiny_network(13)), datamodule=EuroSATDataModule(*NORMALISATIONS[name])
    )
    probe = stub.ctx.probe
    assert probe.bands == [3, 2, 1]
    assert "channels 3, 2, 1 of 13 shown as RGB; each channel scaled" in probe.note
    assert "denormalised" not in probe.note
    assert all(100 < probe.pictures[..., channel].mean() < 155 for channel in range(3))
    assert probe.class_name(1) == "Forest"


def test_a_normalisation_of_the_datamodule_that_leads_to_colours_is_undone(tmp_path):
    class Colours(EuroSATDataModule):
        def train_dataloader(self):
            data = EuroSAT()
            data.images = torch.rand(8, 13, 12, 12, generator=torch.Generator().manual_seed(0))
            return DataLoader(data, batch_size=4)

        val_dataloader = train_dataloader

    stub, mean, std = Stub(), torch.linspace(0.3, 0.6, 13), torch.linspace(0.1, 0.3, 13)
    module = Colours(mean, std)
    trainer(tmp_path, [stub], max_epochs=1).fit(Task(tiny_network(13)), datamodule=module)
    shown = torch.from_numpy(stub.ctx.probe.pictures).permute(0, 3, 1, 2) / 255
    originals = module.val_dataloader().dataset.images[:, [3, 2, 1]]
    assert all(min(float((one - original).abs().amax()) for original in originals) < 0.003 for one in shown)
    assert "denormalised with the dataset's Normalize(mean, std)" in stub.ctx.probe.note


def test_the_suite_draws_thirteen_bands(tmp_path):
    suite = quick_suite(max_overhead=None, max_images=3, history=2, on_error="raise")
    run = trainer(tmp_path, suite, max_epochs=1)
    run.fit(Task(tiny_network(13)), datamodule=EuroSATDataModule(*NORMALISATIONS["of each band"]))
    assert {tag.partition("/")[0] for tag in Events(run.logger.log_dir).image_tags} == SUITE
