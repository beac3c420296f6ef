"""How the Grad-CAM family weights feature maps: from activations and gradients (B, C, h, w) of a layer to weights.

Weights are (B, C, 1, 1) for a channel as a whole, or (B, C, h, w) for each position of it.
"""

import torch
from torch import Tensor


def gradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """The mean gradient. Selvaraju et al. 2017, "Grad-CAM"."""
    return gradients.mean(dim=(2, 3), keepdim=True)  # alpha_k^c, eq. 1


def gradcam_plus_plus(activations: Tensor, gradients: Tensor) -> Tensor:
    """A weighted sum of the positive gradients. Chattopadhay et al. 2018, "Grad-CAM++"."""
    squares, cubes = gradients**2, gradients**3
    sums = activations.sum(dim=(2, 3), keepdim=True)
    alphas = squares / (2 * squares + sums * cubes + 1e-6)  # alpha_ij^kc, eq. 19
    alphas = torch.where(gradients != 0, alphas, 0)
    return (alphas * torch.relu(gradients)).sum(dim=(2, 3), keepdim=True)  # w_k^c, eq. 10


def xgradcam(activations: Tensor, gradients: Tensor) -> Tensor:
    """The mean gradient weighted by the activation, which a ReLU should have passed. Fu et al. 2020, "Axiom-based Grad-CAM"."""
    sums = activations.sum(dim=(2, 3), keepdim=True)
    return (activations / (sums + 1e-7) * gradients).sum(dim=(2, 3), keepdim=True)  # w_k^c


def layercam(activations: Tensor, gradients: Tensor) -> Tensor:
    """The positive gradient at each position. Jiang et al. 2021, "LayerCAM"."""
    return torch.relu(gradients)  # w_ij^kc, eq. 6


def hirescam(activations: Tensor, gradients: Tensor) -> Tensor:
    """The gradient at each position. Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM"."""
    return gradients
