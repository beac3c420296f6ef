import numpy as np
import pytest

from lightning_viz.render import Cell, Line, Overlay, fit_tile, sheet
from lightning_viz.render.text import LINE, SIZE, font


def black(height, width):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("size", "shown"), [(8, 128), (28, 140), (32, 128), (64, 128), (96, 192), (224, 224), (256, 256), (512, 256)]
)
def test_tiles_have_a_size_to_see(size, shown):
    assert fit_tile(black(size, size)).shape == (shown, shown, 3)


def test_small_pictures_are_magnified_pixel_by_pixel():
    picture = np.random.randint(0, 255, (28, 28, 3), np.uint8)
    assert (fit_tile(picture)[::5, ::5] == picture).all()


def test_wide_pictures_keep_their_shape():
    assert fit_tile(black(100, 1000)).shape == (25, 256, 3)


@pytest.mark.parametrize("size", [28, 32, 64, 128, 224, 300, 512])
def test_captions_are_legible_at_every_size(size):
    """A line of type has its full height, and a class with its probability its full width."""
    words = "✓ motor scooter"
    tile = fit_tile(black(size, size))
    page = sheet([Cell((tile,), (Line(words),))], "title")
    top = 10 + LINE + 6 + len(tile) + 2
    below = page[top : top + LINE + 2, :140].min(axis=2) < 128
    rows, columns = np.flatnonzero(below.any(axis=1)), np.flatnonzero(below.any(axis=0))
    assert np.ptp(rows) + 1 >= 0.7 * SIZE
    assert np.ptp(columns) + 1 >= 0.9 * font().getlength(words)


def test_captions_stay_within_their_cell():
    cells = [Cell((black(128, 128),), (Line("W" * 200),)) for _ in range(2)]
    page = sheet(cells, "title", columns=2)
    between = page[60:, 10 + 128 + 2 : 10 + 128 + 10 - 1]
    assert (between == 255).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 10, 16])
def test_no_row_is_empty_and_the_page_is_near_a_square(count):
    page = sheet([Cell((black(128, 128), black(128, 128)))] * count, "title")
    assert 0.3 < page.shape[0] / page.shape[1] < 3
    assert (page[-30:] != 255).any()


def test_colour_bar_shows_the_painters_colours():
    painter = Overlay(np.zeros((1, 4, 4, 3), np.uint8))
    page = sheet([Cell((black(64, 64),))], "t", painter=painter, ends=("0", "1"))
    assert all((page == colour).all(axis=-1).any() for colour in painter.bar[[0, -1]])
