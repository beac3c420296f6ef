import warnings
from concurrent.futures import ThreadPoolExecutor

import matplotlib.style
import numpy as np
import pytest

from lightning_viz.render.film_strip import thin
from lightning_viz.render.legend import COLOURS, UNKNOWN, UNLABELLED
from lightning_viz.render.scatter import COLUMN, SIDE, ScatterFrame, Window, render_scatter, render_scatter_film
from lightning_viz.render.text import GREY

from .reading import holds

LEFT, TOP = 10, 35  # of the plot on the page
FILM_TOP = TOP + 19
SQUARE = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]], np.float32)


def frame(points, step=0, **options):
    return ScatterFrame(step, np.asarray(points, np.float32), **options)


def normal(count, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=(count, 2))).astype(np.float32)


def plot(page, top=TOP, side=SIDE, column=0):
    left = LEFT + column * (COLUMN + 10)
    return page[top : top + side, left : left + side]


def inked(picture, colour):
    """Where a few points of this colour stand, which let a tenth of the white through."""
    return (np.abs(picture.astype(int) - (0.9 * np.array(colour) + 25.5)) <= 3).all(axis=-1)


def middle(picture, colour):
    rows, columns = np.nonzero(inked(picture, colour))
    return columns.mean(), rows.mean()


def test_points_stand_where_they_are_in_the_colour_of_their_class():
    picture = plot(render_scatter(frame(SQUARE), "t", labels=np.arange(4)))
    places = [middle(picture, COLOURS[index]) for index in range(4)]
    low, high = np.min(places), np.max(places)
    assert high - low > 0.85 * SIDE
    for (x, y), (column, row) in zip(SQUARE, places, strict=True):
        assert column == pytest.approx(high if x > 0 else low, abs=3)
        assert row == pytest.approx(low if y > 0 else high, abs=3)


def test_both_axes_have_one_scale():
    picture = plot(render_scatter(frame([[0, 0], [8, 0], [0, 2]]), "t", labels=np.arange(3)))
    origin, right, up = (np.array(middle(picture, COLOURS[index])) for index in range(3))
    assert np.linalg.norm(right - origin) == pytest.approx(4 * np.linalg.norm(up - origin), rel=0.03)


def test_without_labels_all_have_one_colour():
    page = render_scatter(frame(SQUARE), "t")
    assert inked(plot(page), UNLABELLED.colour).sum() > 100
    assert not inked(plot(page), COLOURS[1]).any()


def test_points_of_no_known_class_are_grey():
    picture = plot(render_scatter(frame(SQUARE), "t", labels=np.array([0, 0, 0, -1])))
    column, row = middle(picture, UNKNOWN.colour)
    assert column > SIDE / 2 > row


def test_misclassified_points_are_hollow_and_counted():
    page = render_scatter(frame(SQUARE, correct=np.array([True, True, True, False])), "t", labels=np.arange(4))
    picture = plot(page)
    solid, hollow = (inked(picture, COLOURS[index]).sum() for index in (2, 3))
    assert hollow < 0.6 * solid
    assert holds(page, "1 of 4 misclassified")


def test_no_class_hides_the_others():
    """Where two classes share their places, each of them is on top somewhere."""
    places = np.stack(np.meshgrid(range(7), range(7)), axis=-1).reshape(-1, 2)
    picture = plot(render_scatter(frame([*places, *places]), "t", labels=np.repeat([0, 1], 49))).astype(int)
    pixels = np.round(SIDE / 2 + Window.of([frame(places)]).relative(places) * (SIDE - 7) / 2).astype(int)
    centres = [picture[row, column] for row, column in pixels]
    blue = sum(np.abs(centre - COLOURS[0]).sum() < np.abs(centre - COLOURS[1]).sum() for centre in centres)
    assert 15 < blue < 34


