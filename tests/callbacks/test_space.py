import numpy as np
import pytest
import torch
from scipy.stats import ortho_group

from lightning_viz.callbacks.space import Space
from lightning_viz.methods import linear_cka

COUNT, DIMENSIONS = 60, 8
ROWS = np.arange(0, COUNT, 2)


def points(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(COUNT, DIMENSIONS, generator=generator) * torch.arange(DIMENSIONS, 0, -1)


def space(kept, features, positions=None, rows=ROWS):
    return Space(kept, "embedding/fc", np.arange(COUNT) if positions is None else positions, rows, features)


def test_a_turned_copy_lies_where_the_first_was():
    kept, first = {}, points()
    before = space(kept, first).coordinates
    turn = torch.from_numpy(ortho_group.rvs(DIMENSIONS, random_state=0)).float()
    assert space(kept, first @ turn).coordinates.numpy() == pytest.approx(before.numpy(), abs=1e-3)


def test_the_first_two_components_stay_in_their_plane():
    """Turned within it, they explain what they did."""
    kept = {}
    _ = space(kept, points()).coordinates
    now = space(kept, points(1))
    shares = now.coordinates.square().sum(dim=0)
    assert float(shares[:2].sum()) == pytest.approx(float(now.pca.coordinates[:, :2].square().sum()), rel=1e-4)
    assert float(shares[2]) == pytest.approx(float(now.pca.coordinates[:, 2].square().sum()), rel=1e-4)


def test_cka_is_that_of_the_points_followed_at_the_start():
    kept = {}
    assert space(kept, points()).cka_with_start == pytest.approx(1, abs=1e-3)
    _ = space(kept, points(2))
    expected = linear_cka(points()[ROWS], points(1)[ROWS], debiased=True)
    assert space(kept, points(1)).cka_with_start == pytest.approx(expected, abs=1e-3)


def test_large_features_are_remembered():
    kept = {}
    assert space(kept, points() * 1e8).cka_with_start == pytest.approx(1, abs=1e-3)


def test_neighbours_kept():
    kept = {}
    assert space(kept, points()).neighbours_kept(3) is None
    assert space(kept, points() * 2).neighbours_kept(3) == 1
    assert space(kept, points(1)).neighbours_kept(3) < 0.5


@pytest.mark.parametrize("change", ["samples", "dimensions"])
def test_other_samples_or_another_space_start_anew(change):
    kept = {}
    _ = space(kept, points()).neighbours_kept(3), space(kept, points()).coordinates
    if change == "samples":
        now = space(kept, points(1), positions=np.arange(1, COUNT + 1))
    else:
        now = space(kept, points(1)[:, :5])
    assert now.is_new
    assert now.neighbours_kept(3) is None
    assert now.cka_with_start == pytest.approx(1, abs=1e-3)
    assert torch.equal(now.coordinates, now.pca.coordinates.cpu())


def test_the_same_samples_go_on():
    kept = {}
    assert space(kept, points()).is_new
    assert not space(kept, points(1)).is_new
