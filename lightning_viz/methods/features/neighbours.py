"""Who is near whom in a feature space, and whether it is of one's class."""

import torch
from torch import Tensor

from .points import as_rows

CHUNK = 2**24  # numbers: what a GPU holds at once beside the points, 128 MiB of float64


def nearest(queries: Tensor, points: Tensor, k: int, exclude: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The `k` points nearest to each query: Euclidean distances (Q, k), nearest first, and indices (Q, k).

    `queries` (Q, ...) and `points` (N, ...) are flattened. `exclude` (Q,) is the index of the point that a query itself
    is, negative for none. Of fewer points than `k`, all come. Distances are computed in float64, of which the near ones
    need the digits, and returned in float32.
    Raises ValueError for shapes that do not fit, values that are not finite, or k below 1.
    """
    queries, points = as_rows(queries, "queries"), as_rows(points)
    if queries.shape[1] != points.shape[1] or k < 1:
        raise ValueError(
            f"queries of {queries.shape[1]} dimensions, points of {points.shape[1]} and k={k} do not fit; give both "
            "alike, and k of 1 or more"
        )
    exclude = _excluded(exclude, queries, points)
    k = min(k, len(points) - int((exclude >= 0).any()))
    if not k or not len(queries):
        return points.new_empty(len(queries), k, dtype=torch.float32), exclude.new_empty(len(queries), k)
    search = _with_torch if points.is_cuda else _with_scikit_learn
    distances, indices = search(queries, points, k, exclude)
    return distances.float(), indices


def leave_one_out(points: Tensor, labels: Tensor, k: int) -> Tensor:
    """Whether the `k` nearest others vote for a point's own class: (N, ...), (N,) -> (N,), boolean.

    The majority wins, and of several equal ones the smallest class. A single point has no voters, and is wrong.
    Raises ValueError as `nearest` does, and for labels that do not fit.
    """
    labels = torch.as_tensor(labels)
    if labels.shape != points.shape[:1]:
        raise ValueError(f"labels of shape {tuple(labels.shape)} do not fit {len(points)} points; give one for each")
    _, indices = nearest(points, points, k, exclude=torch.arange(len(points)))
    if not indices.numel():
        return torch.zeros(len(points), dtype=torch.bool, device=indices.device)
    labels = labels.to(indices.device)
    votes = labels[indices]
    counts = (votes[:, :, None] == votes[:, None, :]).sum(dim=2)  # of the class that each neighbour votes for
    losing = counts < counts.amax(dim=1, keepdim=True)
    return votes.masked_fill(losing, torch.iinfo(votes.dtype).max).amin(dim=1) == labels


def stability(before: Tensor, now: Tensor) -> float:
    """The mean share of the neighbours `before` (N, k), indices, that are still among those `now` (N, k): 0 to 1.

    1 where there are no neighbours to lose. Raises ValueError where the shapes differ.
    """
    if before.shape != now.shape or before.ndim != 2:
        raise ValueError(
            f"neighbours of the shapes {tuple(before.shape)} and {tuple(now.shape)} cannot be compared; give (N, k) of "
            "the same points"
        )
    stayed = (before[:, :, None] == now.to(before.device)[:, None, :]).any(dim=2)
    return float(stayed.double().mean()) if stayed.numel() else 1.0


def _excluded(exclude: Tensor | None, queries: Tensor, points: Tensor) -> Tensor:
    """The index of the point that each query is, -1 for none."""
    if exclude is None:
        return torch.full((len(queries),), -1, device=points.device)
    if exclude.shape != queries.shape[:1] or (len(exclude) and int(exclude.max()) >= len(points)):
        raise ValueError(
            f"exclude of shape {tuple(exclude.shape)} does not fit {len(queries)} queries of {len(points)} points; give one "
            "index below that for each, or -1"
        )
    return exclude.to(points.device, torch.long)


def _with_scikit_learn(queries: Tensor, points: Tensor, k: int, exclude: Tensor) -> tuple[Tensor, Tensor]:
    from sklearn import config_context
    from sklearn.neighbors import NearestNeighbors

    if queries.dtype != points.dtype:  # its fast search wants them alike
        queries, points = queries.double(), points.double()
    count = k + int((exclude >= 0).any())
    with config_context(assume_finite=True):  # as was seen
        search = NearestNeighbors(n_neighbors=count, algorithm="brute").fit(points.numpy())
        distances, indices = map(torch.from_numpy, search.kneighbors(queries.numpy()))
    if count > k:
        others = indices != exclude[:, None]
        others[others.all(dim=1), -1] = False  # not among them: the farthest is one too many
        distances, indices = distances[others].reshape(-1, k), indices[others].reshape(-1, k)
    return distances, indices


def _with_torch(queries: Tensor, points: Tensor, k: int, exclude: Tensor) -> tuple[Tensor, Tensor]:
    found = []
    size = max(1, CHUNK // max(len(points), queries.shape[1]))
    for chunk, itself in zip(torch.split(queries, size), torch.split(exclude, size), strict=True):
        blocks = torch.split(points, max(1, CHUNK // max(points.shape[1], 1)))
        distances = torch.cat([torch.cdist(chunk.double(), block.double()) for block in blocks], dim=1)
        distances[itself >= 0, itself[itself >= 0]] = torch.inf
        found.append(distances.topk(k, largest=False))
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])
