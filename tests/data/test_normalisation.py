"""Normalisations as the libraries have them: those that are installed, small stand-ins of the same shape for the others."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torchvision.transforms import functional, v2

from lightning_viz.data.normalisation import find_normalisation

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
PICTURES = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
IMAGES = (PICTURES - torch.tensor(MEAN).reshape(3, 1, 1)) / torch.tensor(STD).reshape(3, 1, 1)


def source(**attributes):
    """A dataset or a datamodule with these attributes."""
    return SimpleNamespace(**attributes)


class KorniaNormalize(nn.Module):
    """Stand-in for kornia.augmentation.Normalize, as of kornia 0.6: its numbers are in `flags`."""

    def __init__(self, mean, std):
        super().__init__()
        self.flags = {"mean": torch.as_tensor(mean), "std": torch.as_tensor(std)}


class KorniaDenormalize(KorniaNormalize):
    """Stand-in for kornia's inverse."""


class KorniaGaussianNoise(KorniaNormalize):
    """Stand-in for kornia.augmentation.RandomGaussianNoise, whose `flags` are of the noise."""


class AugmentationSequential(nn.Module):
    """Stand-in for torchgeo.transforms.AugmentationSequential, which holds kornia's in `augs`."""

    def __init__(self, *steps):
        super().__init__()
        self.augs = nn.Sequential(*steps)


class Normalize:
    """Stand-in for albumentations.Normalize: (image / max_pixel_value - mean) / std, or by the image's own statistics."""

    def __init__(self, mean, std, max_pixel_value=255.0, normalization="standard"):
        self.mean, self.std, self.max_pixel_value, self.normalization = mean, std, max_pixel_value, normalization

    def __call__(self, **data):
        raise NotImplementedError


class Compose:
    """Stand-in for albumentations.Compose."""

    def __init__(self, transforms):
        self.transforms = transforms

    def __call__(self, **data):
        raise NotImplementedError


def huggingface():
    from transformers import ViTImageProcessor

    return ViTImageProcessor(image_mean=MEAN, image_std=STD)


def monai(dictionary=False):
    from monai.transforms import Compose, NormalizeIntensity, NormalizeIntensityd

    options = {"subtrahend": MEAN, "divisor": STD, "channel_wise": True}
    return Compose([NormalizeIntensityd(["image"], **options) if dictionary else NormalizeIntensity(**options)])


def kornia():
    from kornia.enhance import Normalize

    return nn.Sequential(Normalize(torch.tensor(MEAN), torch.tensor(STD)))


def kornia_augmentation():
    from kornia.augmentation import Normalize

    return nn.Sequential(Normalize(mean=torch.tensor(MEAN), std=torch.tensor(STD)))


def timm():
    from timm.data import create_transform

    return create_transform(16, mean=MEAN, std=STD)


def closure(processor):
    return lambda examples: [processor(one) for one in examples]


FOUND = {
    "torchvision v2": lambda: v2.Compose([v2.ToImage(), v2.Normalize(MEAN, STD)]),
    "functional": lambda: partial(functional.normalize, mean=MEAN, std=STD),
    "timm": timm,
    "MONAI": monai,
    "MONAI's dictionaries": partial(monai, dictionary=True),
    "kornia": kornia,
    "kornia's augmentation": kornia_augmentation,
    "kornia's flags": lambda: nn.Sequential(KorniaNormalize(MEAN, STD)),
    "torchgeo": lambda: AugmentationSequential(KorniaNormalize(MEAN, STD)),
    "albumentations": lambda: Compose([Normalize(MEAN, STD)]),
    "Hugging Face": huggingface,
    "a processor with an image processor": lambda: SimpleNamespace(image_processor=huggingface()),
    "a partial with a processor": lambda: partial(print, processor=huggingface()),
    "a function with a processor": lambda: closure(huggingface()),
    "one for each split": lambda: {"train": v2.Resize(3), "val": v2.Normalize(MEAN, STD)},
    "a configuration": lambda: {"mean": tuple(MEAN), "std": tuple(STD)},  # as timm's resolve_data_config returns
}


