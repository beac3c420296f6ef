"""The sheet: tiles in rows with captions, below a title, above a colour bar and notes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from PIL import Image, ImageDraw

from .colour import Painter, Pixels
from .text import GREY, INK, LINE_HEIGHT, Caption, Colour, Line, draw_lines, font, shorten, wrap

# All in pixels.
GAP = 10
TITLE_SIZE = 15
MIN_CELL = 104  # the least width in which a caption can be read
MIN_WIDTH = 420
BAR_WIDTH = 120
BORDER = 3  # wide enough to recognise its colour

BACKGROUND = (255, 255, 255)
OUTLINE = (200, 200, 200)


@dataclass(frozen=True, eq=False)
class Cell:
    """Pictures side by side and the caption below them; without pictures, the caption alone."""

    pictures: tuple[Pixels, ...]  #: (H, W, 3) each
    caption: Caption = ()
    borders: tuple[Colour | None, ...] = ()  #: colours of the pictures' borders, in their order; None for no border


def fit_tile(picture: Pixels, smallest: int = 128, largest: int = 256) -> Pixels:
    """The picture (H, W, 3) with its longer side from `smallest` to `largest` pixels.

    Small ones are enlarged by a whole factor, so that each pixel stays sharp.
    """
    height, width = picture.shape[:2]
    longest = max(height, width)
    if longest > largest:
        size = (max(1, width * largest // longest), max(1, height * largest // longest))
        return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS))
    factor = -(-smallest // longest) if longest < smallest else 1
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def render_sheet(
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
    """One picture (H, W, 3) of all cells, at least one, row by row, in `columns`; by default nearly a square.

    The `title` is above the cells; each of the `notes` is a paragraph below them. `headings` are above each column, or above
    each group of columns if there are as many as `spans`: the number of columns of each group; a line separates the groups.
    `ends` are the texts at the two ends of the colour bar of `painter`.

    Title, notes and the right end of the colour bar are wrapped; captions and headings are shortened to their column.
    """
    grid = _Grid.of(cells, columns, spans)
    title_font, text_width = font(TITLE_SIZE, bold=True), grid.width - 2 * GAP
    titles = wrap(title, text_width, title_font)
    footer = [Line(line, GREY) for note in notes for line in wrap(note, text_width, font())]
    bar = _colour_bar(painter.bar, ends, grid.width) if painter and len(painter.bar) else None
    top = GAP + max(len(titles), 1) * LINE_HEIGHT + 6 + (LINE_HEIGHT if headings else 0)
    bottom = top + -(-len(cells) // len(grid.lefts)) * grid.row_height
    end = bottom + (bar.height if bar else 0)
    page = Image.new("RGB", (grid.width, end + len(footer) * LINE_HEIGHT + GAP), BACKGROUND)
    canvas = ImageDraw.Draw(page)
    for row, line in enumerate(titles):
        canvas.text((GAP, GAP + row * LINE_HEIGHT), line, INK, title_font)
    _draw_headings(canvas, grid, headings, spans, top, bottom - GAP)
    for index, cell in enumerate(cells):
        row, column = divmod(index, len(grid.lefts))
        _draw_cell(page, canvas, grid, cell, grid.lefts[column], top + row * grid.row_height)
    if bar:
        page.paste(bar, (0, bottom))
    draw_lines(canvas, GAP, end, text_width, footer)
    return np.asarray(page)


@dataclass(frozen=True)
class _Grid:
    """Where the cells are, in pixels."""

    lefts: tuple[int, ...]  #: of each column
    cell_width: int
    row_height: int  #: of a cell and the gap below
    border: int  #: BORDER if any cell has a border: room for one around all pictures, to keep them aligned

    @classmethod
    def of(cls, cells: Sequence[Cell], columns: int | None, spans: Sequence[int]) -> "_Grid":
        border = BORDER if any(any(cell.borders) for cell in cells) else 0
        widths = (sum(picture.shape[1] + 2 * border + 2 for picture in cell.pictures) - 2 for cell in cells)
        width = max(MIN_CELL, *widths)
        height = max(_height(cell, border) + len(cell.caption) * LINE_HEIGHT + 6 for cell in cells) + GAP
        columns = sum(spans) or columns
        if not columns:  # so many that the sheet is closest to a square and no column is empty
            count = len(cells)
            wanted = max(1, min(count, round(math.sqrt(count * height / (width + GAP)))))
            columns = -(-count // -(-count // wanted))
        groups = np.repeat(np.arange(len(spans)), spans) if spans else np.zeros(columns, int)
        lefts = (GAP + column * (width + GAP) + 2 * GAP * group for column, group in enumerate(groups.tolist()))
        return cls(tuple(lefts), width, height, border)

    @property
    def width(self) -> int:
        return max(self.lefts[-1] + self.cell_width + GAP, MIN_WIDTH)


def _height(cell: Cell, border: int) -> int:
    return max((picture.shape[0] + 2 * border for picture in cell.pictures), default=0)


def _draw_headings(
    canvas: ImageDraw.ImageDraw, grid: _Grid, headings: Sequence[str], spans: Sequence[int], top: int, bottom: int
) -> None:
    first = 0
    for heading, span in zip(headings, spans if len(spans) == len(headings) else [1] * len(headings), strict=True):
        left, right = grid.lefts[first], grid.lefts[first + span - 1] + grid.cell_width
        draw_lines(canvas, left, top - LINE_HEIGHT - 2, right - left, [Line(heading, GREY)])
        first += span
    for start in np.cumsum(spans)[:-1] if headings else []:
        x = grid.lefts[start] - 3 * GAP // 2
        canvas.line((x, top - LINE_HEIGHT, x, bottom), fill=OUTLINE)


def _draw_cell(page: Image.Image, canvas: ImageDraw.ImageDraw, grid: _Grid, cell: Cell, left: int, top: int) -> None:
    x, y = left + grid.border, top + grid.border
    for picture, border in zip_longest(cell.pictures, cell.borders):
        page.paste(Image.fromarray(picture), (x, y))
        right, below = x + picture.shape[1], y + picture.shape[0]
        margin = BORDER if border else 1  # the outline shows where white pixels end
        box = (x - margin, y - margin, right + margin - 1, below + margin - 1)
        canvas.rectangle(box, outline=border or OUTLINE, width=margin)
        x = right + 2 * grid.border + 2
    draw_lines(canvas, left, top + _height(cell, grid.border) + 3, grid.cell_width, cell.caption)


def _colour_bar(colours: Pixels, ends: tuple[str, str], width: int) -> Image.Image:
    """A colour bar between the text of its low end and the wrapped text of its high end, `width` pixels in all."""
    low = shorten(ends[0], width // 3, font())
    left = GAP + round(font().getlength(low)) + 8
    right = left + BAR_WIDTH + 8
    high = [Line(line, GREY) for line in wrap(ends[1], width - right - GAP, font())]
    image = Image.new("RGB", (width, LINE_HEIGHT * max(len(high), 1)), BACKGROUND)
    canvas = ImageDraw.Draw(image)
    canvas.text((GAP, 0), low, GREY, font())
    steps = np.linspace(0, len(colours) - 1, BAR_WIDTH).round().astype(int)
    image.paste(Image.fromarray(np.repeat(colours[None, steps], 11, axis=0)), (left, 3))
    draw_lines(canvas, right, 0, width - right - GAP, high)
    return image
