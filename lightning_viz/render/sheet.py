"""Tiles laid out on one picture, with captions, a title and a colour bar."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .colour import Painter, Pixels
from .text import GREY, INK, LINE, Caption, Line, fit, font, write

GAP = 10
TITLE = 15  # pixels
MIN_CELL = 104  # pixels: what a caption needs to say something
BACKGROUND = (255, 255, 255)
OUTLINE = (200, 200, 200)


@dataclass(frozen=True, eq=False)
class Cell:
    """Pictures side by side, each (H, W, 3), and the caption below them."""

    pictures: tuple[Pixels, ...]
    caption: Caption = ()


def fit_tile(picture: Pixels, smallest: int = 128, largest: int = 256) -> Pixels:
    """The picture at a size a person can see: small ones magnified by a whole factor, large ones shrunk."""
    height, width = picture.shape[:2]
    longest = max(height, width)
    if longest > largest:
        size = (max(1, width * largest // longest), max(1, height * largest // longest))
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
    factor = -(-smallest // longest) if longest < smallest else 1
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def sheet(
    cells: Sequence[Cell],
    title: str,
    notes: Sequence[str] = (),
    *,
    columns: int | None = None,
    headings: Sequence[str] = (),
    painter: Painter | None = None,
    ends: tuple[str, str] = ("", ""),
) -> Pixels:
    """One picture (H, W, 3) of all cells in rows, under `title`, above the colour bar of `painter` and `notes`.

    `columns` defaults to what comes closest to a square; `headings` stand above the columns; `ends` are the words at
    the two ends of the colour bar. Too long words are cut, never wrapped.
    """  # fmt: skip
    cell_width = max(MIN_CELL, *(sum(p.shape[1] for p in c.pictures) + 2 * (len(c.pictures) - 1) for c in cells))
    cell_height = max(max(p.shape[0] for p in c.pictures) + len(c.caption) * LINE + 6 for c in cells)
    columns = columns or _square_columns(len(cells), cell_width, cell_height)
    rows = -(-len(cells) // columns)
    width = max(columns * (cell_width + GAP) + GAP, 420)
    top = GAP + LINE + 6 + (LINE if headings else 0)
    bottom = top + rows * (cell_height + GAP)
    height = bottom + (LINE if painter else 0) + len(notes) * LINE + GAP
    page = Image.new("RGB", (width, height), BACKGROUND)
    canvas = ImageDraw.Draw(page)
    canvas.text((GAP, GAP), fit(title, width - 2 * GAP, font(TITLE, bold=True)), INK, font(TITLE, bold=True))
    for column, heading in enumerate(headings):
        write(canvas, GAP + column * (cell_width + GAP), top - LINE - 2, cell_width, [Line(heading, GREY)])
    for index, cell in enumerate(cells):
        left = GAP + index % columns * (cell_width + GAP)
        above = top + index // columns * (cell_height + GAP)
        _draw_cell(page, canvas, cell, left, above, cell_width)
    if painter:
        _draw_bar(page, canvas, painter, ends, bottom, width)
        bottom += LINE
    write(canvas, GAP, bottom, width - 2 * GAP, [Line(note, GREY) for note in notes])
    return np.asarray(page)


def _draw_cell(page: Image.Image, canvas: ImageDraw.ImageDraw, cell: Cell, left: int, top: int, width: int) -> None:
    x = left
    for picture in cell.pictures:
        page.paste(Image.fromarray(picture), (x, top))
        right, below = x + picture.shape[1], top + picture.shape[0]
        canvas.rectangle((x - 1, top - 1, right, below), outline=OUTLINE)  # white pixels end somewhere
        x += picture.shape[1] + 2
    write(canvas, left, top + max(p.shape[0] for p in cell.pictures) + 3, width, cell.caption)


def _draw_bar(
    page: Image.Image, canvas: ImageDraw.ImageDraw, painter: Painter, ends: tuple[str, str], top: int, width: int
) -> None:
    low = fit(ends[0], width // 3, font())
    canvas.text((GAP, top), low, GREY, font())
    left = GAP + round(font().getlength(low)) + 8
    steps = np.linspace(0, len(painter.bar) - 1, 120).round().astype(int)
    page.paste(Image.fromarray(np.repeat(painter.bar[None, steps], 11, axis=0)), (left, top + 3))
    canvas.text((left + 128, top), fit(ends[1], width - left - 128 - GAP, font()), GREY, font())


def _square_columns(count: int, width: int, height: int) -> int:
    """Columns for `count` cells whose page is closest to a square, none of them empty."""
    wanted = max(1, min(count, round(math.sqrt(count * (height + GAP) / (width + GAP)))))
    return -(-count // -(-count // wanted))
