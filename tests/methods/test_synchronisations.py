"""How often each method waits for a GPU: counted on the CPU, by tensors that claim to be on one. No device mixing either."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_viz.methods import (
    Classic,
    Fourier,
    Unit,
    activations,
    aligned,
    choose_channels,
    deep_dream,
    effective_dimension,
    embeddings,
    filters,
    find_layer,
    grad_cam,
    insertion_deletion,
    layers_over_depth,
    leave_one_out,
    linear_cka,
    nearest,
    occlusion,
    pca,
    procrustes,
    receptive_field,
    saliency,
    stability,
    synthesize,
)
from lightning_viz.methods.attribution.registry import CAM_METHODS, PIXEL_METHODS
from lightning_viz.methods.attribution.trust import faithfulness_gain, randomize_weights
from lightning_viz.methods.features.similarity import cosine, rank_correlation
from lightning_viz.methods.model.batching import AutoBatch

from ..claimed_device import CLAIMED, Claimed, ClaimedDevice
from ..support import small_network

TARGETS = [0, 1, 2, 3]


def claim(value: Any) -> Any:
    return Claimed(value) if isinstance(value, Tensor) else value


def values_of(result: Any) -> list[Tensor]:
    """The tensors in a result, on the CPU."""
    if isinstance(result, Claimed):
        return [result.inner]
    if isinstance(result, Tensor):
        return [result]
    parts = (
        result.values() if isinstance(result, dict) else vars(result).values() if hasattr(result, "__dict__") else ()
    )
    return [one for part in (result if isinstance(result, tuple) else parts) for one in values_of(part)]


class Waits:
    """What a method gives on the claimed device, and how often it waits."""

    def __init__(self, method: Callable[..., Any], claims: bool = True) -> None:
        torch.manual_seed(0)
        network, images, points = small_network().eval(), torch.rand(4, 3, 16, 16), torch.randn(60, 12)
        targets = torch.tensor(TARGETS)
        if not claims:
            self.result, self.count = method(network, images, targets, points), 0
            return
        with ClaimedDevice() as mode:
            mode.claim(network)
            given = network, *map(claim, (images, targets, points))
            mode.waits.clear()
            self.result = method(*given)
            self.kinds = +mode.waits
        self.count = sum(self.kinds.values())


#: By method: (model, images, targets, points) -> a result, and how often it may wait in a call.
CALLS: dict[str, tuple[Callable[..., Any], int]] = {
    "smoothgrad": (lambda m, x, t, p: PIXEL_METHODS["smoothgrad"].function(m, x, t, samples=40), 2),
    "integrated_gradients": (lambda m, x, t, p: PIXEL_METHODS["integrated_gradients"].function(m, x, t, steps=40), 3),
    "occlusion": (lambda m, x, t, p: occlusion(m, x, t), 2),
    "occlusion, refined": (lambda m, x, t, p: occlusion(m, x, t, refine=2), 4),
    "gradient": (lambda m, x, t, p: saliency(m, x, t), 1),
    "gradient, predicted": (lambda m, x, t, p: saliency(m, x), 0),
    "gradient of a unit": (lambda m, x, t, p: saliency(Unit(m, "6", 1), x), 0),
    "guided_backprop": (lambda m, x, t, p: PIXEL_METHODS["guided_backprop"].function(m, x, t), 1),
    "guided_gradcam": (lambda m, x, t, p: PIXEL_METHODS["guided_gradcam"].function(m, x, t), 3),
    **{name: (lambda m, x, t, p, name=name: grad_cam(m, x, t, method=name), 3) for name in CAM_METHODS},
    "insertion_deletion": (lambda m, x, t, p: insertion_deletion(m, x, x.mean(1), t), 6),
    "faithfulness": (lambda m, x, t, p: faithfulness_gain(m, x, x.mean(1), t, AutoBatch())["over_blob"], 19),
    "sanity": (lambda m, x, t, p: rank_correlation(*[saliency(one, x, t) for one in (m, randomize_weights(m))]), 2),
    "cosine": (lambda m, x, t, p: cosine(x[:, 0], x[:, 1]), 0),
    "rank_correlation": (lambda m, x, t, p: rank_correlation(x[:, 0], x[:, 1]), 0),
    "filters": (lambda m, x, t, p: filters(m), 0),
    "activations": (lambda m, x, t, p: activations(m, x, "6"), 0),
    "choose_channels": (lambda m, x, t, p: choose_channels(activations(m, x, "6"), 3, "varying"), 0),
    "embeddings": (lambda m, x, t, p: embeddings(m, x), 0),
    "find_layer": (lambda m, x, t, p: find_layer(m, "last_spatial", x), 1),
    "layers_over_depth": (lambda m, x, t, p: layers_over_depth(m, x), 0),
    "receptive_field": (lambda m, x, t, p: receptive_field(m, "6", x), 60),  # one for each pass
    "pca": (lambda m, x, t, p: pca(p, 3), 5),
    "pca of many dimensions": (lambda m, x, t, p: pca(x.flatten(2).flatten(0, 1).T, 1), 5),
    "effective_dimension": (lambda m, x, t, p: effective_dimension(p), 5),
    "procrustes": (lambda m, x, t, p: procrustes(p[:, :3], p[:, 3:6]), 5),
    "aligned": (lambda m, x, t, p: aligned(p[:, :3], p[:, 3:6]), 7),
    "linear_cka": (lambda m, x, t, p: linear_cka(p, p**2, debiased=True), 8),
    "nearest": (lambda m, x, t, p: nearest(p, p, 5, exclude=torch.arange(60)), 6),
    "leave_one_out": (lambda m, x, t, p: leave_one_out(p, torch.arange(60) % 3, 5), 8),
    "stability": (lambda m, x, t, p: stability(nearest(p, p, 5)[1], nearest(p, p, 4)[1][:, [0, 1, 2, 3, 3]]), 16),
}

SYNTHESIS: dict[str, tuple[Callable[..., Any], int]] = {
    "fourier": (lambda m, x, t, p, steps: synthesize(m, [0, 1], size=16, steps=steps, images=x), 13),
    "fourier, copies": (lambda m, x, t, p, steps: synthesize(m, [0, 1], size=16, steps=steps, copies=2), 14),
    "classic": (lambda m, x, t, p, steps: synthesize(m, [0, 1], size=16, steps=steps, recipe="classic"), 10),
    "classic, reviving": (lambda m, x, t, p, steps: synthesize(m, 1, size=16, steps=steps, recipe=Classic(revive=9)), 10),
    "units": (lambda m, x, t, p, steps: synthesize(m, layer="6", unit=[0, 1], size=16, steps=steps, recipe=Fourier(revive=0)), 13),
    "warm start": (lambda m, x, t, p, steps: synthesize(m, 1, size=16, steps=steps, start=x[:1]), 14),
    "deep dream": (lambda m, x, t, p, steps: deep_dream(m, x, layer="6", steps=steps), 0),
    "deep dream, normalised": (
        lambda m, x, t, p, steps: deep_dream(m, x, layer="6", channel=1, steps=steps, mean=0.5, std=0.2), 6
    ),
}  # fmt: skip

#: Random on the device that they run on: of other values than on a CPU.
RANDOM = {"sanity"}


def test_every_method_of_the_registries_is_here():
    assert {*PIXEL_METHODS, *CAM_METHODS} <= {*CALLS}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_waits_no_more_than_this(name):
    method, bound = CALLS[name]
    found = Waits(method)
    assert found.count <= bound, found.kinds
    if name not in RANDOM:
        expected = values_of(Waits(method, claims=False).result)
        for one, other in zip(values_of(found.result), expected, strict=True):
            assert torch.allclose(one.double(), other.double(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", SYNTHESIS)
def test_a_step_waits_for_nothing(name):
    method, bound = SYNTHESIS[name]
    few, many = (Waits(partial(method, steps=steps)) for steps in (4, 12))
    assert few.count == many.count, many.kinds
    assert many.count <= bound, many.kinds


def dead_network() -> nn.Module:
    """All its ReLUs are dead."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 2))
    nn.init.constant_(model[0].bias, -9)
    nn.init.constant_(model[2].bias, -9)
    return model