def test_the_grid_is_behind_the_points():
    picture = plot(render_scatter(frame([*SQUARE, [0, 0]]), "t", labels=np.array([0, 0, 0, 0, 1])))
    centre = picture[SIDE // 2 - 3 : SIDE // 2 + 3, SIDE // 2 - 3 : SIDE // 2 + 3].astype(int)
    assert np.abs(centre - COLOURS[1]).max() < 40


def test_one_point_far_out_does_not_squash_the_others():
    points = np.concatenate([normal(200), [[900, 0]]])
    page = render_scatter(frame(points), "t")
    rows, columns = np.nonzero(np.ptp(plot(page).astype(int), axis=-1) > 20)
    assert np.ptp(rows) > 0.6 * SIDE
    assert np.ptp(columns) > 0.6 * SIDE
    assert holds(page, "outliers drawn at the edge: 1")


def test_a_point_outside_is_drawn_at_the_edge_in_its_direction():
    points = np.concatenate([np.tile(SQUARE, (4, 1)), [[900, -450]], [[-np.inf, 0]]])
    picture = plot(render_scatter(frame(points), "t", labels=np.repeat([0, 1, 2], [16, 1, 1])))
    column, row = middle(picture, COLOURS[1])
    assert column > SIDE - 8
    assert row == pytest.approx(0.75 * SIDE, abs=2)
    assert middle(picture, COLOURS[2]) == pytest.approx((5, SIDE / 2), abs=2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["normal", "uniform", "standard_cauchy", "exponential"])
def test_all_but_two_in_a_hundred_are_inside(kind, seed):
    points = getattr(np.random.default_rng(seed), kind)(size=(500, 2))
    window = Window.of([frame(points)])
    outside = (np.abs(window.relative(points)) > 1).any(axis=1).sum()
    assert outside <= (10 if kind == "standard_cauchy" else 0)


def test_a_small_far_cluster_is_no_outlier():
    """A class that makes up a twentieth of the points is seen, however tight the rest."""
    points = np.concatenate([normal(190, scale=0.01), 5 + normal(10, scale=0.01)])
    assert (np.abs(Window.of([frame(points)]).relative(points)) <= 1).all()


def test_missing_points_are_left_out_and_counted():
    points = SQUARE.copy()
    points[1, 0] = np.nan
    page = render_scatter(frame(points), "t", labels=np.arange(4))
    assert holds(page, "3 of 4 points")
    assert not inked(plot(page), COLOURS[1]).any()


def test_axes_state_their_explained_variance():
    page = render_scatter(frame(SQUARE, explained_variance=(0.341, np.nan)), "t")
    assert holds(page, "x: component 1 (34% of variance)", GREY)
    assert holds(page, "y: component 2", GREY)
    assert not holds(page, "y: component 2 (", GREY)


def test_notes_are_printed_and_the_grid_is_explained():
    page = render_scatter(frame(SQUARE), "t", ["a $note$"])
    assert holds(page, "a $note$", GREY)
    assert holds(page, "Same scale on both axes; grid lines every 0.5, darker at 0.", GREY)


def test_every_column_has_one_scale():
    """The same points are at the same pixels in every column, also beside a column with far points."""
    page = render_scatter_film([frame(SQUARE), frame(5 * SQUARE, 1), frame(SQUARE, 2)], "t", labels=np.arange(4))
    first, second, third = (plot(page, FILM_TOP, COLUMN, column) for column in range(3))
    assert (first == third).all()
    small, large = (np.ptp([middle(one, COLOURS[index]) for index in range(4)]) for one in (first, second))
    assert large == pytest.approx(5 * small, rel=0.03)


def test_columns_are_headed_by_their_steps_and_the_legend_stands_at_the_end():
    frames = [frame(SQUARE, step) for step in (0, 12, 130)]
    page = render_scatter_film(frames, "t", labels=np.arange(4), name=lambda index: f"class {index}")
    assert all(holds(page[:, LEFT + 262 * index :], f"step {step}", GREY) for index, step in enumerate((0, 12, 130)))
    assert holds(page[:, LEFT + 262 * 3 :], "class 3")
    assert not holds(page[:, : LEFT + 262 * 3], "class 3")


def test_strips_are_thinned_like_films():
    frames = tuple(frame(SQUARE, step) for step in range(9))
    assert [one.step for one in thin(frames, 3)][::2] == [0, 8]


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((0, 2)),
        np.full((5, 2), np.nan),
        np.full((5, 2), np.inf),
        [[1e6, -3]],
        np.full((5, 2), 3.0),
        [[0, 0], [0, 0], [0, 0], [1, 0]],
        [[1e-30, 0], [0, 1e-30]],
        [[3e38, 3e38], [-3e38, -3e38]],
        [[np.nan, 1], [np.inf, 1], [0, 0]],
    ],
)
def test_any_points_can_be_drawn(points):
    points = np.asarray(points, np.float32)
    frames = [frame(points, correct=np.zeros(len(points), bool)), frame(np.full_like(points, np.nan), 1)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        page = render_scatter(frames[0], "t", labels=np.arange(len(points)) - 1)
        film = render_scatter_film(frames, "t", labels=np.arange(len(points)) - 1)
    present = ~np.isnan(points).any(axis=1)
    coloured = np.ptp(plot(page).astype(int), axis=-1) > 20
    assert coloured.any() == present[1:].any()  # the first label is unknown
    assert film.shape[1] > 2 * COLUMN


def test_points_that_differ_little_are_drawn_apart():
    picture = plot(render_scatter(frame([[1e-30, 0], [0, 1e-30]]), "t", labels=np.arange(2)))
    assert np.ptp([middle(picture, COLOURS[index]) for index in range(2)]) > 0.8 * SIDE


def test_same_points_same_picture_in_any_thread_and_style():
    labels = np.arange(300) % 30
    draw = lambda _: render_scatter(frame(normal(300)), "t", labels=labels).tobytes()  # noqa: E731
    with matplotlib.rc_context():
        matplotlib.style.use(["dark_background", "fivethirtyeight"])
        with ThreadPoolExecutor(4) as threads:
            pictures = list(threads.map(draw, range(8)))
    assert set(pictures) == {draw(0)}


def test_global_random_state_is_left_alone():
    np.random.seed(0)
    before = np.random.get_state()[1].tolist()
    render_scatter(frame(SQUARE), "t")
    assert np.random.get_state()[1].tolist() == before


def test_points_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"points have the shape \(4, 3\)"):
        frame(np.zeros((4, 3)))


def test_correct_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"correct has the shape \(3,\); it must be \(4,\)"):
        frame(SQUARE, correct=np.ones(3, bool))


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"labels have the shape \(3,\); they must be \(4,\)"):
        render_scatter(frame(SQUARE), "t", labels=np.zeros(3, int))


@pytest.mark.parametrize("counts", [(), (4, 3)])
def test_steps_of_other_points_are_refused(counts):
    with pytest.raises(ValueError, match="with the same points"):
        render_scatter_film([frame(SQUARE[:count]) for count in counts], "t")
