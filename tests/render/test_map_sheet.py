import numpy as np
import pytest

from lightning_viz.render.colour import NOT_FINITE, Heatmap, Overlay
from lightning_viz.render.film_strip import Frame
from lightning_viz.render.map_sheet import MapSheet, maximum_text, render_map_film, render_map_sheet
from lightning_viz.render.text import GREY, Line

from .reading import holds

PICTURES = np.stack([np.full((16, 16, 3), value, np.uint8) for value in (60, 120, 240)])
MAPS = np.stack([np.full((8, 8), value, np.float32) for value in (0.5, 2.0, -1.0)])
LABELS = [(Line(f"class {index}"),) for index in range(3)]
CAPTIONS = [(Line(f"predicted {index}"),) for index in range(3)]


def sheet(maps=(MAPS,), painter=None, **options):
    return MapSheet(maps, painter or Heatmap(), LABELS, CAPTIONS, **options)


@pytest.mark.parametrize(
    ("values", "signed", "text"),
    [
        ([0.5, 2.0], False, "max 2"),
        ([0.5, -2.0], False, "max 0.5"),
        ([0.5, -2.0], True, "max 2"),
        ([0.0, 0.0], False, "zero everywhere"),
        ([0.0, -1.0], False, "no positive value"),
        ([0.0, 1e-9], False, "≈ 0 (1e-09)"),
        ([1.0, np.nan], False, "not finite (magenta)"),
        ([1.0, np.inf], True, "not finite (magenta)"),
    ],
)
def test_the_maximum_is_that_of_the_colours(values, signed, text):
    assert maximum_text(np.array([values]), signed, largest=2.0) == text


def test_each_tile_has_its_label_caption_and_maximum():
    page = render_map_sheet(sheet(notes=["a note"]), "t")
    texts = [text for index in range(3) for text in (f"class {index}", f"predicted {index}")]
    assert all(holds(page, text) for text in [*texts, "max 0.5", "max 2", "no positive value"])
    assert holds(page, "maximum of each tile", GREY)
    assert holds(page, "a note", GREY)


def test_a_common_scale_is_stated_once():
    page = render_map_sheet(sheet(common_scale=True), "t")
    assert holds(page, "2 (maximum over all tiles)", GREY)
    assert not holds(page, "max 2")
    colours = {tuple(page[35 + 64, 10 + 64 + 138 * column]) for column in range(2)}
    assert colours == {tuple(Heatmap().bar[64]), tuple(Heatmap().bar[255])}


def test_signed_scales_have_both_ends():
    page = render_map_sheet(sheet(painter=Heatmap(signed=True), common_scale=True), "t")
    assert holds(page, "-2", GREY)


def test_pictures_stand_to_the_left_and_columns_are_named():
    page = render_map_sheet(sheet((MAPS, 3 * MAPS), columns=["true", "predicted"], beside=PICTURES), "t")
    assert holds(page, "From left to right: input, true, predicted.", GREY)
    assert holds(page, "max 0.5 | max 1.5")
    assert page[35 + 64, 10 + 64].tolist() == [60] * 3


def test_a_map_that_is_not_finite_is_magenta():
    maps = MAPS.copy()
    maps[1] = np.nan
    page = render_map_sheet(sheet((maps,), size=160), "t")
    assert (page == NOT_FINITE).all(axis=-1).sum() == 160**2
    assert holds(page, "not finite (magenta)")


def test_a_film_strip_of_some_rows_has_their_pictures_and_labels():
    frames = [Frame.of(step, MAPS[[0, 2]] + step, [CAPTIONS[0], CAPTIONS[2]]) for step in (0, 5)]
    page = render_map_film(sheet(painter=Overlay(PICTURES), beside=PICTURES), frames, [0, 2], "t")
    assert all(holds(page, f"{word} {index}") for word in ("class", "predicted") for index in (0, 2))
    assert not holds(page, "class 1")
    assert holds(page, "5.5 (maximum over all steps)", GREY)
    row = 128 + 2 * 19 + 6 + 10
    assert [page[54 + 64 + row * index, 10 + 64, 0] for index in range(2)] == [60, 240]