def test_reviving_dead_relus_waits_once_a_step_whatever_their_number():
    counts = []
    for steps in (4, 12):
        with ClaimedDevice() as mode:
            synthesize(mode.claim(dead_network()), 1, size=16, steps=steps, recipe="fourier")
            counts.append(sum(mode.waits.values()))
    assert counts[1] - counts[0] == 8


@pytest.mark.parametrize("method", [saliency, occlusion, *(m.function for m in PIXEL_METHODS.values())])
def test_a_class_that_the_model_has_not_is_found_on_the_device_too(method):
    with ClaimedDevice() as mode:
        model = mode.claim(small_network())
        with pytest.raises(ValueError, match="outside the model's 4 classes"):
            method(model, Claimed(torch.rand(2, 3, 16, 16)), Claimed(torch.tensor([0, 4])))


def test_errors_of_synthesis_are_raised_on_the_device_too():
    with ClaimedDevice() as mode:
        model = mode.claim(small_network())
        with pytest.raises(ValueError, match="outside the model's 4 classes"):
            synthesize(model, [0, 4], size=16, steps=2)
        with pytest.raises(ValueError, match=r"unit=\[99\] is outside"):
            synthesize(model, layer="6", unit=[99], size=16, steps=2)


def test_devices_that_meet_are_found():
    with ClaimedDevice(), pytest.raises(RuntimeError, match=f"a tensor on cpu of shape .* meets one on {CLAIMED}"):
        Claimed(torch.rand(2, 3)) + torch.rand(2, 3)


def test_waiting_is_found():
    with ClaimedDevice() as mode:
        values = Claimed(torch.rand(3))
        waiting = [float, bool, int, Tensor.item]
        for read in waiting:
            read(values.sum())
        values[values > 0.5], values.nonzero(), values.cpu(), values.tolist()
        values + torch.tensor([1.0, 2.0, 3.0], device=CLAIMED)
        values[torch.tensor([0, 1])]
    assert sum(mode.waits.values()) == len(waiting) + 6
