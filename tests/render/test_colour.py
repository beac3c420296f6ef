import numpy as np
import pytest
from matplotlib import colormaps

from lightning_viz.render.colour import (
    NOT_FINITE,
    Heatmap,
    Overlay,
    Pictures,
    SignedPixels,
    max_magnitude,
    normalise,
    resize,
)

PICTURES = np.full((2, 8, 8, 3), 200, np.uint8)


def test_strongest_value_has_the_strongest_colour():
    maps = np.zeros((2, 8, 8), np.float32)
    maps[0, 3, 4], maps[1, 1, 1] = 5, 0.1
    tiles = Overlay(PICTURES)(maps)
    strongest = np.round(np.array(colormaps["inferno"](255)[:3]) * 255)
    assert (tiles[0, 3, 4] == strongest).all()
    assert (tiles[1, 1, 1] == strongest).all()


def test_zero_shows_the_dimmed_picture():
    assert (Overlay(PICTURES, light=0.5)(np.zeros((2, 8, 8), np.float32)) == 100).all()


def test_one_scale_for_all_tiles():
    maps = np.stack([np.full((8, 8), 1.0), np.full((8, 8), 2.0)])
    tiles = Overlay(PICTURES)(maps, scale=2.0)
    assert (tiles[1].astype(int).sum(-1) > tiles[0].astype(int).sum(-1)).all()


def test_values_above_the_scale_have_its_strongest_colour():
    tiles = Overlay(PICTURES)(np.stack([np.full((8, 8), 1.0), np.full((8, 8), 9.0)]), scale=1.0)
    assert (tiles[0] == tiles[1]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_magenta_and_do_not_affect_the_scale(bad):
    maps = np.ones((2, 8, 8), np.float32)
    maps[0, 2, 2] = bad
    tiles = Overlay(PICTURES)(maps)
    assert (tiles[0, 2, 2] == NOT_FINITE).all()
    assert (tiles[0, 5, 5] == tiles[1, 5, 5]).all()


def test_signed_maps_are_red_if_positive_and_blue_if_negative():
    maps = np.zeros((2, 8, 8), np.float32)
    maps[:, 1, 1], maps[:, 5, 5] = 1, -1
    tile = Overlay(PICTURES, signed=True)(maps)[0].astype(int)
    assert tile[1, 1, 0] > 150 > tile[1, 1, 2]
    assert tile[5, 5, 2] > 150 > tile[5, 5, 0]
    assert (tile[3, 3] == tile[3, 3, 0]).all()


def test_unsigned_maps_draw_negative_values_as_zero():
    maps = np.full((2, 8, 8), -3, np.float32)
    maps[:, 1, 1] = 0.5
    assert Overlay(PICTURES).scales(maps).tolist() == [0.5, 0.5]
    assert (Overlay(PICTURES, light=0.5)(maps)[0, 5, 5] == 100).all()


def test_the_quantile_gets_the_strongest_colour():
    values = np.arange(101, dtype=np.float32).reshape(1, 1, 101)
    assert Overlay(PICTURES, quantile=0.9).scales(values) == pytest.approx([90])


def test_small_maps_are_resized_to_the_picture():
    assert Overlay(PICTURES)(np.random.rand(2, 3, 3).astype(np.float32)).shape == (2, 8, 8, 3)


def test_zero_weight_is_mid_grey_and_the_sign_is_kept():
    values = np.zeros((1, 1, 1, 3), np.float32)
    values[0, 0, 0] = [-2, 0, 2]
    assert SignedPixels()(values)[0, 0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


def test_three_channels_are_red_green_and_blue():
    values = np.array([1, 0, -1], np.float32).reshape(1, 3, 1, 1)
    assert SignedPixels()(values)[0, 0, 0].tolist() == [255, 128, 0]


def test_weights_that_are_not_finite_are_magenta():
    values = np.array([1, np.nan, -1], np.float32).reshape(1, 3, 1, 1)
    assert SignedPixels()(values)[0, 0, 0].tolist() == list(NOT_FINITE)


def test_pictures_keep_their_colours_on_every_scale():
    values = np.array([0, 0.5, 1.2, 0.25, np.nan, 1], np.float32).reshape(2, 3, 1, 1)
    for scale in (None, 1.0, 7.0):
        assert Pictures()(values, scale)[:, 0, 0].tolist() == [[0, 128, 255], list(NOT_FINITE)]


def test_pictures_of_one_channel_are_grey():
    assert Pictures()(np.full((1, 1, 2, 2), 0.2, np.float32)).tolist() == [[[[51] * 3] * 2] * 2]


def test_normalise_with_scale_zero_keeps_the_values():
    assert (normalise(np.zeros((2, 3)), np.zeros(2)) == 0).all()


def test_max_magnitude_ignores_signs_and_nan():
    assert max_magnitude(np.array([[1.0, -3.0], [np.nan, 0.5]])).tolist() == [3, 0.5]


def test_downscaling_averages():
    assert resize(np.array([[0, 1], [1, 0]], np.float32), 1, 1) == pytest.approx(0.5)


def test_a_heatmap_has_the_colours_of_its_bar():
    values = np.linspace(0, 4, 256, dtype=np.float32).reshape(1, 16, 16)
    assert (Heatmap()(values)[0].reshape(-1, 3) == Heatmap().bar).all()
    assert (np.diff(Heatmap().bar.astype(int).sum(axis=1)) >= 0).all()


def test_a_signed_heatmap_is_red_above_zero_and_blue_below():
    tile = Heatmap(signed=True)(np.array([[[2.0, -2.0, 0.0, np.nan]]]))[0, 0].astype(int)
    assert tile[0, 0] > tile[0, 2]
    assert tile[1, 0] < tile[1, 2]
    assert np.ptp(tile[2]) < 4
    assert (tile[3] == NOT_FINITE).all()


def test_an_unsigned_heatmap_draws_negative_values_as_zero():
    values = np.array([[[1.0, 0.0, -5.0]]])
    tile = Heatmap()(values)[0, 0]
    assert (tile[0] == Heatmap().bar[-1]).all()
    assert (tile[1] == tile[2]).all()
