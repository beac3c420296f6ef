"""Words on pictures: the font, what fits, and the verdict under a tile."""

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

SIZE = 14  # pixels: legible in TensorBoard at the picture's own size
LINE = 19


@dataclass(frozen=True)
class Line:
    """One line of text in one colour."""

    text: str
    colour: Colour = INK


Caption = tuple[Line, ...]


def verdict(true: str | None, predicted: str, probability: float) -> Caption:
    """What a network says of a picture: the class it predicts and its probability, marked right or wrong.

    Right and wrong differ by a mark as well as by colour; without a true class there is neither.
    """
    mark, colour = "", INK
    if true is not None:
        mark, colour = ("\N{CHECK MARK} ", RIGHT) if predicted == true else ("\N{BALLOT X} ", WRONG)
    return (Line(f"{mark}{predicted} {probability:.2f}", colour),)


@lru_cache(maxsize=8)
def font(size: int = SIZE, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and draws most alphabets."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def clean(text: str) -> str:
    """`text` on one line, whatever it holds: control characters and line breaks become spaces."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def fit(text: str, width: int, face: ImageFont.FreeTypeFont) -> str:
    """`text` cut in its middle to `width` pixels: a class name's end and a probability tell as much as its start."""
    text = clean(text)
    text = f"{text[:100]}…{text[-100:]}" if len(text) > 201 else text  # longer than any tile is wide
    if face.getlength(text) <= width:
        return text
    for keep in range(len(text) - 1, 0, -1):
        head = (keep + 1) // 2
        short = f"{text[:head].rstrip()}…{text[len(text) - (keep - head) :].lstrip()}"
        if face.getlength(short) <= width:
            return short
    return "…"


def write(canvas: ImageDraw.ImageDraw, left: int, top: int, width: int, lines: Iterable[Line]) -> None:
    """Lines of text, one below the other, each cut to `width`."""
    for row, line in enumerate(lines):
        canvas.text((left, top + row * LINE), fit(line.text, width, font()), fill=line.colour, font=font())
