from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from lightning_viz.methods import leave_one_out, nearest, stability
from lightning_viz.methods.features import neighbours
from lightning_viz.methods.features.neighbours import usable_neighbours, vote_ceiling, vote_chance

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]


@pytest.fixture(params=["scikit-learn", "torch", "torch in chunks"])
def search(request, monkeypatch):
    """Both implementations: that for the CPU, and that for a GPU, here run on the CPU."""
    if request.param != "scikit-learn":
        monkeypatch.setattr(neighbours, "_with_scikit_learn", neighbours._with_torch)
        monkeypatch.setattr(neighbours, "CHUNK", 50 if "chunks" in request.param else 2**24)


@pytest.fixture(params=DEVICES)
def device(request):
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return request.param


@pytest.mark.parametrize("dimensions", [3, 40])
def test_equals_scikit_learn(dimensions, search, device):
    queries, points = torch.randn(31, dimensions), torch.randn(57, dimensions)
    distances, indices = nearest(queries.to(device), points.to(device), 5)
    expected = NearestNeighbors(n_neighbors=5, algorithm="brute").fit(points.numpy()).kneighbors(queries.numpy())
    assert np.array_equal(indices.cpu(), expected[1])
    assert np.allclose(distances.cpu(), expected[0], atol=1e-5)
    assert distances.device == indices.device == queries.to(device).device


def test_the_query_itself_is_excluded(search):
    points = torch.randn(40, 30)
    _, indices = nearest(points, points, 4, exclude=torch.arange(40))
    expected = NearestNeighbors(n_neighbors=4, algorithm="brute").fit(points.numpy()).kneighbors()[1]
    assert np.array_equal(indices, expected)


def test_only_excluded_points_are_left_out(search):
    points = torch.tensor([[0.0], [1.0], [3.0]])
    _, indices = nearest(points, points, 2, exclude=torch.tensor([-1, 1, -5]))
    assert indices.tolist() == [[0, 1], [0, 2], [2, 1]]


def test_a_duplicate_is_a_neighbour_at_distance_zero(search):
    points = torch.tensor([[7.0, 1.0], [7.0, 1.0], [9.0, 1.0]])
    distances, indices = nearest(points, points, 1, exclude=torch.arange(3))
    assert indices[:2].flatten().tolist() == [1, 0]
    assert distances.flatten().tolist() == [0, 0, 2]


def test_the_query_itself_is_excluded_among_many_duplicates(search):
    points = torch.ones(20, 3)
    distances, indices = nearest(points, points, 2, exclude=torch.arange(20))
    assert (indices != torch.arange(20)[:, None]).all()
    assert (indices[:, 0] != indices[:, 1]).all()
    assert not distances.any()


def test_near_points_far_from_the_origin(search):
    """In float32 the difference of squares would lose all digits."""
    points = 1000 + torch.arange(64).float()[:, None] * torch.full((1, 64), 1 / 512)
    distances, indices = nearest(points, points, 1, exclude=torch.arange(64))
    assert torch.allclose(distances, torch.tensor(8 / 512), atol=1e-6)
    assert ((indices[:, 0] - torch.arange(64)).abs() == 1).all()


@pytest.mark.parametrize(("exclude", "count"), [(None, 3), (torch.tensor([0, -1]), 2)])
def test_fewer_points_than_k(exclude, count, search):
    distances, indices = nearest(torch.rand(2, 4), torch.rand(3, 4), 9, exclude)
    assert distances.shape == indices.shape == (2, count)


def test_points_of_any_shape_and_precision(search):
    queries, points = torch.rand(5, 3, 4, 4).bfloat16().requires_grad_(), torch.rand(9, 3, 4, 4).bfloat16()
    distances, indices = nearest(queries, points, 3)
    expected = nearest(queries.float().flatten(1), points.float().flatten(1), 3)
    assert torch.equal(indices, expected[1])
    assert torch.equal(distances, expected[0])
    assert not distances.requires_grad


def test_mixed_precision(search):
    queries, points = torch.rand(5, 30), torch.rand(9, 30).double()
    found, expected = nearest(queries, points, 3), nearest(queries.double(), points, 3)
    assert all(map(torch.equal, found, expected))


