import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from lightning_viz.callbacks._feature_tracker import Space
from lightning_viz.methods import linear_cka

COUNT, DIMENSIONS = 60, 8
ROWS = np.arange(0, COUNT, 2)


def points(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(COUNT, DIMENSIONS, generator=generator) * torch.arange(DIMENSIONS, 0, -1)


def space(kept, features, positions=ROWS, rows=ROWS, neighbours=3):
    return Space(kept, "embedding/fc", positions, rows, features, neighbours)


def without(*missing):
    """The rows when these of those followed are not there, and the features' rows that are."""
    there = np.setdiff1d(np.arange(COUNT), ROWS[list(missing)])
    rows = np.searchsorted(there, ROWS)
    rows[list(missing)] = -1
    return rows, there


def test_a_turned_copy_lies_where_the_first_was():
    kept, first = {}, points()
    before = space(kept, first).coordinates
    turn = torch.from_numpy(ortho_group.rvs(DIMENSIONS, random_state=0)).float()
    assert space(kept, first @ turn).coordinates.numpy() == pytest.approx(before.numpy(), abs=1e-3)


def test_the_first_two_components_stay_in_their_plane():
    """Turned within it, they explain what they did."""
    kept = {}
    space(kept, points())
    now = space(kept, points(1))
    shares = now.coordinates.square().sum(dim=0)
    assert float(shares[:2].sum()) == pytest.approx(float(now.pca.coordinates[:, :2].square().sum()), rel=1e-4)
    assert float(shares[2]) == pytest.approx(float(now.pca.coordinates[:, 2].square().sum()), rel=1e-4)


def test_cka_is_that_of_the_points_followed_at_the_start():
    kept = {}
    assert space(kept, points()).cka_with_start == pytest.approx(1, abs=1e-3)
    space(kept, points(2))
    expected = linear_cka(points()[ROWS], points(1)[ROWS], debiased=True)
    assert space(kept, points(1)).cka_with_start == pytest.approx(expected, abs=1e-3)


def test_large_features_are_remembered():
    kept = {}
    assert space(kept, points() * 1e8).cka_with_start == pytest.approx(1, abs=1e-3)


def test_neighbours_kept():
    kept = {}
    assert space(kept, points()).neighbours_kept is None
    assert space(kept, points() * 2).neighbours_kept == 1
    assert space(kept, points(1)).neighbours_kept < 0.5


@pytest.mark.parametrize("change", ["samples", "dimensions"])
def test_other_samples_or_another_space_start_anew(change):
    kept = {}
    space(kept, points())
    features, positions = (points(1), ROWS + 1) if change == "samples" else (points(1)[:, :5], ROWS)
    now = space(kept, features, positions)
    assert now.is_new
    assert now.neighbours_kept is None
    assert now.cka_with_start == pytest.approx(1, abs=1e-3)
    assert torch.equal(now.coordinates, now.pca.coordinates.cpu())


def test_the_same_samples_go_on():
    kept = {}
    assert space(kept, points()).is_new
    assert not space(kept, points(1)).is_new


def test_one_that_is_missing_for_once_starts_nothing_anew():
    kept, (rows, there) = {}, without(3, 5)
    space(kept, points())
    between = space(kept, points(1)[there], rows=rows)
    assert not between.is_new
    expected = linear_cka(points()[ROWS[rows >= 0]], points(1)[ROWS[rows >= 0]], debiased=True)
    assert between.cka_with_start == pytest.approx(expected, abs=1e-3)
    assert between.film.isnan().any(dim=1).nonzero()[:, 0].tolist() == [3, 5]
    assert 0 < between.neighbours_kept < 1
    after = space(kept, points())
    assert after.cka_with_start == pytest.approx(1, abs=1e-3)
    assert not after.film.isnan().any()


def test_one_that_is_missing_at_the_start_is_compared_with_nothing():
    kept, (rows, there) = {}, without(0)
    assert space(kept, points()[there], rows=rows).cka_with_start == pytest.approx(1, abs=1e-3)
    now = space(kept, points())
    assert not now.is_new
    assert now.cka_with_start == pytest.approx(1, abs=1e-3)
    assert now.coordinates.isfinite().all()