@pytest.mark.parametrize("name", FOUND)
def test_a_normalisation_is_found(name):
    mean, std = find_normalisation([source(), source(anything=FOUND[name]())], 3, IMAGES)
    assert (mean, std) == (pytest.approx(MEAN), pytest.approx(STD))


def other_statistics():
    from monai.transforms import NormalizeIntensity

    return NormalizeIntensity()


def of_nonzero_values():
    from monai.transforms import NormalizeIntensity

    return NormalizeIntensity(MEAN, STD, nonzero=True)


def not_normalising():
    from transformers import ViTImageProcessor

    return ViTImageProcessor(image_mean=MEAN, image_std=STD, do_normalize=False)


NOT_FOUND = {
    "noise": lambda: v2.GaussianNoise(0.5, 0.2),
    "kornia's noise": lambda: KorniaGaussianNoise([0.5] * 3, [0.2] * 3),
    "the inverse": lambda: KorniaDenormalize(MEAN, STD),
    "an image's own statistics": lambda: Normalize(MEAN, STD, normalization="image_per_channel"),
    "an image's own statistics (MONAI)": other_statistics,
    "of nonzero values": of_nonzero_values,
    "switched off": not_normalising,
    "of other channels": lambda: v2.Normalize([0.5] * 4, [0.5] * 4),
    "no numbers": lambda: SimpleNamespace(mean=["a"] * 3, std=["b"] * 3),
    "not to be divided by": lambda: SimpleNamespace(mean=[0.0] * 3, std=[0.0] * 3),
    "methods": lambda: SimpleNamespace(mean=len, std=len),
    "missing": lambda: OmegaConf.create({"mean": "???", "std": MEAN, "transforms": {"val": "${nowhere}"}}),
}


@pytest.mark.parametrize("name", NOT_FOUND)
def test_other_numbers_are_no_normalisation(name):
    assert find_normalisation([source(anything=NOT_FOUND[name]())], 3, IMAGES) is None


@pytest.mark.parametrize(
    ("mean", "std"),
    [([1354.0, 1118.0, 1042.0], [245.0, 333.0, 395.0]), ([0.5] * 3, [2.0] * 3), ([-3.0] * 3, [1.0] * 3)],
)
def test_a_normalisation_that_is_not_true_of_the_images_is_not_claimed(mean, std):
    assert find_normalisation([source(transform=v2.Normalize(mean, std))], 3, IMAGES) is None


def test_of_several_the_one_that_is_true_of_the_images_is_found():
    first, second = v2.Normalize([0.0] * 3, [255.0] * 3), v2.Normalize(MEAN, STD)
    mean, _ = find_normalisation([source(train=first, val=second)], 3, IMAGES)
    assert mean == pytest.approx(MEAN)


def test_a_datamodules_own_mean_and_std_count_for_images_that_are_normalised():
    """As torchgeo's datamodules have them, in the class or in the instance."""

    class DataModule:
        mean, std = torch.tensor(MEAN), torch.tensor(STD)

    assert find_normalisation([DataModule()], 3, IMAGES)[0] == pytest.approx(MEAN)
    assert find_normalisation([DataModule()], 3, PICTURES) is None


def test_a_mean_of_0_and_a_std_of_255_are_those_of_bytes():
    aug = nn.Sequential(KorniaNormalize(0, 255))
    assert find_normalisation([source(aug=aug)], 3, PICTURES) == ([0.0], [255.0])


def test_a_dataset_of_many_samples_is_not_searched():
    class Unreadable:
        def __getattr__(self, name):
            raise AssertionError("searched")

    samples = [Unreadable()] * 1000
    assert find_normalisation([source(samples=samples)], 3) is None
