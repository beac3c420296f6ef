from itertools import combinations, pairwise

import numpy as np
import pytest
from skimage.color import deltaE_ciede2000, rgb2lab

from lightning_viz.render.legend import SHAPES, UNKNOWN, PointMarkers, class_markers
from lightning_viz.render.text import GREY, font, shorten

from .reading import holds

# How the cones' signals mix without one kind of them, on linear RGB: Machado, Oliveira and Fernandes 2009, severity 1.
VISIONS = {
    "full": np.eye(3),
    "protanopia": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "deuteranopia": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "tritanopia": np.array([[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]),
}


def markers_of(labels, name=str):
    return PointMarkers.of(np.asarray(labels), name, len(labels))


def legend(labels, name=str, height=470, misclassified=False):
    return markers_of(labels, name).render_legend(282, height, misclassified)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize(("count", "least"), [(10, 28), (20, 10)])
def test_classes_of_one_shape_differ_in_colour_for_every_kind_of_colour_vision(vision, count, least):
    markers = class_markers(count)
    colours = np.array([marker.colour for marker in markers]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    seen = (linear @ VISIONS[vision].T).clip(0, 1)
    lab = rgb2lab(np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055))
    alike = [pair for pair in combinations(range(count), 2) if markers[pair[0]].shape == markers[pair[1]].shape]
    assert min(deltaE_ciede2000(lab[one], lab[other]) for one, other in alike) >= least


@pytest.mark.parametrize("count", [1, 2, 10, 11, 20, 21, 50, 200])
def test_no_two_classes_have_the_same_marker(count):
    assert len(set(class_markers(count))) == count


def test_neighbours_of_the_rainbow_differ_in_shape():
    markers = class_markers(1000)
    assert all(one.shape != other.shape for one, other in pairwise(markers))


def test_colours_go_by_the_classes_that_occur():
    assert markers_of([7, 900, 7]).markers[:2] == class_markers(2)
    assert markers_of([7, 900, 7]).indices.tolist() == [0, 1, 0]


def test_a_negative_label_is_unknown():
    points = markers_of([3, -1, 5])
    assert points.markers[points.indices[1]] == UNKNOWN
    assert points.names == ("3", "5")


def test_names_are_cleaned_and_never_empty():
    names = ["$x_1$", "_a\tb", "two\nlines", "", "  "]
    assert markers_of(range(5), names.__getitem__).names == ("$x_1$", "_a b", "two lines", "3", "4")


@pytest.mark.parametrize("count", [1, 10, 23, 24, 25, 30, 48])
def test_every_class_is_named_if_there_is_room(count):
    page = legend(np.arange(count), lambda index: f"class {index}")
    assert all(holds(page, f"class {index}") for index in range(count))


@pytest.mark.parametrize("name", ["$\\frac{", "$a$ $b$", "_hidden", "%s {0} \\n", "W" * 200, "i" * 200, "猫" * 90])
def test_names_are_printed_literally_and_shortened_to_the_width(name):
    page = legend([0, 1], [name, "b"].__getitem__)
    assert page.shape[1] <= 282
    assert holds(page, shorten(name, 282 - 30, font()))
    assert (page[:, -6:] == 255).all()


def test_missing_classes_are_counted():
    page = legend(np.arange(200), lambda index: f"class {index:03}")
    named = sum(holds(page, f"class {index:03}") for index in range(200))
    assert named >= 20
    assert holds(page, f"… and {200 - named} more", GREY)


def test_with_too_many_classes_the_most_frequent_of_each_part_of_the_rainbow_is_named():
    labels = np.append(np.arange(1000), [150, 151, 151, 702])
    page = legend(labels, lambda index: f"class {index}")
    assert holds(page, "class 151")
    assert holds(page, "class 702")
    assert not holds(page, "class 150")


@pytest.mark.parametrize("count", [0, 3, 30, 1000])
def test_unknown_and_misclassified_are_always_in_the_legend(count):
    page = legend([*range(count), -1], misclassified=True)
    assert holds(page, "unknown")
    assert holds(page, "misclassified")


def test_unknown_is_not_in_the_legend_if_all_are_known():
    assert not holds(legend([0, 1]), "unknown")


def test_without_labels_there_is_no_legend():
    assert PointMarkers.of(None, str, 5).render_legend(282, 470, False) is None


def test_each_name_has_its_mark_beside_it():
    page = legend([0, 1, 2])
    for row, marker in enumerate(class_markers(3)):
        assert page[3 + row * 19 + 10, 12].tolist() == list(marker.colour)


def test_shapes_are_as_many_as_the_spacing_of_the_colours():
    """Two of one shape are five places apart, in the order that the colours were chosen for."""
    assert len(SHAPES) == 5
