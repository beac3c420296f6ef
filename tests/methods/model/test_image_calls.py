"""How networks can be called with images alone."""

import pytest
import torch
from torch import nn

from lightning_viz.methods.model.image_calls import (
    call_alone,
    call_with_gradient,
    call_with_scores,
    describe_forward,
    has_gradient,
    is_of_whole_batch,
    needs_more,
    runs,
)

from ...support import CLASSES, small_network

IMAGES = torch.rand(2, 3, 12, 12)


class Net(nn.Module):
    """With a forward of one's choice, whose first argument is the network inside."""

    def __init__(self, inner=None):
        super().__init__()
        self.net = small_network() if inner is None else inner
        self.eval()


def network(forward, inner=None):
    return type("Custom", (Net,), {"forward": forward})(inner)


# By position, or by keyword.


@pytest.mark.parametrize(
    ("forward", "keyword"),
    [
        (lambda self, z: self.net(z), None),
        (lambda self, images, mask=None: self.net(images), None),
        (lambda self, *args: self.net(*args), None),
        (lambda self, **batch: self.net(batch["pixel_values"]), "pixel_values"),
        (lambda self, **batch: self.net(batch["img"]), "img"),
        (lambda self, ids=None, pixel_values=None: self.net(pixel_values), "pixel_values"),
        (lambda self, *, image: self.net(image), "image"),
        (lambda self, labels=None, x=None: self.net(x), "x"),
    ],
    ids=["z", "images", "args", "batch", "another key", "after text", "keyword only", "after labels"],
)
def test_images_are_given_as_the_signature_asks(forward, keyword):
    module = network(forward)
    found, output = call_alone(module, IMAGES)
    assert found == keyword
    assert torch.equal(output, module.net(IMAGES))


def test_a_signature_that_needs_more_runs_nothing():
    module, ran = network(lambda self, x, y: self.net(x)), []
    module.net.register_forward_hook(lambda *_: ran.append(None))
    with pytest.raises(TypeError, match="it needs the arguments 'x', 'y'"):
        call_alone(module, IMAGES)
    assert needs_more(module)
    assert not ran


def test_the_error_is_that_of_the_most_likely_call():
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        call_alone(network(lambda self, z, **more: self.net(z), nn.Linear(5, 2)), IMAGES)


def test_the_signature_is_described_without_what_may_be_left_out():
    def forward(self, x, y, *rest, size=3, **more):
        pass

    assert describe_forward(network(forward)) == "Custom.forward(x, y, *rest, **more)"


# Code that can be pasted.


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator, self.discriminator = nn.Linear(7, 9), small_network()
        self.eval()

    def forward(self, z):
        return self.generator(z)


FLAT = nn.Linear(432, CLASSES)
OF_FRAMES = network(lambda self, clips: self.net(clips.flatten(0, 1)).unflatten(0, clips.shape[:2]).mean(1))
VIDEO = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, CLASSES))


@pytest.mark.parametrize(
    ("module", "code"),
    [
        (network(lambda self, flat: self.net(flat), FLAT), "module(images.flatten(1))"),
        (network(lambda self, x, mask: self.net(x if mask is None else x * mask)), "module(images, None)"),
        (network(lambda self, batch: self.net(batch["image"])), 'module({"image": images})'),
        (network(lambda self, pair: self.net(pair[0]) if len(pair) == 2 else 1 / 0), "module((images, None))"),
        (network(lambda self, x, y: nn.functional.cross_entropy(self.net(x), y)), "module.net(images)"),
        (network(lambda self, x: self.net(x).mean()), "module.net(images)"),
        (network(lambda self, x, y: self.net(x)[y], FLAT), "module.net(images.flatten(1))"),
        (Discriminator(), "module.discriminator(images)"),
        (network(lambda self, clips: self.net(clips), OF_FRAMES), "module(images[:, None])"),
        (network(lambda self, clips: self.net(clips), VIDEO), "module(images[:, :, None])"),
    ],
    ids=["flat", "mask", "dict", "pair", "labels", "loss", "labels and flat", "GAN", "frames", "video"],
)
def test_code_that_gives_scores(module, code):
    found = call_with_scores(module, IMAGES[:1])
    assert found == code
    assert len(eval(found, {"module": module, "images": IMAGES})) == 2


def test_no_code_is_made_up():
    assert call_with_scores(network(lambda self, z: self.net(z), nn.Linear(7, 2)), IMAGES[:1]) is None


# Gradients.


class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone, self.head = small_network()[:-2], nn.Linear(8, CLASSES)

    def forward(self, images):
        with torch.no_grad():
            features = self.backbone(images).flatten(1)
        return self.head(features)


class Decorated(Net):
    @torch.no_grad()
    def forward(self, images):
        return self.net(images) * 2


@pytest.mark.parametrize(
    ("module", "code"),
    [
        (Frozen(), "module.head(module.backbone(images).flatten(1))"),
        (network(torch.no_grad()(lambda self, x: self.net(x))), "module.net(images)"),
        (Decorated(), "module.forward.__wrapped__(module, images)"),
        (network(lambda self, x: self.net(x), Decorated()), "module.net.forward.__wrapped__(module.net, images)"),
        (network(lambda self, x: self.net(x), Frozen()), "module.net.head(module.net.backbone(images).flatten(1))"),
    ],
    ids=["frozen backbone", "decorated", "decorated with more", "inside", "frozen inside"],
)
def test_code_that_gives_the_same_scores_with_a_gradient(module, code):
    module.eval()
    assert not has_gradient(module, IMAGES)
    found = call_with_gradient(module, module, IMAGES)
    assert found == code
    scores = eval(found, {"module": module, "images": (pixels := IMAGES.clone().requires_grad_())})
    assert torch.allclose(scores, module(IMAGES), atol=1e-5)
    assert torch.autograd.grad(scores.sum(), pixels)[0].abs().sum() > 0


def test_weights_that_are_frozen_take_no_gradient_from_the_images():
    assert has_gradient(small_network().requires_grad_(False).eval(), IMAGES)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (torch.zeros(()), True),
        ({"loss": torch.zeros(()), "kl": torch.zeros(())}, True),
        ((torch.zeros(()), torch.zeros(2, 4)), False),
        ({"loss": torch.zeros(()), "logits": torch.zeros(2, 4)}, False),
        ([], False),
        ("text", False),
    ],
)
def test_an_output_of_the_whole_batch(output, expected):
    assert is_of_whole_batch(output) is expected


def test_whether_it_runs():
    assert runs(small_network().eval(), IMAGES)
    assert not runs(small_network().eval(), IMAGES[:, :1])
