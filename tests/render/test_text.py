import pytest

from lightning_viz.render.text import RIGHT, WRONG, Line, font, one_line, prediction_line, shorten


def test_a_prediction_is_marked_correct_or_wrong_by_sign_and_colour():
    assert prediction_line("cat", "cat", 0.934) == Line("✓ cat 0.93", RIGHT)
    assert prediction_line("cat", "dog", 0.5) == Line("✗ dog 0.50", WRONG)


def test_without_a_true_class_there_is_no_mark():
    assert prediction_line(None, "dog", 0.5) == Line("dog 0.50")


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
