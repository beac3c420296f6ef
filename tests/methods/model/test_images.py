"""Images that a method cannot take: one clear error, the same for all methods."""

import numpy as np
import pytest
import torch
from torch import nn

from lightning_viz.methods import (
    activations,
    deep_dream,
    embeddings,
    find_layer,
    grad_cam,
    guided_grad_cam,
    insertion_deletion,
    layers_over_depth,
    occlusion,
    receptive_field,
    saliency,
    synthesize,
)
from lightning_viz.methods.attribution.registry import PIXEL_METHODS
from lightning_viz.methods.model.images import as_images, mean_color

from ...support import Scaling, small_network

IMAGES = torch.rand(2, 3, 12, 12, generator=torch.Generator().manual_seed(0))

#: (model, images) -> a tensor, or what tells the same.
EVERY = {
    **{name: method.function for name, method in PIXEL_METHODS.items()},
    "grad_cam": grad_cam,
    "guided_grad_cam": guided_grad_cam,
    "insertion_deletion": lambda model, images: insertion_deletion(model, images, IMAGES[:, 0]).deletion,
    "activations": lambda model, images: activations(model, images, "6"),
    "embeddings": embeddings,
    "deep_dream": lambda model, images: deep_dream(model, images, layer="6", steps=1),
    "find_layer": lambda model, images: find_layer(model, "last_spatial", images),
    "layers_over_depth": layers_over_depth,
    "receptive_field": lambda model, images: receptive_field(model, "6", images),
}
every_method = pytest.mark.parametrize("method", EVERY.values(), ids=EVERY)


@every_method
@pytest.mark.parametrize(
    ("images", "kind", "message"),
    [
        (IMAGES[0], ValueError, r"images= of shape \(3, 12, 12\) has 3 dimensions; .*images\[None\] is a batch of one"),
        (IMAGES[0].numpy(), ValueError, r"images\[None\]"),
        (IMAGES[:0], ValueError, r"images= of shape \(0, 3, 12, 12\) holds no pixels"),
        ([*IMAGES], TypeError, r"images= is list; give a tensor \(B, C, H, W\), such as torch.stack"),
        (IMAGES.double(), TypeError, r"images= of torch.float64 does not fit .*; give images.to\(torch.float32\)"),
        ((255 * IMAGES).byte(), TypeError, r"images= of torch.uint8 .*images.float\(\) / 255"),
    ],
    ids=["one image", "one array", "empty", "list", "double", "bytes"],
)
def test_wrong_images(method, images, kind, message):
    with pytest.raises(kind, match=message):
        method(small_network(), images)


@every_method
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_numpy_array_is_taken(method, dtype):
    model = small_network()
    found, expected = (method(model, images) for images in (IMAGES.numpy().astype(dtype), IMAGES))
    assert (
        torch.allclose(found, expected, rtol=1e-4, atol=1e-8)
        if isinstance(expected, torch.Tensor)
        else found == expected
    )


@pytest.mark.parametrize("name", ["gradient", "occlusion", "grad_cam", "insertion_deletion"])
@pytest.mark.parametrize("target", ["cat", ["cat", "dog"], np.array(["cat", "dog"]), {"class": 1}], ids=str)
@pytest.mark.parametrize("outputs", [1, 4])
def test_the_name_of_a_class_is_no_target(name, target, outputs):
    model = nn.Sequential(small_network(), nn.Linear(4, outputs))
    methods = {"gradient": saliency, "occlusion": occlusion, "grad_cam": grad_cam}
    arguments = (target,) if name in methods else (torch.rand(2, 12, 12), target)
    with pytest.raises(ValueError, match=r"target=.* is no class index; give"):
        methods.get(name, insertion_deletion)(model, IMAGES, *arguments)


def test_a_model_that_converts_its_images_takes_them():
    model = Scaling(lambda images: images.float() / 255)
    assert embeddings(model, (255 * IMAGES).byte()).shape == (2, 8)
    assert saliency(model, 255 * IMAGES.double()).shape == (2, 12, 12)


def test_autocast_decides_the_type_itself():
    with torch.autocast("cpu", torch.bfloat16):
        assert as_images(small_network(), IMAGES.bfloat16()).dtype == torch.bfloat16


def test_synthesis_starts_from_an_array():
    options = dict(size=12, steps=1, recipe="classic")
    starts = IMAGES[:1].numpy(), IMAGES[:1]
    found, expected = (synthesize(small_network(), 1, start=start, **options) for start in starts)
    assert found.shape == expected.shape == (1, 3, 12, 12)
    with pytest.raises(ValueError, match=r"start= of shape \(3, 12, 12\)"):
        synthesize(small_network(), 1, start=IMAGES[0], **options)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_mean_color_is_of_the_finite_images(dtype):
    images = torch.cat([IMAGES, IMAGES.clone().fill_(torch.nan)]).to(dtype)
    assert torch.allclose(mean_color(images).double(), images[:2].double().mean(dim=(0, 2, 3)), atol=1e-6)
