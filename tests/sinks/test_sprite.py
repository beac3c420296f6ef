import io

import numpy as np
import pytest
from PIL import Image

from lightning_viz.sinks.sprite import encode_sprite, sprite_grid


def cells(thumbnails):
    """The squares of the sprite, (N, side, side, 4), found as the Projector finds them."""
    sheet = np.asarray(Image.open(io.BytesIO(encode_sprite(thumbnails))))
    columns, side = sprite_grid(*thumbnails.shape[:3])
    assert sheet.shape == (columns * side, columns * side, 4)
    places = [divmod(number, columns) for number in range(len(thumbnails))]
    return np.stack([sheet[row * side :, column * side :][:side, :side] for row, column in places])


@pytest.mark.parametrize("count", [1, 2, 4, 5, 97, 100])
def test_every_thumbnail_is_at_its_index_pixel_by_pixel(count):
    thumbnails = np.random.default_rng(0).integers(0, 256, (count, 12, 12, 3), np.uint8)
    found = cells(thumbnails)
    assert (found[..., :3] == thumbnails).all()
    assert (found[..., 3] == 255).all()


@pytest.mark.parametrize(
    ("height", "width"), [(12, 30), (31, 12), (200, 100), (100, 300), (1, 1000), (700, 2), (64, 64)]
)
def test_thumbnails_keep_their_aspect_ratio_centred_in_a_square(height, width):
    thumbnails = np.broadcast_to(np.array([10, 90, 250], np.uint8)[:, None, None, None], (3, height, width, 3))
    found = cells(thumbnails)
    side = found.shape[1]
    assert side == min(64, max(height, width))
    for number, value in enumerate((10, 90, 250)):
        rows, columns = np.nonzero(found[number, ..., 3])
        box = found[number, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (box == [value, value, value, 255]).all()
        expected = np.array([height, width]) * side / max(height, width)
        assert np.abs(box.shape[:2] - expected.clip(1)).max() <= 0.5
        assert abs(rows.min() - (side - 1 - rows.max())) <= 1
        assert abs(columns.min() - (side - 1 - columns.max())) <= 1


def test_a_downscaled_thumbnail_is_averaged():
    ramp = np.broadcast_to(np.linspace(0, 255, 256).astype(np.uint8)[:, None, None], (256, 256, 3))
    (found,) = cells(ramp[None])
    assert found.shape[0] == 64
    assert np.abs(found[..., 0].astype(int) - ramp[2::4, ::4, 0]).max() <= 3


@pytest.mark.parametrize(("count", "side"), [(1, 64), (16_384, 64), (16_385, 63), (100_000, 25)])
def test_the_sprite_is_no_larger_than_the_projector_allows(count, side):
    columns, found = sprite_grid(count, 300, 200)
    assert found == side
    assert columns * side <= 8192
    assert (columns - 1) ** 2 < count <= columns**2


def test_a_hundred_thousand_thumbnails():
    thumbnails = (np.arange(100_000) % 251).astype(np.uint8)[:, None, None, None].repeat(3, axis=3)
    found = cells(thumbnails)
    assert (found[:, 0, 0, 0] == thumbnails[:, 0, 0, 0]).all()
