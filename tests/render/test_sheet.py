import numpy as np
import pytest

from lightning_viz.render import RIGHT, WRONG, Cell, Line, Overlay, Pictures, fit_tile, render_sheet
from lightning_viz.render.sheet import BORDER, OUTLINE
from lightning_viz.render.text import FONT_SIZE, GREY, LINE_HEIGHT, font

from .reading import holds


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


def test_a_painter_without_colours_of_its_own_has_no_bar():
    plain, painted = (
        render_sheet([Cell((black(9, 9),))], "title", ["note"], painter=one) for one in (None, Pictures())
    )
    assert (plain == painted).all()


@pytest.mark.parametrize("size", [28, 32, 64, 128, 224, 300, 512])
def test_captions_are_legible_at_every_size(size):
    """A line of type has its full height, and a class with its probability its full width."""
    words = "✓ motor scooter"
    tile = fit_tile(black(size, size))
    page = render_sheet([Cell((tile,), (Line(words),))], "title")
    top = 10 + LINE_HEIGHT + 6 + len(tile) + 2
    below = page[top : top + LINE_HEIGHT + 2, :140].min(axis=2) < 128
    rows, columns = np.flatnonzero(below.any(axis=1)), np.flatnonzero(below.any(axis=0))
    assert np.ptp(rows) + 1 >= 0.7 * FONT_SIZE
    assert np.ptp(columns) + 1 >= 0.9 * font().getlength(words)


def test_captions_stay_within_their_cell():
    cells = [Cell((black(128, 128),), (Line("W" * 200),)) for _ in range(2)]
    page = render_sheet(cells, "title", columns=2)
    between = page[60:, 10 + 128 + 2 : 10 + 128 + 10 - 1]
    assert (between == 255).all()


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 10, 16])
def test_no_row_is_empty_and_the_page_is_near_a_square(count):
    page = render_sheet([Cell((black(128, 128), black(128, 128)))] * count, "title")
    assert 0.3 < page.shape[0] / page.shape[1] < 3
    assert (page[-30:] != 255).any()


def test_colour_bar_shows_the_painters_colours():
    painter = Overlay(np.zeros((1, 4, 4, 3), np.uint8))
    page = render_sheet([Cell((black(64, 64),))], "t", painter=painter, ends=("0", "1"))
    assert all((page == colour).all(axis=-1).any() for colour in painter.bar[[0, -1]])


BORDERED = [Cell((black(128, 128),), (), (RIGHT,)), Cell((black(128, 128),)), Cell((black(128, 128),), (), (WRONG,))]


def test_borders_are_drawn_around_pictures_and_hide_nothing():
    picture = np.random.default_rng(0).integers(0, 255, (64, 128, 3), dtype=np.uint8)
    page = render_sheet([Cell((picture, picture), (), (None, RIGHT))], "t")
    top, left = 35 + BORDER, 10 + BORDER + 128 + 2 * BORDER + 2
    assert (page[top : top + 64, left - 136 : left - 8] == picture).all()
    assert (page[top : top + 64, left : left + 128] == picture).all()
    bordered = page[top - BORDER : top + 64 + BORDER, left - BORDER : left + 128 + BORDER].copy()
    bordered[BORDER:-BORDER, BORDER:-BORDER] = RIGHT
    assert (bordered == RIGHT).all()
    assert (page == RIGHT).all(axis=-1).sum() == 134 * 70 - 128 * 64


def test_each_border_has_its_own_colour():
    page = render_sheet(BORDERED, "t", columns=3)
    middle = page[35 + BORDER + 64]
    assert [(middle[x] == colour).all() for x, colour in [(11, RIGHT), (11 + 2 * 144, WRONG)]] == [True, True]


def test_pictures_stay_aligned_with_borders_and_without():
    page = render_sheet(BORDERED, "t", columns=3)
    dark = (page[35:] == 0).all(axis=-1)
    starts = np.flatnonzero(np.diff(dark.any(axis=0).astype(int)) == 1)
    assert np.diff(starts).tolist() == [144, 144]
    assert all((dark[:, start + 1] == dark[:, starts[0] + 1]).all() for start in starts)


def test_headings_span_their_columns_and_a_rule_parts_the_groups():
    cells = [Cell((black(128, 128),))] * 10
    headings = ["query", "nearest by features", "nearest by pixels"]
    page = render_sheet(cells, "t", headings=headings, spans=(1, 2, 2))
    assert page.shape[1] == 10 + 5 * (128 + 10) + 2 * 20
    groups = [10, 10 + 138 + 20, 10 + 3 * 138 + 40]
    for left, heading in zip(groups, headings, strict=True):
        assert holds(page[33:54, left:], heading, GREY)
        assert not holds(page[33:54, left + 5 :], heading, GREY)
    rules = np.flatnonzero((page[40:300] == OUTLINE).all(axis=(0, 2)))
    assert rules.tolist() == [left - 15 for left in groups[1:]]


def test_without_spans_each_heading_stands_above_a_column():
    page = render_sheet([Cell((black(128, 128),))] * 2, "t", columns=2, headings=["a", "b"])
    assert page.shape[1] == 420
    assert holds(page[:, 148:], "b", GREY)


def test_more_headings_than_spans_stand_above_a_column_each():
    page = render_sheet([Cell((black(128, 128),))] * 3, "t", headings=["one", "two", "three"], spans=(1, 2))
    for left, heading in zip((10, 168, 306), ("one", "two", "three"), strict=True):
        assert holds(page[33:54, left:], heading, GREY)
    rules = np.flatnonzero((page[40:180] == OUTLINE).all(axis=(0, 2)))
    assert rules.tolist() == [168 - 15]
