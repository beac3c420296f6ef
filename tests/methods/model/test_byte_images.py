import copy

import pytest
import torch
from torch import nn
from torchvision.transforms import v2

from lightning_viz.methods import integrated_gradients, occlusion, saliency
from lightning_viz.methods.model.byte_images import byte_network, find_float_scale

from ...stub import tiny_network
from ...support import Scaling, scale_bytes

BYTES = torch.randint(0, 256, (4, 3, 12, 12), dtype=torch.uint8)
SCALES = {
    "division": (lambda images: images.float() / 255, 1.0),
    "only of bytes": (v2.ToDtype(torch.float32, scale=True), 1 / 255),
    "other of floats": (lambda images: images / 255 if images.dtype == torch.uint8 else images.clamp(0, 1) * 3, None),
    "no floats": (scale_bytes, None),
}


@pytest.fixture(params=[*SCALES])
def case(request):
    scale, expected = SCALES[request.param]
    network = Scaling(scale, tiny_network()).eval()
    return network, find_float_scale(network, BYTES.float()), expected


def test_the_scale_of_floats_is_found(case):
    _, found, expected = case
    assert found == expected


def test_the_scale_is_found_in_front_of_a_head_of_zeros():
    network = Scaling(v2.ToDtype(torch.float32, scale=True), tiny_network()).eval()
    nn.init.zeros_(network.inner[-1].weight)
    nn.init.zeros_(network.inner[-1].bias)
    assert find_float_scale(network, BYTES.float()) == 1 / 255


def test_the_scale_is_found_without_random_numbers():
    network = Scaling(lambda images: images.float() / 255 + torch.rand(()), tiny_network()).eval()
    before = torch.get_rng_state()
    assert find_float_scale(network, BYTES.float()) == 1
    assert torch.equal(torch.get_rng_state(), before)


def test_the_network_is_given_the_bytes(case):
    network, scale, _ = case
    network.seen.clear()
    wrapped = byte_network(network, scale)
    assert torch.equal(wrapped(BYTES.float()), network(BYTES))
    assert torch.equal(wrapped(BYTES), network(BYTES))
    assert set(network.seen) == {torch.uint8}


def test_gradients_are_those_of_the_same_scores(case):
    network, scale, expected = case
    wrapped, images = byte_network(network, scale), BYTES.float()
    if expected is None:
        with pytest.raises(RuntimeError, match=r"Scaling takes uint8 images, and .* no gradient reaches the images"):
            saliency(wrapped, images, 1)
        return
    reference = saliency(network.inner, images / 255, 1) / 255
    assert torch.allclose(saliency(wrapped, images, 1), reference, rtol=1e-4)
    total = integrated_gradients(wrapped, images, 1, reduce=None, steps=256).sum(dim=(1, 2, 3))
    black = torch.zeros_like(BYTES)
    assert torch.allclose(total, (network(BYTES) - network(black))[:, 1], atol=1e-3)


def test_methods_without_gradients_need_no_floats(case):
    network, scale, _ = case
    reference = occlusion(network.inner, BYTES.float() / 255, 1, fill=torch.zeros(3))
    assert torch.allclose(occlusion(byte_network(network, scale), BYTES.float(), 1, fill=torch.zeros(3)), reference)


def test_layers_keep_their_names_and_a_copy_is_of_its_own():
    network = Scaling(SCALES["division"][0], tiny_network()).eval()
    wrapped = byte_network(network, 1.0)
    assert wrapped.get_submodule("inner.0") is network.inner[0]
    copied = copy.deepcopy(wrapped)
    nn.init.zeros_(copied.inner[-1].weight)
    assert not torch.equal(copied(BYTES), wrapped(BYTES))
