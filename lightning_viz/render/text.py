"""Text on pictures: the font, shortening and wrapping to a width in pixels, and the line that is marked correct or wrong."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont

Colour = tuple[int, int, int]

INK: Colour = (34, 34, 34)
GREY: Colour = (110, 110, 110)
RIGHT: Colour = (0, 110, 80)
WRONG: Colour = (190, 60, 0)

FONT_SIZE = 14  # pixels: legible in TensorBoard when the picture is not scaled
LINE_HEIGHT = 19  # pixels


@dataclass(frozen=True)
class Line:
    """One line of text in one colour."""

    text: str
    colour: Colour = INK


Caption = tuple[Line, ...]


def marked_line(text: str, correct: bool | None) -> Line:
    """Text marked correct or wrong by a sign and a colour; unmarked where that is unknown."""
    mark, colour = {None: ("", INK), True: ("✓ ", RIGHT), False: ("✗ ", WRONG)}[correct]
    return Line(f"{mark}{text}", colour)


@lru_cache(maxsize=8)
def font(size: int = FONT_SIZE, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and draws most alphabets; `size` in pixels."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def one_line(text: str) -> str:
    """`text` on one line: control characters, line breaks and repeated spaces become one space."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def shorten(text: str, width: int, face: ImageFont.FreeTypeFont) -> str:
    """`text` on one line of at most `width` pixels. The middle is replaced by "…": a probability at the end stays."""
    text = one_line(text)
    text = f"{text[:100]}…{text[-100:]}" if len(text) > 201 else text  # longer than any tile is wide
    if face.getlength(text) <= width:
        return text
    for length in range(len(text) - 1, 0, -1):
        head = (length + 1) // 2
        short = f"{text[:head].rstrip()}…{text[len(text) - (length - head) :].lstrip()}"
        if face.getlength(short) <= width:
            return short
    return "…"


def wrap(text: str, width: int, face: ImageFont.FreeTypeFont) -> list[str]:
    """`text` in lines of at most `width` pixels, broken at spaces; only a single word wider than that is shortened."""
    lines: list[str] = []
    for word in one_line(text).split():
        if lines and face.getlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(shorten(word, width, face))
    return lines


def draw_lines(canvas: ImageDraw.ImageDraw, left: int, top: int, width: int, lines: Iterable[Line]) -> None:
    """Draw lines of text, one below the other, each shortened to `width` pixels."""
    for row, line in enumerate(lines):
        text = shorten(line.text, width, font())
        canvas.text((left, top + row * LINE_HEIGHT), text, fill=line.colour, font=font())
