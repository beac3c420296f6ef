"""Nearest neighbours in a feature space, and how well they predict the class."""

import torch
from torch import Tensor

from .points import as_rows

CHUNK = 2**24  # distances that a GPU computes at once: 128 MiB of float64


def nearest(queries: Tensor, points: Tensor, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The `k` points nearest to each query: Euclidean distances (Q, k), nearest first, and indices (Q, k).

    `queries` (Q, ...) and `points` (N, ...) are flattened. `exclude` (Q,) is, for each query, the index of a point that is
    not counted, the query itself; negative for none. With fewer points than `k`, all are returned. Distances are computed in
    float64, which small distances far from the origin need, and returned in float32.
    Raises ValueError for shapes that do not fit, values that are not finite, or k below 1.
    """
    queries, points = as_rows(queries, "queries"), as_rows(points)
    if queries.shape[1] != points.shape[1] or k < 1:
        raise ValueError(
            f"queries of {queries.shape[1]} dimensions, points of {points.shape[1]} and k={k} do not fit; give both "
            "the same dimensions, and k of 1 or more"
        )
    if exclude is None:
        exclude = torch.full((len(queries),), -1)
    if exclude.shape != queries.shape[:1] or (len(exclude) and int(exclude.max()) >= len(points)):
        raise ValueError(
            f"exclude of shape {tuple(exclude.shape)} does not fit {len(queries)} queries of {len(points)} points; give one "
            "index below that for each, or -1"
        )
    exclude = exclude.to(points.device, torch.long)
    k = min(k, len(points) - int((exclude >= 0).any()))
    if not k or not len(queries):
        return points.new_empty(len(queries), k, dtype=torch.float32), exclude.new_empty(len(queries), k)
    distances, indices = (_with_torch if points.is_cuda else _with_scikit_learn)(queries, points, k, exclude)
    return distances.float(), indices


def leave_one_out(points: Tensor, labels: Tensor, k: int) -> Tensor:
    """Whether the `k` nearest other points predict a point's class: (N, ...), (N,) -> (N,), boolean.

    The prediction is the majority class, of equally frequent ones that of the nearest point. A single point has none: False.
    Raises ValueError as `nearest` does, and for labels that do not fit.
    """
    labels = torch.as_tensor(labels)
    if labels.shape != points.shape[:1]:
        raise ValueError(f"labels of shape {tuple(labels.shape)} do not fit {len(points)} points; give one for each")
    _, indices = nearest(points, points, k, exclude=torch.arange(len(points)))
    if not indices.numel():
        return torch.zeros(len(points), dtype=torch.bool, device=indices.device)
    return _votes(labels.to(indices.device), indices)


def _votes(labels: Tensor, indices: Tensor) -> Tensor:
    """Whether the majority class of the points `indices` (N, k), nearest first, is that of each label (N,)."""
    classes = labels[indices]
    counts = (classes[:, :, None] == classes[:, None, :]).sum(dim=2)  # of each neighbour's class among the neighbours
    return classes.gather(1, counts.argmax(dim=1, keepdim=True))[:, 0] == labels  # the first, which is the nearest


def usable_neighbours(labels: Tensor, k: int) -> int:
    """The largest number of neighbours, at most `k`, by which all points (N,) of perfectly separated classes are predicted.

    A class of m points is outvoted by another from more than 2 (m - 1) neighbours on. Classes of one point do not count.
    """
    sizes = labels.unique(return_counts=True)[1]  # type: ignore[no-untyped-call]
    sizes = sizes[sizes > 1]
    return min(k, 2 * (int(sizes.min()) - 1)) if len(sizes) else 1


def vote_ceiling(labels: Tensor) -> float:
    """The accuracy of `leave_one_out` for perfectly separated classes: the share of points whose class has another point."""
    _, classes, sizes = labels.unique(return_inverse=True, return_counts=True)  # type: ignore[no-untyped-call]
    return float((sizes[classes] > 1).double().mean()) if len(labels) else 0.0


def vote_chance(labels: Tensor, k: int, draws: int = 20) -> float:
    """The accuracy of `leave_one_out` where the labels are shuffled: the mean over `draws` shuffles."""
    count, generator = len(labels), torch.Generator().manual_seed(0)
    offsets = torch.arange(1, min(k, count - 1) + 1)  # of shuffled points, any other ones can be the neighbours
    if not len(offsets):
        return 0.0
    indices = (torch.arange(count)[:, None] + offsets) % count
    shuffled = (labels.cpu()[torch.randperm(count, generator=generator)] for _ in range(draws))
    return sum(float(_votes(one, indices).double().mean()) for one in shuffled) / draws


def stability(before: Tensor, now: Tensor) -> float:
    """The mean fraction of the neighbours `before` (N, k), indices, that are still neighbours `now`; 1 without neighbours.

    Raises ValueError where the shapes differ.
    """
    if before.shape != now.shape or before.ndim != 2:
        raise ValueError(
            f"neighbours of the shapes {tuple(before.shape)} and {tuple(now.shape)} cannot be compared; give (N, k) twice"
        )
    kept = (before[:, :, None] == now.to(before.device)[:, None, :]).any(dim=2)
    return float(kept.double().mean()) if kept.numel() else 1.0


def _with_scikit_learn(queries: Tensor, points: Tensor, k: int, exclude: Tensor) -> tuple[Tensor, Tensor]:
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    if queries.dtype != points.dtype:  # the fast search needs equal dtypes
        queries, points = queries.double(), points.double()
    count = k + int((exclude >= 0).any())
    with config_context(assume_finite=True):  # `as_rows` has checked it
        search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(points.numpy())
        distances, indices = map(torch.from_numpy, search.kneighbors(queries.numpy()))
    if count > k:
        counted = indices != exclude[:, None]
        counted[counted.all(dim=1), -1] = False  # the excluded point is not among them: drop the farthest
        distances, indices = distances[counted].reshape(-1, k), indices[counted].reshape(-1, k)
    return distances, indices


def _with_torch(queries: Tensor, points: Tensor, k: int, exclude: Tensor) -> tuple[Tensor, Tensor]:
    found = []
    size = max(1, CHUNK // max(len(points), queries.shape[1]))
    for chunk, excluded in zip(torch.split(queries, size), torch.split(exclude, size), strict=True):
        blocks = torch.split(points, max(1, CHUNK // max(points.shape[1], 1)))
        distances = torch.cat([torch.cdist(chunk.double(), block.double()) for block in blocks], dim=1)
        distances[excluded >= 0, excluded[excluded >= 0]] = torch.inf
        found.append(distances.topk(k, largest=False))
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])
