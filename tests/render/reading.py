"""Reading pictures: whether a text is printed on them."""

import numpy as np
from PIL import Image, ImageDraw

from lightning_viz.render.colour import Pixels
from lightning_viz.render.text import INK, Colour, font


def holds(page: Pixels, text: str, colour: Colour = INK) -> bool:
    """Whether `text` is printed anywhere on `page`, exact to the pixel, on white."""
    left, top, right, bottom = (round(side) for side in font().getbbox(text))
    written = Image.new("RGB", (right, bottom), "white")
    ImageDraw.Draw(written).text((0, 0), text, colour, font())
    wanted = np.asarray(written)[top:, left:]
    fullest = int((wanted < 128).any(axis=2).sum(axis=1).argmax())
    return any(
        np.array_equal(page[y - fullest : y - fullest + len(wanted), x : x + wanted.shape[1]], wanted)
        for y in range(fullest, len(page))
        for x in _found(page[y].tobytes(), wanted[fullest].tobytes())
    )


def _found(row: bytes, part: bytes) -> list[int]:
    starts, start = [], row.find(part)
    while start >= 0:
        starts.append(start // 3)
        start = row.find(part, start + 1)
    return starts
