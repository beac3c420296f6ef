"""Train a small U-Net to find handwritten digits on photographs, and show in TensorBoard what it learns.

    python examples/segmentation.py              # two minutes on two CPU cores

The digits are those of scikit-learn, the photographs those of scikit-image. No callback needs an option for a
segmentation: of each picture, the class of the largest predicted region is explained, over that region.
"""

import argparse

import numpy as np
import pytorch_lightning as pl
import torch
from photographs import Photographs
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from lightning_viz import ActivationLogger, EmbeddingProjectorLogger, GradCAMLogger, SaliencyLogger

SIDE = 64  # pixels
BACKGROUND = 0


class DigitsOnPhotographs(Dataset):
    """A photograph with one digit on it, and its mask: 0 for the background, 1 to 10 for the digits 0 to 9."""

    class_names = ["background", *(f"digit {digit}" for digit in range(10))]

    def __init__(self, train: bool, count: int) -> None:
        digits, part = load_digits(), slice(count) if train else slice(-count, None)
        self.digits, self.labels = digits.images[part] / 16, digits.target[part]
        to_tensor = v2.Compose([v2.Resize((SIDE, SIDE)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
        self.photographs = [image for image, _ in Photographs(train, 12, to_tensor)]  # ten photographs

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int):
        generator = np.random.default_rng(index)
        image = self.photographs[index % len(self.photographs)] * 0.7
        scale = generator.integers(3, 6)  # a digit has 24 to 40 pixels a side
        digit = torch.tensor(np.kron(self.digits[index], np.ones((scale, scale))), dtype=torch.float32)
        top, left = generator.integers(0, SIDE - len(digit), 2)
        place = slice(top, top + len(digit)), slice(left, left + len(digit))
        colour = torch.tensor(generator.uniform(0.6, 1, (3, 1, 1)), dtype=torch.float32)
        image[:, *place] = torch.lerp(image[:, *place], colour.expand(3, *digit.shape), digit)
        mask = torch.zeros(SIDE, SIDE, dtype=torch.long)
        mask[place] = (digit > 0.3).long() * (int(self.labels[index]) + 1)
        return image, mask


def block(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
    )  # fmt: skip


class UNet(pl.LightningModule):
    """Ronneberger et al. 2015, with three resolutions."""

    def __init__(self, classes: int = 11, width: int = 16) -> None:
        super().__init__()
        self.down = nn.ModuleList([block(3, width), block(width, 2 * width), block(2 * width, 4 * width)])
        self.up = nn.ModuleList([block(6 * width, 2 * width), block(3 * width, width)])
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, images):
        skipped = []
        for index, down in enumerate(self.down):
            images = down(images if index == 0 else nn.functional.max_pool2d(images, 2))
            skipped.append(images)
        for up, skip in zip(self.up, reversed(skipped[:-1])):
            images = up(torch.cat([nn.functional.interpolate(images, scale_factor=2.0), skip], dim=1))
        return self.head(images)

    def training_step(self, batch, batch_idx):
        images, masks = batch
        scores = self(images)
        weights = torch.ones(scores.shape[1], device=scores.device)
        weights[BACKGROUND] = 0.1  # most pixels
        return nn.functional.cross_entropy(scores, masks, weights)

    def validation_step(self, batch, batch_idx):
        images, masks = batch
        predicted = self(images).argmax(dim=1)
        digits = masks != BACKGROUND
        self.log("validation/right_pixels_of_digits", (predicted == masks)[digits].float().mean(), prog_bar=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 2e-3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--samples", type=int, default=960, help="digits to train on, of 1,500")
    parser.add_argument("--root", default=".", help="where to write lightning_logs")
    arguments = parser.parse_args()
    pl.seed_everything(0)
    train = DataLoader(DigitsOnPhotographs(True, arguments.samples), 32, shuffle=True)
    validation = DataLoader(DigitsOnPhotographs(False, 297), 32)
    callbacks = [GradCAMLogger(), SaliencyLogger("smoothgrad"), ActivationLogger(), EmbeddingProjectorLogger()]
    trainer = pl.Trainer(max_epochs=arguments.epochs, default_root_dir=arguments.root, callbacks=callbacks)
    trainer.fit(UNet(), train, validation)
    print(f"tensorboard --samples_per_plugin images=1000 --logdir {trainer.logger.log_dir}")


if __name__ == "__main__":
    main()
