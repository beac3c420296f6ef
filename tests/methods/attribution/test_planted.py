"""Known truth: a network trained on noise whose class is decided by a patch, and maps that must find the patch."""

from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from lightning_viz.methods import insertion_deletion

from ..references import METHODS

SIDE, PATCH, CLASSES = 32, 8, 4


def planted(count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Noise with a striped patch somewhere: images (B, 1, H, W), classes by the stripes' direction, patches (B, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.3 * torch.randn(count, 1, SIDE, SIDE, generator=generator)
    classes = torch.randint(CLASSES, (count,), generator=generator)
    rows, columns = torch.meshgrid(torch.arange(PATCH), torch.arange(PATCH), indexing="ij")
    stripes = torch.stack([rows, columns, rows + columns, rows - columns]) // 2 % 2 * 2.0 - 1
    corners = torch.randint(0, SIDE - PATCH + 1, (count, 2), generator=generator)
    patches = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for image, inside, label, (top, left) in zip(images, patches, classes, corners.tolist(), strict=True):
        image[0, top : top + PATCH, left : left + PATCH] += stripes[label]
        inside[top : top + PATCH, left : left + PATCH] = True
    return images, classes, patches


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES),
    )  # fmt: skip
    images, classes, _ = planted(2000, seed=1)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(12):
        for part in torch.randperm(len(images)).split(50):
            optimizer.zero_grad()
            features = model[:8](images[part])
            loss = nn.functional.cross_entropy(model[8:](features), classes[part])
            (loss + 0.1 * features.mean()).backward()  # few features are active: none where there is no patch
            optimizer.step()
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def held_out() -> tuple[Tensor, Tensor, Tensor]:
    return planted(200, seed=2)


#: Plain gradients have single large values elsewhere: 90% when this was written; all others were above 98%.
LEAST = {"gradient": 0.85}


@pytest.fixture(scope="module")
def maps(trained, held_out) -> Callable[[str], Tensor]:
    """The maps of a method, made once."""
    images, classes, _ = held_out
    return cache(lambda name: METHODS[name](trained, images, classes))


def test_the_network_learned(trained, held_out):
    images, classes, _ = held_out
    assert (trained(images).argmax(dim=1) == classes).float().mean() > 0.97


@pytest.mark.parametrize("name", METHODS)
def test_the_maximum_is_in_the_patch(name, maps, held_out):
    resized = nn.functional.interpolate(maps(name)[:, None], size=(SIDE, SIDE), mode="bilinear")[:, 0]
    strongest = resized.flatten(1).argmax(dim=1, keepdim=True)
    fraction = held_out[2].flatten(1).gather(1, strongest).float().mean().item()
    assert fraction >= LEAST.get(name, 0.95)


@pytest.mark.parametrize("name", METHODS)
def test_maps_are_more_faithful_than_shuffled_ones(name, maps, trained, held_out):
    images, classes, own = held_out[0][:50], held_out[1][:50], maps(name)[:50]
    shuffled = own.flatten(1)[:, torch.randperm(own[0].numel(), generator=torch.Generator().manual_seed(0))]
    found, chance = (
        insertion_deletion(trained, images, each, classes, steps=8) for each in (own, shuffled.reshape(own.shape))
    )
    better = (found.insertion_area - found.deletion_area) > (chance.insertion_area - chance.deletion_area)
    assert better.float().mean() > 0.9
