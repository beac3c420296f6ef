"""How alike two sets of maps are, or two spaces of features."""

import math

import torch
from torch import Tensor

from .points import as_rows


def cosine(maps: Tensor, others: Tensor) -> Tensor:
    """Cosine similarity of each pair of maps (B, h, w): (B,), 1 where they are alike up to a factor, 0 if one is zero."""
    similarity = torch.cosine_similarity(maps.flatten(1).float(), others.flatten(1).float(), dim=1)
    return similarity.clamp(-1, 1)  # rounding may exceed them


def rank_correlation(maps: Tensor, others: Tensor) -> Tensor:
    """Spearman's rank correlation of each pair of maps (B, h, w): (B,), -1 to 1; 0 where one is constant.

    Equal values share their mean rank.
    """
    first, second = (_ranks(each.flatten(1)) for each in (maps, others))
    return torch.cosine_similarity(first, second, dim=1)


def _ranks(rows: Tensor) -> Tensor:
    """Ranks within each row (B, n), less their mean."""
    ranks = torch.empty(rows.shape, dtype=torch.float64, device=rows.device)
    for row, out in zip(rows, ranks, strict=True):
        _, place, counts = row.unique(return_inverse=True, return_counts=True)
        last = counts.cumsum(0).double()
        out[:] = (last - (counts - 1) / 2)[place]
    return ranks - ranks.mean(dim=1, keepdim=True)


def linear_cka(one: Tensor, other: Tensor, *, debiased: bool = False) -> float:
    """How alike two spaces (N, D1) and (N, D2) of the same N points are: linear CKA, 0 to 1. Kornblith et al. 2019.

    It does not change as a space is turned, mirrored, moved or scaled as a whole; 0 where one holds nothing but copies of
    a point. Of few points in many dimensions any two spaces seem alike: independent noise comes near 1. `debiased` takes
    the unbiased estimator of HSIC instead (Song et al. 2012; Nguyen et al. 2021), which comes near 0 there, and may be a
    little below. It needs 4 points.
    Raises ValueError for unequal or too few points, or values that are not finite.
    """
    one, other = as_rows(one, "one").double(), as_rows(other, "other").double()
    if len(one) != len(other) or (debiased and len(one) < 4):
        raise ValueError(
            f"one= and other= hold {len(one)} and {len(other)} points; give the same points"
            f"{', 4 or more for debiased=True' if debiased else ''}, in the same order"
        )
    one, other = _centred(one), _centred(other)
    # HSIC needs the traces of products of Gram matrices (N, N), which are also those of (D, D) matrices.
    widths = one.shape[1], other.shape[1]
    gram = len(one) * sum(widths) < widths[0] ** 2 + widths[0] * widths[1] + widths[1] ** 2
    own = _hsic(one, one, gram, debiased), _hsic(other, other, gram, debiased)
    if min(own) < 1e-12:  # of spaces of size 1: rounding
        return 0.0
    return _hsic(one, other, gram, debiased) / math.sqrt(own[0]) / math.sqrt(own[1])


def _hsic(one: Tensor, other: Tensor, gram: bool, debiased: bool) -> float:
    """HSIC of two centred spaces with linear kernels K and L, up to a factor that depends on N alone."""
    products = (one @ one.T) * (other @ other.T) if gram else (one.T @ other).square()
    trace = products.sum()  # tr KL, in either form
    if not debiased:
        return float(trace)
    # HSIC_1 of Song et al. 2012, whose sums leave out the diagonals, in short: of centred spaces, K1 = L1 = 0.
    count = len(one)
    diagonals = one.square().sum(dim=1), other.square().sum(dim=1)
    both, product = diagonals[0] @ diagonals[1], diagonals[0].sum() * diagonals[1].sum()
    return float(trace - count / (count - 2) * both + product / ((count - 1) * (count - 2)))


def _centred(points: Tensor) -> Tensor:
    """The points less their mean, scaled to 1 overall; zeros where the rest is rounding."""
    centred = points - points.mean(dim=0)
    size = centred.norm()
    return centred / size if size > 1e-12 * points.norm() else torch.zeros_like(centred)
