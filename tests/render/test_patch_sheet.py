import numpy as np
import pytest

from lightning_viz.render.colour import NOT_FINITE
from lightning_viz.render.patch_sheet import Patch, UnitRow, crop, patch_cells
from lightning_viz.render.sheet import fit_tile
from lightning_viz.render.text import Line


def patch(gradient, shade=100, text="tench"):
    gradient = np.asarray(gradient, np.float32)
    return Patch(np.full((*gradient.shape[1:], 3), shade, np.uint8), gradient, (Line(text),))


def lower(cell):
    """The gradient's part of a tile."""
    (picture,) = cell.pictures
    return picture[(len(picture) - 2) // 2 + 2 :]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 1, 2, 3), [[1, 2], [5, 6]]),
        ((-1, 0, 1, 2), [[9, 9], [0, 1]]),
        ((2, 3, 4, 5), [[11, 9], [9, 9]]),
        ((-5, -5, 9, 9), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]),
        ((-7, 0, 2, 9), [[9, 9, 9, 9], [0, 1, 2, 3], [4, 5, 6, 7]]),
        (None, [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]),
    ],
    ids=["inside", "above", "corner", "all", "much above", "no box"],
)
def test_a_box_is_cropped_and_filled_outside_the_image(box, expected):
    assert crop(np.arange(12).reshape(3, 4, 1), box, 9)[..., 0].tolist() == expected


def test_a_row_has_the_units_caption_its_patches_and_empty_cells():
    rows = [
        UnitRow((Line("unit 3"),), [patch(np.ones((3, 8, 8)), text=text) for text in ("a", "b")]),
        UnitRow((Line("unit 5"),), []),
    ]
    cells = patch_cells(rows, columns=3)
    captions = [[line.text for line in cell.caption] for cell in cells]
    assert captions == [["unit 3"], ["a"], ["b"], [], ["unit 5"], [], [], []]
    assert [len(cell.pictures) for cell in cells] == [0, 1, 1, 0, 0, 0, 0, 0]


def test_a_patch_is_above_its_gradient_with_a_white_line_between():
    gradient = np.zeros((3, 8, 8))
    gradient[:, :, 4:] = 1
    (_, cell) = patch_cells([UnitRow((), [patch(gradient)])], 1)
    (picture,) = cell.pictures
    assert picture.shape == (2 * 80 + 2, 80, 3)
    assert (picture[:80] == 100).all()
    assert (picture[80:82] == 255).all()
    assert (picture[82:, :40] == 128).all()
    assert (picture[82:, 40:] == 255).all()


def test_each_gradient_has_its_own_scale_and_single_pixels_do_not_set_it():
    gradient = np.ones((1, 20, 20))
    gradient[0, 0, 0] = 1000
    cells = patch_cells([UnitRow((), [patch(gradient), patch(7 * gradient)])], 2)[1:]
    assert (lower(cells[0]) == lower(cells[1])).all()
    assert (lower(cells[0]) == 255).all()


def test_other_than_one_or_three_channels_are_averaged():
    gradient = np.stack([np.full((8, 8), value) for value in (3.0, -1.0)])
    (_, cell, mean) = patch_cells([UnitRow((), [patch(gradient), patch(gradient.mean(axis=0)[None])])], 2)
    assert (lower(cell) == lower(mean)).all()


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_a_gradient_of_zeros_is_grey_and_one_that_is_not_finite_magenta(value):
    (_, cell) = patch_cells([UnitRow((), [patch(np.full((3, 8, 8), value))])], 1)
    assert (lower(cell) == ([128] * 3 if value == 0 else NOT_FINITE)).all()


def test_large_patches_are_downscaled():
    assert fit_tile(np.zeros((200, 100, 3), np.uint8), 80, 128).shape == (128, 64, 3)
    (_, cell) = patch_cells([UnitRow((), [patch(np.ones((3, 200, 100)))])], 1)
    assert cell.pictures[0].shape == (2 * 128 + 2, 64, 3)
