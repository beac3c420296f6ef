"""Train a small network on scikit-learn's digits and show in TensorBoard what it learns. Takes one minute."""

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split

from lightning_viz import viz_callbacks


class Digits(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
            nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip

    def forward(self, images):
        return self.network(images)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("validation_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 3e-3)


digits = load_digits()
images = torch.tensor(digits.images[:, None] / 16, dtype=torch.float32)
train, validation = random_split(TensorDataset(images, torch.tensor(digits.target)), (0.8, 0.2))
trainer = pl.Trainer(max_epochs=8, callbacks=viz_callbacks(max_overhead=None))
trainer.fit(Digits(), DataLoader(train, 64, shuffle=True), DataLoader(validation, 64))
print(f"tensorboard --samples_per_plugin images=1000 --logdir {trainer.logger.log_dir}")
