"""A feature space on paper: its directions of largest variance, and one picture turned to another."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .points import as_rows


@dataclass(frozen=True)
class PCA:
    """Principal components of N points.

    Attributes:
        coordinates: (N, c), centred, float32.
        explained: (c,), the share of the variance that each component has, 0 to 1.
        effective_dimension: how many dimensions the variance is spread over, the participation ratio of the covariance's
            eigenvalues, (Σ λ)² / Σ λ²: D where all are equal, 1 where one is alone, 0 where all points are the same.
            Litwin-Kumar et al. 2017, "Optimal degrees of synaptic connectivity"; Gao et al. 2017, "A theory of
            multineuronal dimensionality, dynamics and measurement". Less than N - 1 of N points, whatever the space.
    """

    coordinates: Tensor
    explained: Tensor
    effective_dimension: float


def pca(points: Tensor, components: int = 2) -> PCA:
    """Principal components of points (N, ...), flattened.

    In each component the largest coordinate is positive. Components that there are not (of one point, of fewer
    dimensions, of points that are all the same) are zero.
    Raises ValueError for values that are not finite, or components below 1.
    """
    if components < 1:
        raise ValueError(f"components={components} are none; give 1 or more")
    points = as_rows(points)
    coordinates = points.new_zeros(len(points), components)
    dimension = 0.0
    total = points.new_zeros((), dtype=torch.float64)
    rounding = 10 * torch.finfo(points.dtype).eps
    if len(points) > 1 and (spread := points - points.mean(dim=0)).norm() > rounding * points.norm():
        # The Gram matrix has the covariance's eigenvalues but for zeros: the smaller of the two will do.
        moments = (spread.T @ spread if len(spread) >= spread.shape[1] else spread @ spread.T).double()
        total = moments.trace()  # Σ λ
        dimension = float((total / moments.norm()) ** 2)  # Σ λ² = ||C||²
        found = _coordinates(spread, moments, min(components, len(moments)))
        coordinates[:, : found.shape[1]] = _signed(found)
    explained = coordinates.double().square().sum(dim=0) / total.clamp_min(torch.finfo(total.dtype).tiny)
    return PCA(coordinates.float(), explained.float(), dimension)


def procrustes(coordinates: Tensor, reference: Tensor) -> Tensor:
    """The orthogonal matrix (c, c) that turns `coordinates` (N, c) closest to `reference` (N, c), both centred; float64.

    Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem". Mirroring is allowed, scaling is not.
    What the points leave open stays as it is: the matrix of points that are all the same is the identity.
    Raises ValueError where the shapes differ, or values are not finite.
    """
    coordinates, reference = _pair(coordinates, reference)
    product = (coordinates - coordinates.mean(dim=0)).T @ (reference - reference.mean(dim=0))
    size = product.norm()
    identity = torch.eye(len(product), dtype=product.dtype, device=product.device)
    # Of several solutions, the hint of an identity chooses the one nearest to it.
    left, _, right = torch.linalg.svd((product / size if size > 0 else product) + 1e-9 * identity)
    return torch.matmul(left, right)


def aligned(coordinates: Tensor, reference: Tensor) -> Tensor:
    """`coordinates` (N, c) turned and moved to lie closest to `reference` (N, c), float32: see `procrustes`."""
    turn = procrustes(coordinates, reference)
    coordinates, reference = _pair(coordinates, reference)
    return ((coordinates - coordinates.mean(dim=0)) @ turn + reference.mean(dim=0)).float()


def _coordinates(spread: Tensor, moments: Tensor, components: int) -> Tensor:
    """Centred points in their principal components: (N, D) -> (N, c)."""
    values, vectors = _largest(moments, components)
    if len(vectors) == spread.shape[1]:
        return spread @ vectors.to(spread)
    return (vectors * values.clamp_min(0).sqrt()).to(spread)


def _largest(moments: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues of a symmetric matrix, descending, and their eigenvectors in columns."""
    if moments.device.type == "cpu" and 10 * count < len(moments):
        from scipy.sparse.linalg import ArpackNoConvergence, eigsh

        # Lanczos finds these alone. It begins at random: a vector of ones is centred away.
        start = np.random.default_rng(0).standard_normal(len(moments))
        with suppress(ArpackNoConvergence):
            values, vectors = map(torch.from_numpy, eigsh(moments.numpy(), count, v0=start))
            return values.flip(0), vectors.flip(1)
    values, vectors = torch.linalg.eigh(moments)
    return values.flip(0)[:count], vectors.flip(1)[:, :count]


def _signed(coordinates: Tensor) -> Tensor:
    """A solver may return a component or its negative: the one whose largest coordinate is positive."""
    largest = coordinates.gather(0, coordinates.abs().argmax(dim=0, keepdim=True))
    return torch.where(largest < 0, -coordinates, coordinates)


def _pair(coordinates: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    if coordinates.shape != reference.shape:
        raise ValueError(
            f"coordinates of shape {tuple(coordinates.shape)} do not fit a reference of {tuple(reference.shape)}; give the "
            "same points in as many dimensions"
        )
    coordinates = as_rows(coordinates, "coordinates").double()
    return coordinates, as_rows(reference, "reference").to(coordinates)
