"""A layer's feature space at one snapshot, compared with the snapshots before."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .neighbours import nearest, stability
from .projection import PCA, pca, procrustes
from .similarity import linear_cka

Indices = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class TrackedSpace:
    """What is kept of the F tracked samples from one snapshot to the next, on the CPU."""

    positions: Tensor  #: of the samples in the data, (F,), int64
    start: Tensor  #: features at the first snapshot less their mean, as fractions of the largest, (F, D), float16; NaN if missing
    coordinates: Tensor | None = None  #: latest principal components, (F, 3), float32; NaN if never present
    neighbours: Tensor | None = None  #: latest nearest neighbours, (F, k), int64 into the F; -1 if missing


@dataclass(frozen=True, eq=False)
class SpaceSnapshot:
    """The features of N samples, of which F are tracked and P of those present."""

    tracked: TrackedSpace  #: to pass to `track_space` at the next snapshot
    is_new: bool  #: whether the samples or dimensions differ from the previous snapshot's, so that nothing is compared
    rows: Indices  #: of the present tracked samples among the N, (P,)
    followed: Tensor  #: their features, (P, D): only these give numbers that are comparable over time
    pca: PCA  #: of all N samples, three components
    coordinates: Tensor  #: principal components (N, 3), Procrustes-aligned to the previous snapshot, on the CPU
    shares: Tensor  #: of the variance along each axis of `coordinates`, (3,)
    film: Tensor  #: the first two coordinates of the tracked samples, (F, 2); NaN if missing
    cka_with_start: float  #: linear CKA with the first snapshot, debiased from 4 points on; NaN without common samples
    neighbours_kept: float | None  #: the fraction of nearest neighbours kept since the previous snapshot; None if new


def track_space(
    previous: TrackedSpace | None, positions: Indices, rows: Indices, features: Tensor, neighbours: int
) -> SpaceSnapshot:
    """Compares the features (N, D), finite, with those of the previous snapshot; None for the first.

    `positions` (F,) identifies the tracked samples; `rows` (F,) are their rows among the N, -1 for a missing one.
    `neighbours` is how many nearest neighbours, among the tracked samples, are compared. The first two principal components
    are aligned within their plane, the third is aligned by its sign.
    """
    present, found = torch.from_numpy(rows >= 0), rows[rows >= 0]
    followed = features[torch.from_numpy(found).to(features.device)]
    samples, is_new = torch.from_numpy(positions), False
    if previous is None or not torch.equal(previous.positions, samples) or previous.start.shape[1] != features.shape[1]:
        # Half precision as fractions of the largest value: CKA depends neither on the mean nor on the scale, and rounding
        # features that vary little around a large mean would change it.
        centred = followed.double() - followed.double().mean(dim=0) if len(found) else followed
        scaled = centred / centred.abs().amax().clamp_min(1e-300) if len(found) else followed
        previous, is_new = TrackedSpace(samples, _with_missing(scaled, present).half()), True

    components, before = pca(features, 3), previous.coordinates
    coordinates, shares = components.coordinates.cpu().clone(), components.explained.cpu().double()
    if before is not None:
        now = _with_missing(coordinates[found], present)
        both = (now.isfinite() & before.isfinite()).all(dim=1)
        for axes in (slice(2), slice(2, 3)):
            rotation = procrustes(now[both, axes], before[both, axes]).cpu()
            coordinates[:, axes] = coordinates[:, axes] @ rotation.to(coordinates)
            shares[axes] = rotation.square().T @ shares[axes]  # components are not correlated
    now = _with_missing(coordinates[found], present)
    latest = now if before is None else now.where(present[:, None], before)
    indices = nearest(followed, followed, neighbours, exclude=torch.arange(len(followed)))[1].cpu()
    nearest_now = _with_missing(present.nonzero()[:, 0][indices].float(), present).nan_to_num(-1).long()
    return SpaceSnapshot(
        tracked=TrackedSpace(samples, previous.start, latest, nearest_now),
        is_new=is_new,
        rows=found,
        followed=followed,
        pca=components,
        coordinates=coordinates,
        shares=shares.float(),
        film=now[:, :2],
        cka_with_start=_cka(_with_missing(followed, present), previous.start.float()),
        neighbours_kept=_kept(previous.neighbours, nearest_now),
    )


def _with_missing(values: Tensor, present: Tensor) -> Tensor:
    """Values (P, ...) of the present samples as (F, ...), NaN for the missing ones; float32, on the CPU."""
    tracked = torch.full((len(present), *values.shape[1:]), torch.nan, dtype=torch.float32)
    tracked[present] = values.float().cpu()
    return tracked


def _cka(now: Tensor, start: Tensor) -> float:
    both = (now.isfinite() & start.isfinite()).all(dim=1)
    return linear_cka(now[both], start[both], debiased=int(both.sum()) >= 4) if both.any() else math.nan


def _kept(before: Tensor | None, now: Tensor) -> float | None:
    if before is None or before.shape != now.shape:
        return None
    both = (now >= 0).all(dim=1) & (before >= 0).all(dim=1)
    return stability(before[both], now[both])
