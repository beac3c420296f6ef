from itertools import pairwise

import pytest

from lightning_viz.render.text import RIGHT, WRONG, Line, font, marked_line, one_line, shorten, wrap


def test_text_is_marked_correct_or_wrong_by_sign_and_colour():
    assert marked_line("cat 0.93", True) == Line("✓ cat 0.93", RIGHT)
    assert marked_line("dog 0.50", False) == Line("✗ dog 0.50", WRONG)


def test_without_a_true_class_there_is_no_mark():
    assert marked_line("dog 0.50", None) == Line("dog 0.50")


@pytest.mark.parametrize("width", [20, 60, 104, 128])
@pytest.mark.parametrize("text", ["✓ cat 0.93", "✗ black-footed ferret, polecat 0.07", "猫" * 40, "\U0001f408" * 30])
def test_shorten_keeps_within_the_width(text, width):
    assert font().getlength(shorten(text, width, font())) <= width


def test_shorten_keeps_the_probability():
    assert shorten("✗ black-footed ferret, polecat 0.07", 110, font()).endswith("0.07")


def test_short_text_is_left_alone():
    assert shorten("cat", 100, font()) == "cat"


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\x00\x1bb", "  a   b  "])
def test_control_characters_become_spaces(text):
    assert one_line(text) == "a b"


@pytest.mark.parametrize("width", [60, 128, 400])
@pytest.mark.parametrize("text", ["a note of several words, no longer than it must be", "one", "a\tb\nc " * 30])
def test_wrap_keeps_all_words_within_the_width(text, width):
    lines = wrap(text, width, font())
    assert " ".join(lines).split() == text.split()
    assert max(font().getlength(line) for line in lines) <= width


def test_wrap_fills_each_line():
    """No line could take the first word of the next one."""
    lines = wrap("the most selective of 512 units, chosen at the first drawing after a training step" * 3, 300, font())
    assert len(lines) > 3
    for line, after in pairwise(lines):
        assert font().getlength(f"{line} {after.split()[0]}") > 300


def test_wrap_shortens_only_a_word_that_is_wider_than_a_line():
    before, long, after = wrap(f"before {'W' * 80} after", 200, font())
    assert (before, after) == ("before", "after")
    assert "…" in long
    assert font().getlength(long) <= 200


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_wrap_of_nothing_takes_no_line(text):
    assert wrap(text, 100, font()) == []
