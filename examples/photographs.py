"""Ten classes of real photographs without a download: crops of the photographs included in scikit-image.

Training and validation crops come from different halves of each photograph, so they share no pixel.
"""

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch.utils.data import Dataset
from torchvision.transforms import v2

#: Per class: the photograph, the axis along which it is halved (0: top and bottom), and the half used for validation.
PHOTOGRAPHS = {
    "astronaut": (data.astronaut, 1, 0),
    "brick": (data.brick, 1, 1),
    "cat": (data.cat, 1, 1),
    "coffee": (data.coffee, 1, 1),
    "galaxies": (data.hubble_deep_field, 1, 1),
    "grass": (data.grass, 1, 1),
    "gravel": (data.gravel, 1, 1),
    "motorcycle": (lambda: data.stereo_motorcycle()[0], 1, 1),
    "retina": (data.retina, 1, 1),
    "rocket": (lambda: data.rocket()[:, 180:460], 0, 0),  # without the towers on both sides
}


class Photographs(Dataset):
    """Square crops of `PHOTOGRAPHS` as (image, class index): random crops for training, fixed crops for validation."""

    classes = list(PHOTOGRAPHS)

    def __init__(self, train: bool, crops: int, transform: v2.Transform) -> None:
        self.transform = transform
        self.halves = [half(*photograph, train) for photograph in PHOTOGRAPHS.values()]
        self.targets = [label for label in range(len(self.halves)) for _ in range(crops)]
        # The positions of the validation crops, as fractions: size, row, column.
        self.positions = None if train else torch.rand(len(self.targets), 3, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        label = self.targets[index]
        image = self.halves[label]
        size, row, column = (torch.rand(3) if self.positions is None else self.positions[index]).tolist()
        side = int(min(image.size) * (0.7 + 0.3 * size))
        left, top = int((image.width - side) * column), int((image.height - side) * row)
        return self.transform(image.crop((left, top, left + side, top + side))), label


def half(load, axis: int, validation: int, train: bool) -> Image.Image:
    """One half of a photograph, as an RGB image."""
    halves = np.array_split(load(), 2, axis=axis)
    return Image.fromarray(halves[1 - validation if train else validation]).convert("RGB")
