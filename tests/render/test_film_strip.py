import numpy as np
import pytest

from lightning_viz.render.colour import Overlay, Pictures
from lightning_viz.render.film_strip import TILE, Frame, render_film_strip, thin
from lightning_viz.render.text import Line

PICTURES = np.full((2, 16, 16, 3), 100, np.uint8)


def frame(step, values=None):
    return Frame.of(step, np.ones((2, 4, 4), np.float32) if values is None else values, [(), ()])


def test_thin_keeps_the_first_and_the_last_and_spreads_the_rest():
    frames = ()
    for step in range(100):
        frames = thin([*frames, frame(step)], 8)
    steps = [one.step for one in frames]
    assert steps[0] == 0
    assert steps[-1] == 99
    assert len(steps) == 8
    assert np.diff(steps).max() <= 3 * 100 / 7


def test_thin_keeps_all_frames_that_fit():
    assert [one.step for one in thin([frame(0), frame(5), frame(6)], 3)] == [0, 5, 6]


@pytest.mark.parametrize("columns", [1, 2])
def test_the_last_columns_are_the_newest(columns):
    assert thin([frame(0), frame(5), frame(6)], columns)[-1].step == 6
    assert len(thin([frame(0), frame(5), frame(6)], columns)) == columns


def test_frames_keep_their_values():
    values = np.random.rand(2, 4, 4).astype(np.float32) * 1e-9  # below what float16 alone can hold
    assert np.allclose(frame(0, values).raw, values, rtol=1e-3, atol=1e-12)


def test_pictures_have_the_same_colours_in_every_frame():
    """All of the 256 greys, in one frame with white and in one whose maximum is a grey."""
    greys = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    for values in (greys / np.float32(255), greys[:, :, :8] / np.float32(255)):
        assert (Pictures()(Frame.of(0, values, [()]).raw, 1.0)[0, ..., 0] == greys[0, 0, : values.shape[2]]).all()


def test_frames_keep_values_that_are_not_finite():
    values = np.array([np.nan, 1, 2, np.inf], np.float32).reshape(1, 2, 2)
    assert np.isfinite(frame(0, values).raw).tolist() == [[[False, True], [True, False]]]


def test_every_column_has_one_scale():
    """A value has the same colour in every column, also in one whose own maximum is lower."""
    weak, strong = np.full((2, 4, 4), 0.5, np.float32), np.full((2, 4, 4), 0.5, np.float32)
    strong[1] = 2.0
    page = render_film_strip(
        [frame(0, weak), frame(9, strong)], "t", [], Overlay(PICTURES), [(Line("a"),), (Line("b"),)], PICTURES
    )
    middle = 10 + 19 + 6 + 19 + TILE // 2  # in the first row of tiles
    columns = [10 + index * (TILE + 10) + TILE // 2 for index in (1, 2)]
    assert (page[middle, columns[0]] == page[middle, columns[1]]).all()


def test_a_row_for_each_picture_a_column_for_each_step():
    page = render_film_strip([frame(0), frame(1), frame(2)], "t", [], Overlay(PICTURES), [(), ()], PICTURES)
    assert page.shape[1] == 10 + 4 * (TILE + 10)
