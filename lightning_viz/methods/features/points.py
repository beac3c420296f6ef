"""Points of a feature space, as the functions about it take them."""

import math

import numpy as np
import torch
from torch import Tensor


def as_rows(points: Tensor, name: str = "points") -> Tensor:
    """Points (N, ...) as rows (N, D) of float32, or float64 if they are, out of the graph.

    Raises ValueError where they are no points, or not finite.
    """
    if points.ndim < 2:
        raise ValueError(f"{name} of shape {tuple(points.shape)} are no points; give (N, D), one row for each")
    rows = points.detach().flatten(1)
    if rows.device.type not in ("cpu", "cuda"):  # MPS has no float64
        rows = rows.cpu()
    rows = rows if rows.dtype == torch.float64 else rows.float()
    # A sum is quick, and may be too large. NumPy's, as the threads of scikit-learn's last call disturb torch's.
    with np.errstate(over="ignore", invalid="ignore"):
        total = rows.sum() if rows.is_cuda else rows.numpy().sum()
    if not math.isfinite(total) and not rows.isfinite().all():
        raise ValueError(f"{name} of shape {tuple(points.shape)} hold NaN or infinite values; leave such rows out")
    return rows
