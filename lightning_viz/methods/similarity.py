"""How alike two sets of maps are."""

import torch
from torch import Tensor


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
