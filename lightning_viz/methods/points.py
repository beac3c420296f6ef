"""Points of a feature space, as the functions about it take them."""

import torch
from torch import Tensor


def as_rows(points: Tensor, name: str = "points") -> Tensor:
    """Points (N, ...) as rows (N, D) of float32, or float64 if they are, out of the graph.

    Raises ValueError where they are no points, or not finite.
    """
    if points.ndim < 2:
        raise ValueError(f"{name} of shape {tuple(points.shape)} are no points; give (N, D), one row for each")
    rows = points.detach().flatten(1)
    if not torch.isfinite(rows).all():
        raise ValueError(f"{name} of shape {tuple(points.shape)} hold NaN or infinite values; leave such rows out")
    if rows.device.type not in ("cpu", "cuda"):  # MPS has no float64
        rows = rows.cpu()
    return rows if rows.dtype == torch.float64 else rows.float()
