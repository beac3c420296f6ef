import pytest

from lightning_viz.render.text import RIGHT, WRONG, Line, clean, fit, font, verdict


def test_verdict_marks_right_and_wrong_by_sign_and_colour():
    assert verdict("cat", "cat", 0.934) == (Line("✓ cat 0.93", RIGHT),)
    assert verdict("cat", "dog", 0.5) == (Line("✗ dog 0.50", WRONG),)


def test_verdict_without_truth_judges_nothing():
    assert verdict(None, "dog", 0.5) == (Line("dog 0.50"),)


@pytest.mark.parametrize("width", [20, 60, 104, 128])
@pytest.mark.parametrize("text", ["✓ cat 0.93", "✗ black-footed ferret, polecat 0.07", "猫" * 40, "\U0001f408" * 30])
def test_fit_keeps_within_the_width(text, width):
    assert font().getlength(fit(text, width, font())) <= width


def test_fit_keeps_the_probability():
    assert fit("✗ black-footed ferret, polecat 0.07", 110, font()).endswith("0.07")


def test_short_text_is_left_alone():
    assert fit("cat", 100, font()) == "cat"


@pytest.mark.parametrize("text", ["a\tb", "a\nb", "a\x00\x1bb", "  a   b  "])
def test_control_characters_become_spaces(text):
    assert clean(text) == "a b"
