"""What a panel says of its maps, down to the pixels in the event file."""

from io import BytesIO

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageDraw
from torch import nn

from lightning_viz import GradCAMLogger, Panel, Probe, SaliencyLogger, VizCallback
from lightning_viz.render import Heatmap, Line
from lightning_viz.render.colour import NOT_FINITE
from lightning_viz.render.text import LINE, font, write
from lightning_viz.runtime.writer import _describe

from ..support import CLASSES, Events, Lit, loader, trainer

SIDE = 132  # of a tile: twelve pixels, magnified


@pytest.mark.parametrize(
    ("values", "signed", "words"),
    [
        ([0.5, 2.0], False, "max 2"),
        ([0.5, -2.0], False, "max 0.5"),
        ([0.5, -2.0], True, "max 2"),
        ([0.0, 0.0], False, "zero everywhere"),
        ([0.0, -1.0], False, "nowhere above zero"),
        ([0.0, 1e-9], False, "≈ 0 (1e-09)"),
        ([1.0, np.nan], False, "not finite (magenta)"),
        ([1.0, np.inf], True, "not finite (magenta)"),
    ],
)
def test_the_maximum_is_that_of_the_colours(values, signed, words):
    assert _describe(np.array([values]), signed, largest=2.0) == words


class Large(VizCallback):
    """Maps that are larger than the tiles of a film strip."""

    maps = torch.rand(3, 300, 150)

    def draw(self, network, probe):
        yield Panel("large/maps", self.maps, Heatmap())


def test_large_maps_are_remembered_at_the_size_of_a_tile(probe, tmp_path):
    """As Pillow shrinks pictures."""
    watching = Large(probe=probe, on_error="raise")
    trainer(tmp_path, [watching], max_epochs=1).fit(Lit(network()), loader(), loader())
    (frames,) = watching._memory.films.values()
    theirs = [Image.fromarray(each.numpy()).resize((64, 128), Image.Resampling.BILINEAR) for each in Large.maps]
    assert np.allclose(frames[0].raw, np.stack([np.asarray(each) for each in theirs]), atol=1e-3)


class Norms(nn.Module):
    """The norm of each feature map: its gradient at zero is not a number."""

    def forward(self, maps):
        return maps.square().sum(dim=(2, 3)).sqrt()


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, bias=False), Norms(), nn.Linear(6, CLASSES))


@pytest.fixture
def probe() -> Probe:
    images = torch.rand(3, 3, 12, 12)
    images[1] = 0
    return Probe(images, torch.tensor([0, 3, 1]))


def pages(folder) -> dict[str, list[np.ndarray]]:
    """Every picture in the event file by its tag, (H, W, 3) each."""
    events = Events(folder / "run/version_0")
    return {
        tag: [np.asarray(Image.open(BytesIO(picture))) for picture in events.pictures(tag)] for tag in events.image_tags
    }


def magenta(page: np.ndarray) -> int:
    return int((page == NOT_FINITE).all(axis=-1).sum())


def count(page: np.ndarray, words: str) -> int:
    """How often a line of text is printed on a page."""
    width = round(font().getlength(words))
    canvas = Image.new("RGB", (width, LINE), (255, 255, 255))
    write(ImageDraw.Draw(canvas), 0, 0, width + 1, [Line(words)])
    line = np.asarray(canvas)[..., 0]
    line = line[(line < 255).any(axis=1)]
    assert line.size
    return int((sliding_window_view(page[..., 0], line.shape) == line).all(axis=(2, 3)).sum())


@pytest.mark.parametrize("kind", [SaliencyLogger, GradCAMLogger])
def test_a_map_that_is_not_finite_is_magenta_in_the_event_file(kind, probe, tmp_path):
    """One picture of three is black: its gradient is not a number, those of the others are sound."""
    trainer(tmp_path, [kind(probe=probe, on_error="raise")], max_epochs=1).fit(Lit(network()), loader(), loader())
    (_, sheets), (tag, strips) = sorted(pages(tmp_path).items())
    assert tag.endswith("/history")
    assert [magenta(page) for page in sheets] == [SIDE**2] * 2
    assert [count(page, "not finite (magenta)") for page in sheets] == [1] * 2
    rows, columns = ((sheets[0] == NOT_FINITE).all(axis=-1).any(axis=axis).sum() for axis in (1, 0))
    assert rows == columns == SIDE
    assert [magenta(page) for page in strips] == [SIDE**2, 2 * SIDE**2]


@pytest.mark.parametrize("kind", [SaliencyLogger, GradCAMLogger])
def test_of_a_network_that_has_diverged_nothing_looks_sound(kind, probe, tmp_path):
    module = Lit(network())
    nn.init.constant_(module.network[0].weight, torch.nan)
    run = trainer(tmp_path, [kind(probe=probe, history=0, on_error="raise")])
    run.validate(module, loader(), verbose=False)
    ((page,),) = pages(tmp_path).values()
    assert magenta(page) == 3 * SIDE**2
    assert count(page, "not finite (magenta)") == 3


@pytest.mark.parametrize("kind", [SaliencyLogger, GradCAMLogger])
def test_a_map_of_zeros_says_so_in_the_event_file(kind, probe, tmp_path):
    """The score depends on nothing but the head's bias."""
    module = Lit(nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)))
    nn.init.zeros_(module.network[3].weight)
    run = trainer(tmp_path, [kind(probe=probe, history=0, on_error="raise")])
    run.validate(module, loader(), verbose=False)
    ((page,),) = pages(tmp_path).values()
    assert count(page, "zero everywhere") == 3
    assert magenta(page) == 0
