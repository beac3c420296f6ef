"""A layer that does not fit is an error before the first step, which names the option that the user gave."""

import pytest
import torch
from torch import nn

from lightning_viz import (
    ActivationLogger,
    ClassSynthesisLogger,
    DeepDreamLogger,
    EmbeddingProjectorLogger,
    FilterLogger,
    GradCAMLogger,
    Probe,
    TopPatchesLogger,
)

from ..support import CALLBACKS
from .context import draw, make_context

PROBE = Probe(torch.rand(2, 3, 8, 8))
SEVERAL = [ActivationLogger, EmbeddingProjectorLogger, FilterLogger, GradCAMLogger, TopPatchesLogger]
ONE = [ClassSynthesisLogger, DeepDreamLogger]
CASES = [*((kind, "layers") for kind in SEVERAL), *((kind, "layer") for kind in ONE)]


class Network(nn.Module):
    """With two layers of one name, and one that never runs."""

    def __init__(self):
        super().__init__()
        self.one, self.two = (nn.Sequential(nn.Conv2d(3, 4, 3)) for _ in range(2))
        self.never = nn.Conv2d(3, 4, 1)
        self.head = nn.Linear(4, 4)

    def forward(self, images):
        return self.head(torch.relu(self.one(images) + self.two(images)).mean(dim=(2, 3)))


def test_every_callback_with_layers_is_here():
    named = {kind for kind in CALLBACKS if {"layer", "layers"} & set(vars(kind()))}
    assert {kind for kind, _ in CASES} == named


@pytest.mark.parametrize(("kind", "option"), CASES)
def test_an_unknown_layer(kind, option):
    with pytest.raises(ValueError, match=f"^{option}='hed' is not in Network; closest: 'head'$"):
        kind(**{option: "hed"}).check(Network())


@pytest.mark.parametrize(("kind", "option"), CASES)
def test_an_ambiguous_layer(kind, option):
    with pytest.raises(
        ValueError, match=f"^{option}='0' is ambiguous in Network: 'one.0', 'two.0'; give the full name$"
    ):
        kind(**{option: "0"}).check(Network())


@pytest.mark.parametrize(("kind", "option"), [case for case in CASES if case[0] is not FilterLogger])
def test_a_layer_that_does_not_run(kind, option):
    """The filters of one may be looked at."""
    ctx = make_context(Network(), PROBE, callback := kind(**{option: "never"}))
    callback.check(ctx.network)
    with pytest.raises(ValueError, match=f"^{option}='never' did not run, or returns no tensor; choose a layer that"):
        callback.check_images(ctx)


@pytest.mark.parametrize("kind", SEVERAL)
def test_of_several_layers_the_wrong_one_is_named(kind):
    with pytest.raises(ValueError, match=r"^layers='nine' is not in Network"):
        kind(layers=["one.0", "nine"]).check(Network())


@pytest.mark.parametrize("option", ["layers"])
def test_a_layer_without_height_and_width(option):
    with pytest.raises(ValueError, match=r"^layers='head': an output of shape \(1, 4\) has no height and width"):
        draw(GradCAMLogger(**{option: "head"}), Network(), PROBE)


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        (ActivationLogger("one", channels=[9]), r"^channels=\[9\]: layer 'one' has 4 channels and none of index 9"),
        (TopPatchesLogger("one", units=[1, 9]), r"^units=\[1, 9\] are not all among the 4 channels of layers='one'"),
        (ClassSynthesisLogger(layer="one", units=[9]), r"^units=\[9\] are not all among the 4 channels of layer='one'"),
        (ClassSynthesisLogger(layer="one", position=[9, 0]), r"^position=\(9, 0\) is outside the map of layer='one'"),
        (ClassSynthesisLogger(classes=[0, 4]), r"^classes=\[0, 4\] are not all among the 4 classes of the model"),
        (DeepDreamLogger("one", 9), "^channel=9 is outside the 4 channels of layer='one'"),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_index_that_the_layer_does_not_have(callback, message):
    ctx = make_context(Network(), PROBE, callback)
    with pytest.raises(ValueError, match=message):
        callback.check_images(ctx)
