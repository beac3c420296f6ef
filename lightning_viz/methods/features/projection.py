"""Projections of a feature space: principal components, and their Procrustes alignment."""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .points import as_rows


@dataclass(frozen=True)
class PCA:
    """Principal components of N points."""

    coordinates: Tensor  #: (N, c), centred, float32
    explained: Tensor  #: (c,), the fraction of the variance that each component explains, 0 to 1


def pca(points: Tensor, components: int = 2) -> PCA:
    """Principal components of points (N, ...), flattened.

    In each component the coordinate of largest magnitude is positive. Missing components (of one point, of fewer
    dimensions, of points that are all equal) are zero. Raises ValueError for NaN or infinite values, components below 1.
    """
    if components < 1:
        raise ValueError(f"components={components} is too small; give 1 or more")
    points = as_rows(points)
    lanczos = points.device.type == "cpu" and 10 * components < min(points.shape)
    found = (_with_scikit_learn if lanczos else _with_torch)(points, components)
    return found or PCA(points.new_zeros(len(points), components).float(), points.new_zeros(components).float())


def effective_dimension(points: Tensor) -> float:
    """The number of dimensions that the variance of points (N, ...) is spread over.

    The participation ratio of the covariance's eigenvalues, (Σ λ)² / Σ λ²: D if all are equal, 1 if only one is not zero, 0
    if all points are equal; at most N - 1. Litwin-Kumar et al. 2017, "Optimal degrees of synaptic connectivity".
    Raises ValueError for values that are not finite.
    """
    moments = _moments(_centred(as_rows(points)))
    norm = moments.norm()  # Σ λ² = ||C||²
    return float((moments.trace() / norm) ** 2) if norm > 0 else 0.0


def procrustes(coordinates: Tensor, reference: Tensor) -> Tensor:
    """The orthogonal matrix (c, c) that maps `coordinates` (N, c) closest to `reference` (N, c), both centred; float64.

    Schönemann 1966, "A generalized solution of the orthogonal Procrustes problem". Reflections are allowed, scaling is not.
    Directions that the points do not determine are not changed: for points that are all equal it is the identity.
    Raises ValueError where the shapes differ, or values are not finite.
    """
    if coordinates.shape != reference.shape:
        raise ValueError(
            f"coordinates of shape {tuple(coordinates.shape)} do not fit a reference of {tuple(reference.shape)}; give the "
            "same points in as many dimensions"
        )
    coordinates = as_rows(coordinates, "coordinates").double()
    reference = as_rows(reference, "reference").to(coordinates)
    product = (coordinates - coordinates.mean(dim=0)).T @ (reference - reference.mean(dim=0))
    size = product.norm()
    identity = torch.eye(len(product), dtype=product.dtype, device=product.device)
    # Of several solutions, a small multiple of the identity selects the one closest to it.
    left, _, right = torch.linalg.svd((product / size if size > 0 else product) + 1e-9 * identity)
    return torch.matmul(left, right)


def aligned(coordinates: Tensor, reference: Tensor) -> Tensor:
    """`coordinates` (N, c), Procrustes-aligned to `reference` (N, c) and moved to its mean, float32: see `procrustes`."""
    rotation = procrustes(coordinates, reference)
    coordinates, reference = as_rows(coordinates).double(), as_rows(reference).to(rotation)
    return ((coordinates - coordinates.mean(dim=0)) @ rotation + reference.mean(dim=0)).float()


def _with_scikit_learn(points: Tensor, components: int) -> PCA | None:
    """By the Lanczos algorithm, which finds only the first few components; None if all points are equal."""
    from scipy.sparse.linalg import ArpackError
    from sklearn import config_context
    from sklearn.decomposition import PCA as Lanczos

    lanczos = Lanczos(components, svd_solver="arpack", random_state=0)
    try:
        with config_context(assume_finite=True):  # `as_rows` has checked it
            coordinates = torch.from_numpy(lanczos.fit_transform(points.numpy()).copy())
    except ArpackError:  # it did not converge, or all values are zero
        return _with_torch(points, components)
    if lanczos.singular_values_[0] <= 10 * torch.finfo(points.dtype).eps * len(points) ** 0.5 * np.linalg.norm(
        lanczos.mean_
    ):
        return None
    return PCA(_signed(coordinates).float(), torch.from_numpy(lanczos.explained_variance_ratio_).float())


def _with_torch(points: Tensor, components: int) -> PCA | None:
    """By all eigenvectors of the moments; None if all points are equal."""
    spread = _centred(points)
    moments = _moments(spread)
    if not moments.any():
        return None
    values, vectors = _largest_eigenvectors(moments, components)
    coordinates = spread.new_zeros(len(spread), components, dtype=torch.float64)
    # Eigenvectors of the covariance are directions, those of the Gram matrix the coordinates themselves.
    of_covariance = len(vectors) == spread.shape[1]
    coordinates[:, : len(values)] = spread.double() @ vectors if of_covariance else vectors * values.clamp_min(0).sqrt()
    explained = coordinates.square().sum(dim=0) / moments.trace()
    return PCA(_signed(coordinates).float(), explained.float())


def _largest_eigenvectors(moments: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Eigenvalues (c,) and eigenvectors (D, c), largest first.

    Few of many are found on the CPU: GPUs take seconds for all of them in float64.
    """
    if moments.is_cuda and 10 * components < len(moments):
        from scipy.sparse.linalg import ArpackError, eigsh

        start = np.random.RandomState(0).uniform(-1, 1, len(moments))
        with suppress(ArpackError):  # it did not converge
            found = (
                torch.from_numpy(one[..., ::-1].copy()) for one in eigsh(moments.cpu().numpy(), components, v0=start)
            )
            values, vectors = (one.to(moments.device, non_blocking=True) for one in found)
            return values, vectors
    values, vectors = torch.linalg.eigh(moments)
    return values.flip(0)[:components], vectors.flip(1)[:, :components]


def _centred(points: Tensor) -> Tensor:
    """Rows less their mean; zeros if they differ by rounding only."""
    if not len(points):
        return points
    spread = points - points.mean(dim=0)
    return spread if spread.norm() > 10 * torch.finfo(points.dtype).eps * points.norm() else torch.zeros_like(points)


def _moments(spread: Tensor) -> Tensor:
    """The smaller of covariance and Gram matrix, whose eigenvalues other than zero are the same; float64."""
    return (spread.T @ spread if len(spread) >= spread.shape[1] else spread @ spread.T).double()


def _signed(coordinates: Tensor) -> Tensor:
    """The sign of each component, which a solver may choose, such that its coordinate of largest magnitude is positive."""
    largest = coordinates.gather(0, coordinates.abs().argmax(dim=0, keepdim=True))
    return torch.where(largest < 0, -coordinates, coordinates)
