"""The similarity of two sets of maps, and of two feature spaces."""

import math

import torch
from torch import Tensor

from .points import as_rows


def cosine(maps: Tensor, others: Tensor) -> Tensor:
    """Cosine similarity of each pair of maps (B, h, w): (B,), 1 if they are equal up to a positive factor, 0 if one is zero."""
    similarity = torch.cosine_similarity(maps.flatten(1).float(), others.flatten(1).float(), dim=1)
    return similarity.clamp(-1, 1)  # rounding may exceed the bounds


def rank_correlation(maps: Tensor, others: Tensor) -> Tensor:
    """Spearman's rank correlation, with mean ranks of equal values, of each pair of maps (B, h, w): (B,); 0 if one is constant."""
    first, second = (_mean_ranks(one.flatten(1)) for one in (maps, others))
    return torch.cosine_similarity(first - first.mean(dim=1, keepdim=True), second - second.mean(dim=1, keepdim=True))


def _mean_ranks(values: Tensor) -> Tensor:
    """The rank of each value in its row (B, N), float64; equal values have the mean of their ranks."""
    ordered, index = values.detach().sort(dim=1)
    count = values.shape[1]
    is_first = torch.ones_like(ordered, dtype=torch.bool)  # of equal values
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    positions = torch.arange(count, device=values.device).expand(values.shape)
    first = torch.where(is_first, positions, 0).cummax(dim=1).values
    end = torch.where(is_first.roll(-1, dims=1), positions, count).flip(1).cummin(dim=1).values.flip(1)
    ranks = (first + end).double() / 2
    return torch.empty_like(ranks).scatter_(1, index, ranks)


def linear_cka(one: Tensor, other: Tensor, *, debiased: bool = False) -> float:
    """Linear CKA, the similarity of two feature spaces (N, D1) and (N, D2) of the same N points: 0 to 1.

    Kornblith et al. 2019. Invariant to rotation, reflection, translation and isotropic scaling; 0 if all points of a space
    are equal. Few points in many dimensions bias it towards 1; `debiased` uses the unbiased estimator of HSIC (Song et al.
    2012; Nguyen et al. 2021), which may be slightly negative, and needs 4 points.
    Raises ValueError for different or too small numbers of points, or values that are not finite.
    """
    one, other = as_rows(one, "one").double(), as_rows(other, "other").double()
    if len(one) != len(other) or (debiased and len(one) < 4):
        raise ValueError(
            f"one= and other= hold {len(one)} and {len(other)} points; give the same points"
            f"{', 4 or more for debiased=True' if debiased else ''}, in the same order"
        )
    one, other = _centred(one), _centred(other)
    # The traces of products of Gram matrices (N, N), which HSIC needs, are also those of (D, D) matrices.
    widths = one.shape[1], other.shape[1]
    gram = len(one) * sum(widths) < widths[0] ** 2 + widths[0] * widths[1] + widths[1] ** 2
    norms = _hsic(one, one, gram, debiased), _hsic(other, other, gram, debiased)
    if min(norms) < 1e-12:  # rounding, as the spaces have norm 1
        return 0.0
    return _hsic(one, other, gram, debiased) / math.sqrt(norms[0]) / math.sqrt(norms[1])


def _hsic(one: Tensor, other: Tensor, gram: bool, debiased: bool) -> float:
    """HSIC of two centred spaces with linear kernels K and L, up to a factor that depends on N only."""
    products = (one @ one.T) * (other @ other.T) if gram else (one.T @ other).square()
    trace = products.sum()  # tr(KL) in either form
    if not debiased:
        return float(trace)
    # HSIC_1 of Song et al. 2012, whose sums exclude the diagonals; simplified, as K1 = L1 = 0 for centred spaces.
    count = len(one)
    diagonals = one.square().sum(dim=1), other.square().sum(dim=1)
    both, product = diagonals[0] @ diagonals[1], diagonals[0].sum() * diagonals[1].sum()
    return float(trace - count / (count - 2) * both + product / ((count - 1) * (count - 2)))


def _centred(points: Tensor) -> Tensor:
    """The points less their mean, scaled to norm 1; zeros if they differ by rounding only."""
    centred = points - points.mean(dim=0)
    size = centred.norm()
    return centred / size if size > 1e-12 * points.norm() else torch.zeros_like(centred)
