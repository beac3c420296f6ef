import numpy as np
import pytest

from lightning_viz.render.channel_sheet import channel_cells, channel_line
from lightning_viz.render.colour import Heatmap
from lightning_viz.render.text import Line

PICTURES = np.zeros((2, 30, 30, 3), np.uint8)
CAPTIONS = [(Line("first"),), (Line("second"),)]


def cells(activations, signed=False):
    return channel_cells(PICTURES, CAPTIONS, np.asarray(activations, np.float32), Heatmap(signed))


@pytest.mark.parametrize(
    ("channel_map", "signed", "text"),
    [
        ([[0, 2.5]], False, "max 2.5"),
        ([[-1, 2.5]], True, "-1 to 2.5"),
        ([[0, 0]], False, "all zero"),
        ([[3, 3]], False, "all 3"),
        ([[3]], True, "3"),
        ([[0, np.nan]], False, "not finite"),
        ([[np.inf, np.inf]], True, "not finite"),
    ],
)
def test_a_map_states_its_range(channel_map, signed, text):
    assert channel_line(np.array(channel_map), signed) == Line(text)


def test_rows_are_pictures_and_columns_channels():
    found = cells(np.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4))
    assert len(found) == 2 * (1 + 3)
    assert [cell.caption for cell in found[::4]] == CAPTIONS
    assert [cell.caption[0].text for cell in found[1:4]] == ["max 15", "max 31", "max 47"]
    assert [cell.caption[0].text for cell in found[5:]] == ["max 63", "max 79", "max 95"]


def test_each_channel_has_its_own_scale_over_all_pictures():
    activations = np.ones((2, 2, 4, 4))
    activations[1] = 2
    activations[:, 1] *= 1000
    found = cells(activations)
    assert (found[4].pictures[0] == Heatmap().bar[-1]).all()
    assert (found[1].pictures[0] == Heatmap().bar[128]).all()
    assert (found[1].pictures[0] == found[2].pictures[0]).all()


@pytest.mark.parametrize(("side", "shown"), [(1, 104), (4, 104), (50, 150), (60, 120), (300, 128)])
def test_small_maps_are_enlarged_by_a_whole_factor(side, shown):
    assert {cell.pictures[0].shape for cell in cells(np.ones((2, 1, side, side)))[1::2]} == {(shown, shown, 3)}
