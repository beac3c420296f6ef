import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from lightning_viz.methods import linear_cka
from lightning_viz.methods.features.feature_space import track_space

COUNT, DIMENSIONS = 60, 8
ROWS = np.arange(0, COUNT, 2)


def points(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(COUNT, DIMENSIONS, generator=generator) * torch.arange(DIMENSIONS, 0, -1)


class History:
    """Snapshots of one space, each compared with those before."""

    def __init__(self):
        self.tracked = None

    def snapshot(self, features, positions=ROWS, rows=ROWS, neighbours=3):
        found = track_space(self.tracked, positions, rows, features, neighbours)
        self.tracked = found.tracked
        return found


@pytest.fixture
def history():
    return History()


def without(*missing):
    """The rows if these of the tracked samples are missing, and the rows of all points that remain."""
    there = np.setdiff1d(np.arange(COUNT), ROWS[list(missing)])
    rows = np.searchsorted(there, ROWS)
    rows[list(missing)] = -1
    return rows, there


def test_a_rotated_copy_is_aligned_to_the_first(history):
    before = history.snapshot(points()).coordinates
    rotation = torch.from_numpy(ortho_group.rvs(DIMENSIONS, random_state=0)).float()
    assert history.snapshot(points() @ rotation).coordinates.numpy() == pytest.approx(before.numpy(), abs=1e-3)


def test_the_first_two_components_stay_in_their_plane(history):
    """Rotated within it, they explain the same variance."""
    history.snapshot(points())
    now = history.snapshot(points(1))
    variances = now.coordinates.square().sum(dim=0)
    assert float(variances[:2].sum()) == pytest.approx(float(now.pca.coordinates[:, :2].square().sum()), rel=1e-4)
    assert float(variances[2]) == pytest.approx(float(now.pca.coordinates[:, 2].square().sum()), rel=1e-4)


def test_cka_compares_the_tracked_samples_with_the_first_snapshot(history):
    assert history.snapshot(points()).cka_with_start == pytest.approx(1, abs=1e-3)
    history.snapshot(points(2))
    expected = linear_cka(points()[ROWS], points(1)[ROWS], debiased=True)
    assert history.snapshot(points(1)).cka_with_start == pytest.approx(expected, abs=1e-3)


def test_large_features_fit_into_half_precision(history):
    assert history.snapshot(points() * 1e8).cka_with_start == pytest.approx(1, abs=1e-3)
    assert history.tracked.start.dtype == torch.float16


def test_neighbours_kept(history):
    assert history.snapshot(points()).neighbours_kept is None
    assert history.snapshot(points() * 2).neighbours_kept == 1
    assert history.snapshot(points(1)).neighbours_kept < 0.5


def test_another_number_of_neighbours_is_not_compared(history):
    history.snapshot(points())
    assert history.snapshot(points(1), neighbours=4).neighbours_kept is None


@pytest.mark.parametrize("change", ["samples", "dimensions"])
def test_other_samples_or_dimensions_start_again(change, history):
    history.snapshot(points())
    features, positions = (points(1), ROWS + 1) if change == "samples" else (points(1)[:, :5], ROWS)
    now = history.snapshot(features, positions)
    assert now.is_new
    assert now.neighbours_kept is None
    assert now.cka_with_start == pytest.approx(1, abs=1e-3)
    assert torch.equal(now.coordinates, now.pca.coordinates.cpu())


def test_the_same_samples_continue(history):
    first, second = history.snapshot(points()), history.snapshot(points(1))
    assert first.is_new
    assert not second.is_new
    assert torch.equal(second.followed, points(1)[ROWS])
    assert torch.equal(second.film, second.coordinates[ROWS, :2])


def test_a_sample_missing_once_does_not_start_again(history):
    rows, there = without(3, 5)
    history.snapshot(points())
    between = history.snapshot(points(1)[there], rows=rows)
    assert not between.is_new
    assert between.rows.tolist() == rows[rows >= 0].tolist()
    expected = linear_cka(points()[ROWS[rows >= 0]], points(1)[ROWS[rows >= 0]], debiased=True)
    assert between.cka_with_start == pytest.approx(expected, abs=1e-3)
    assert between.film.isnan().any(dim=1).nonzero()[:, 0].tolist() == [3, 5]
    assert 0 < between.neighbours_kept < 1
    after = history.snapshot(points())
    assert after.cka_with_start == pytest.approx(1, abs=1e-3)
    assert not after.film.isnan().any()


def test_a_missing_sample_is_aligned_by_its_latest_coordinates(history):
    rows, there = without(3)
    before = history.snapshot(points()).tracked.coordinates
    now = history.snapshot(points(1)[there], rows=rows).tracked
    assert torch.equal(now.coordinates[3], before[3])
    assert not torch.equal(now.coordinates[4], before[4])
    assert (now.neighbours[3] == -1).all()


def test_a_sample_missing_at_the_start_is_not_compared(history):
    rows, there = without(0)
    assert history.snapshot(points()[there], rows=rows).cka_with_start == pytest.approx(1, abs=1e-3)
    now = history.snapshot(points())
    assert not now.is_new
    assert now.cka_with_start == pytest.approx(1, abs=1e-3)
    assert now.coordinates.isfinite().all()


def test_a_snapshot_does_not_change_the_previous_one(history):
    history.snapshot(points())
    before = history.tracked
    copy = {name: value.clone() for name, value in vars(before).items()}
    history.snapshot(points(1))
    assert all(torch.equal(value, copy[name]) for name, value in vars(before).items())


def test_the_shares_are_those_of_the_axes_shown(history):
    same = points() / torch.arange(DIMENSIONS, 0, -1)
    history.snapshot(same * torch.tensor([10.0, 5.0, *[1.0] * (DIMENSIONS - 2)]))
    turned = same * torch.tensor([4.0, 12.0, *[1.0] * (DIMENSIONS - 2)])  # the second component is the first now
    found = history.snapshot(turned)
    variances = found.coordinates.double().var(dim=0)
    torch.testing.assert_close(
        found.shares.double(), variances / turned.double().var(dim=0).sum(), rtol=1e-4, atol=1e-6
    )
    assert found.shares[0] < found.shares[1]


@pytest.mark.parametrize("mean", [0, 10, 1000])
@pytest.mark.parametrize("scale", [1, 1e-3, 1e4])
def test_the_first_snapshot_is_as_similar_to_itself_as_can_be(mean, scale, history):
    """Features of an untrained network hardly differ between images."""
    assert history.snapshot((points() + mean) * scale).cka_with_start == pytest.approx(1, abs=1e-5)
