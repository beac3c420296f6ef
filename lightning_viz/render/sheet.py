"""Tiles laid out on one picture, with captions, a title and a colour bar."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from PIL import Image, ImageDraw

from .colour import Painter, Pixels
from .text import GREY, INK, LINE, Caption, Colour, Line, fit, font, write

GAP = 10
TITLE = 15  # pixels
MIN_CELL = 104  # pixels: what a caption needs to say something
BACKGROUND = (255, 255, 255)
OUTLINE = (200, 200, 200)
FRAME = 3  # pixels: wide enough for its colour to be told


@dataclass(frozen=True, eq=False)
class Cell:
    """Pictures side by side, each (H, W, 3), and the caption below them; without pictures, words alone.

    `frames` are colours to put around the pictures, in their order; None is for one without.
    """

    pictures: tuple[Pixels, ...]
    caption: Caption = ()
    frames: tuple[Colour | None, ...] = ()


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
    spans: Sequence[int] = (),
    painter: Painter | None = None,
    ends: tuple[str, str] = ("", ""),
) -> Pixels:
    """One picture (H, W, 3) of all cells in rows, under `title`, above the colour bar of `painter`, if it has one, and `notes`.

    `columns` defaults to what comes closest to a square; `headings` stand above the columns, or if there are as many as
    `spans` each above so many of them, and a rule parts these groups; `ends` are the words at the two ends of the colour bar. Too long
    words are cut, never wrapped.
    """  # fmt: skip
    painter = painter if painter and len(painter.bar) else None
    edge = FRAME if any(any(cell.frames) for cell in cells) else 0  # for all cells, so that they stay aligned
    cell_width = max(MIN_CELL, *(_width(cell, edge) for cell in cells))
    cell_height = max(_height(cell, edge) + len(cell.caption) * LINE + 6 for cell in cells)
    columns = sum(spans) or columns or _square_columns(len(cells), cell_width, cell_height)
    lefts = _lefts(columns, cell_width, spans)
    rows = -(-len(cells) // columns)
    width = max(lefts[-1] + cell_width + GAP, 420)
    top = GAP + LINE + 6 + (LINE if headings else 0)
    bottom = top + rows * (cell_height + GAP)
    height = bottom + (LINE if painter else 0) + len(notes) * LINE + GAP
    page = Image.new("RGB", (width, height), BACKGROUND)
    canvas = ImageDraw.Draw(page)
    canvas.text((GAP, GAP), fit(title, width - 2 * GAP, font(TITLE, bold=True)), INK, font(TITLE, bold=True))
    _draw_headings(canvas, headings, spans, lefts, cell_width, top, bottom - GAP)
    for index, cell in enumerate(cells):
        above = top + index // columns * (cell_height + GAP)
        _draw_cell(page, canvas, cell, lefts[index % columns], above, cell_width, edge)
    if painter:
        _draw_bar(page, canvas, painter, ends, bottom, width)
        bottom += LINE
    write(canvas, GAP, bottom, width - 2 * GAP, [Line(note, GREY) for note in notes])
    return np.asarray(page)


def _width(cell: Cell, edge: int) -> int:
    return int(sum(picture.shape[1] + 2 * edge for picture in cell.pictures) + 2 * (len(cell.pictures) - 1))


def _height(cell: Cell, edge: int) -> int:
    return int(max(picture.shape[0] for picture in cell.pictures) + 2 * edge) if cell.pictures else 0


def _lefts(columns: int, width: int, spans: Sequence[int]) -> list[int]:
    """Where each column starts, with a wider gap, for a rule, before each group but the first."""
    groups = np.repeat(np.arange(len(spans)), spans) if spans else np.zeros(columns, int)
    return [GAP + column * (width + GAP) + 2 * GAP * int(group) for column, group in enumerate(groups)]


def _draw_headings(
    canvas: ImageDraw.ImageDraw,
    headings: Sequence[str],
    spans: Sequence[int],
    lefts: Sequence[int],
    width: int,
    top: int,
    bottom: int,
) -> None:
    first = 0
    for heading, span in zip(headings, spans if len(spans) == len(headings) else [1] * len(headings), strict=True):
        right = lefts[first + span - 1] + width
        write(canvas, lefts[first], top - LINE - 2, right - lefts[first], [Line(heading, GREY)])
        first += span
    for start in np.cumsum(spans)[:-1] if headings else []:
        rule = lefts[start] - 3 * GAP // 2
        canvas.line((rule, top - LINE, rule, bottom), fill=OUTLINE)


def _draw_cell(
    page: Image.Image, canvas: ImageDraw.ImageDraw, cell: Cell, left: int, top: int, width: int, edge: int
) -> None:
    x, y = left + edge, top + edge
    for picture, frame in zip_longest(cell.pictures, cell.frames):
        page.paste(Image.fromarray(picture), (x, y))
        right, below = x + picture.shape[1], y + picture.shape[0]
        margin = FRAME if frame else 1  # white pixels end somewhere
        box = (x - margin, y - margin, right + margin - 1, below + margin - 1)
        canvas.rectangle(box, outline=frame or OUTLINE, width=margin)
        x = right + 2 * edge + 2
    write(canvas, left, top + _height(cell, edge) + 3, width, cell.caption)


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
