"""Points of a feature space: validated as rows of numbers."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def as_rows(points: Tensor, name: str = "points") -> Tensor:
    """Points (N, ...) as rows (N, D), detached, float64 or else float32. Raises ValueError for a vector, NaN or infinity."""
    if points.ndim < 2:
        raise ValueError(f"{name} of shape {tuple(points.shape)} is invalid; give points (N, D), one row for each")
    rows = points.detach().flatten(1)
    if rows.device.type not in ("cpu", "cuda"):  # MPS has no float64
        rows = rows.cpu()
    rows = rows if rows.dtype == torch.float64 else rows.float()
    # A sum is fast, but may overflow. NumPy's sum: the threads of scikit-learn's last call slow down torch's.
    with np.errstate(over="ignore", invalid="ignore"):
        total = rows.sum() if rows.is_cuda else rows.numpy().sum()
    if not math.isfinite(total) and not rows.isfinite().all():
        raise ValueError(f"{name} of shape {tuple(points.shape)} hold NaN or infinite values; remove such rows")
    return rows


def finite_rows(*values: Tensor) -> NDArray[np.int64]:
    """The indices of the rows that are finite in all of these tensors, (N, ...) each."""
    finite = torch.stack([each.flatten(1).isfinite().all(dim=1) for each in values]).all(dim=0)
    return finite.nonzero()[:, 0].cpu().numpy()