def test_no_queries(search):
    distances, indices = nearest(torch.rand(0, 4), torch.rand(9, 4), 3)
    assert distances.shape == indices.shape == (0, 3)


@pytest.mark.parametrize("autocast", [False, True])
def test_modes_of_the_trainer_change_nothing(autocast, search):
    points = torch.randn(50, 64)
    expected = nearest(points, points, 6)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        found = nearest(points, points, 6)
    assert all(map(torch.equal, found, expected))


@pytest.mark.parametrize("k", [1, 2, 4, 5, 6, 39])
def test_leave_one_out_counts_the_neighbours_of_scikit_learn(k, device):
    points, labels = torch.randn(40, 6), torch.randint(-1, 3, (40,)) * 10  # few points of few classes: many ties
    expected = []
    for index in range(40):
        rest = torch.arange(40) != index
        search = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(points[rest].numpy())
        nearest_first = labels[rest][search.kneighbors(points[[index]].numpy())[1][0]].tolist()
        expected.append(Counter(nearest_first).most_common(1)[0][0] == int(labels[index]))  # of equal counts the first
    assert 0 < sum(expected) < 40
    assert leave_one_out(points.to(device), labels.to(device), k).tolist() == expected


def test_ties_go_to_the_class_of_the_nearest():
    points, labels = torch.tensor([[0.0], [1.0], [-1.1]]), torch.tensor([1, 2, 1])
    assert leave_one_out(points, labels, 2).tolist() == [False, False, True]


@pytest.mark.parametrize("classes", [2, 10, 200, 400])
@pytest.mark.parametrize("each", [1, 2, 3, 5])
def test_perfectly_separated_classes_reach_the_ceiling(classes: int, each: int):
    labels = torch.arange(classes).repeat_interleave(each)
    labels = torch.cat([labels, torch.tensor([classes])])  # and one that has a single point
    points = torch.eye(classes + 1)[labels] + 1e-3 * torch.randn(len(labels), classes + 1)
    correct = leave_one_out(points, labels, usable_neighbours(labels, 5))
    assert float(correct.double().mean()) == pytest.approx(vote_ceiling(labels))
    assert vote_ceiling(labels) == pytest.approx((each > 1) * (1 - 1 / len(labels)))


def test_the_chance_level_is_that_of_shuffled_labels():
    labels, points = torch.arange(6).repeat_interleave(20), torch.randn(120, 3)
    shuffled = [float(leave_one_out(points, labels[torch.randperm(120)], 5).double().mean()) for _ in range(100)]
    assert vote_chance(labels, 5, draws=100) == pytest.approx(np.mean(shuffled), abs=0.02)


def test_a_single_point_is_never_correct(search):
    assert leave_one_out(torch.rand(1, 3), torch.tensor([0]), 5).tolist() == [False]
    assert leave_one_out(torch.rand(0, 3), torch.zeros(0, dtype=torch.long), 5).tolist() == []


def test_stability():
    before = torch.tensor([[1, 2, 3], [0, 2, 3]])
    assert stability(before, before.flip(1)) == 1
    assert stability(before, before + 10) == 0
    assert stability(before, torch.tensor([[3, 9, 8], [9, 3, 2]])) == pytest.approx((1 / 3 + 2 / 3) / 2)
    assert stability(before[:, :0], before[:, :0]) == 1


POINTS = torch.rand(3, 4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nearest(torch.rand(3, 5), POINTS, 1), "queries of 5 dimensions, points of 4"),
        (lambda: nearest(POINTS, POINTS, 0), "k=0"),
        (lambda: nearest(POINTS[0], POINTS, 1), r"queries of shape \(4,\) is invalid"),
        (lambda: nearest(POINTS, POINTS.log10() / 0, 1), "points of .* NaN or infinite"),
        (lambda: nearest(POINTS, POINTS, 1, torch.tensor([0])), "does not fit 3 queries"),
        (lambda: nearest(POINTS, POINTS, 1, torch.tensor([0, 1, 3])), "does not fit 3 queries of 3 points"),
        (lambda: leave_one_out(POINTS, torch.zeros(2), 1), "do not fit 3 points"),
        (lambda: stability(torch.zeros(3, 2), torch.zeros(3, 1)), "cannot be compared"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
