import numpy as np
import pytest

from lightning_viz.render.colour import Heatmap, Overlay, Pictures
from lightning_viz.render.sheet import BORDER, OUTLINE, TITLE_SIZE, Cell, fit_tile, render_sheet
from lightning_viz.render.text import FONT_SIZE, GREY, LINE_HEIGHT, RIGHT, WRONG, Line, font, shorten, wrap

from .reading import holds


def black(height, width):
    return np.zeros((height, width, 3), np.uint8)


@pytest.mark.parametrize(
    ("size", "shown"), [(8, 128), (28, 140), (32, 128), (64, 128), (96, 192), (224, 224), (256, 256), (512, 256)]
)
def test_tiles_have_a_visible_size(size, shown):
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
    """A caption has its full height, and a class name its full width."""
    text = "✓ motor scooter"
    tile = fit_tile(black(size, size))
    page = render_sheet([Cell((tile,), (Line(text),))], "title")
    top = 10 + LINE_HEIGHT + 6 + len(tile) + 2
    below = page[top : top + LINE_HEIGHT + 2, :140].min(axis=2) < 128
    rows, columns = np.flatnonzero(below.any(axis=1)), np.flatnonzero(below.any(axis=0))
    assert np.ptp(rows) + 1 >= 0.7 * FONT_SIZE
    assert np.ptp(columns) + 1 >= 0.9 * font().getlength(text)


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


def test_borders_are_drawn_around_pictures_and_cover_no_pixel():
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


NOTE = "the most selective of 512 of 2,048 units, as many as memory keeps pictures of, chosen at the first drawing"
NARROW = [Cell((black(128, 128),), (Line("tench 0.93"),))]


def printed(page, text, colour=GREY):
    """Whether the words of `text` stand on the page in their order, on lines of the width of the page."""
    return all(holds(page, line, colour) for line in wrap(text, page.shape[1] - 20, font()))


def test_notes_on_a_narrow_sheet_are_wrapped_at_words():
    notes = [NOTE, "short", NOTE.upper()]
    page = render_sheet(NARROW, "t", notes)
    assert page.shape[1] == 420
    assert all(printed(page, note) for note in notes)
    lines = sum(len(wrap(note, 400, font())) for note in notes)
    assert lines >= 6
    assert len(page) == len(render_sheet(NARROW, "t", notes[1:2])) + (lines - 1) * LINE_HEIGHT
    assert (page[:, -10:] == 255).all()


def test_notes_on_a_wide_sheet_take_one_line():
    cells = [Cell((black(128, 128),))] * 8
    one, two = (render_sheet(cells, "t", notes, columns=8) for notes in ([NOTE], [NOTE, "short"]))
    assert holds(one, NOTE, GREY)
    assert len(two) == len(one) + LINE_HEIGHT


def test_a_word_wider_than_the_sheet_is_shortened():
    page = render_sheet(NARROW, "t", ["W" * 80])
    assert holds(page, shorten("W" * 80, 400, font()), GREY)


def test_a_long_title_is_wrapped_and_moves_the_cells_down():
    title = "activations/backbone.layer4 · step 123456 · of the validation data, at the end of training"
    page, short = (render_sheet(NARROW, text) for text in (title, "t"))
    lines = len(wrap(title, 400, font(TITLE_SIZE, bold=True)))
    assert lines == 2
    assert (page[(lines - 1) * LINE_HEIGHT + 35 :] == short[35:]).all()
    assert (page[10 + LINE_HEIGHT : 10 + 2 * LINE_HEIGHT, :200] < 128).any()  # the second line


def test_the_text_at_the_end_of_a_colour_bar_is_wrapped():
    text = "largest magnitude of each channel, over these pictures"
    page = render_sheet(NARROW, "t", [NOTE], painter=Heatmap(signed=True), ends=("-largest", text))
    low = 10 + round(font().getlength("-largest")) + 8
    lines = wrap(text, 420 - low - 128 - 10, font())
    assert len(lines) == 2
    assert all(holds(page, line, GREY) for line in ["-largest", *lines])
    assert printed(page, NOTE)


def test_captions_on_a_narrow_sheet_stay_on_one_line():
    text = "black-footed ferret, polecat 0.07"
    page = render_sheet([Cell((black(128, 128),), (Line(text),))], "t")
    assert holds(page, shorten(text, 128, font()))
    assert len(page) == len(render_sheet(NARROW, "t"))
