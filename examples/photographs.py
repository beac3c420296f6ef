"""Ten classes of real photographs without a download: crops of the pictures that scikit-image brings along.

Training and validation crops come from the two halves of each photograph, so no pixel is in both.
"""

import numpy as np
import torch
from PIL import Image
from skimage import data
from torch.utils.data import Dataset
from torchvision.transforms import v2

#: The photograph of each class, the axis along which it is halved (0: top and bottom), and the half to validate on.
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
    "rocket": (lambda: data.rocket()[:, 180:460], 0, 0),  # without the towers left and right
}


class Photographs(Dataset):
    """Square crops of `PHOTOGRAPHS` as (image, class index); random ones to train on, fixed ones to validate on."""

    classes = list(PHOTOGRAPHS)

    def __init__(self, train: bool, crops: int, transform: v2.Transform) -> None:
        self.transform = transform
        self.halves = [half(*photograph, train) for photograph in PHOTOGRAPHS.values()]
        self.targets = [label for label in range(len(self.halves)) for _ in range(crops)]
        # The places of the validation crops, as fractions: size, row, column.
        self.places = None if train else torch.rand(len(self.targets), 3, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        label = self.targets[index]
        image = self.halves[label]
        size, row, column = (torch.rand(3) if self.places is None else self.places[index]).tolist()
        side = int(min(image.size) * (0.7 + 0.3 * size))
        left, top = int((image.width - side) * column), int((image.height - side) * row)
        return self.transform(image.crop((left, top, left + side, top + side))), label


def half(load, axis: int, validation: int, train: bool) -> Image.Image:
    """One half of a photograph, as an RGB picture."""
    halves = np.array_split(load(), 2, axis=axis)
    return Image.fromarray(halves[1 - validation if train else validation]).convert("RGB")
