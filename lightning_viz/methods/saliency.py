"""Which pixels matter: gradients of a score with respect to the image."""

import torch
from torch import Tensor, nn

from .modes import evaluating, leaf
from .outputs import Target, target_scores


def saliency(model: nn.Module, images: Tensor, target: Target = None) -> Tensor:
    """Absolute input gradient of the target score, maximum over channels: (B, C, H, W) -> (B, H, W), float32.

    Simonyan et al. 2014, "Deep inside convolutional networks", section 3. The score is taken before the softmax.
    The model runs in evaluation mode and is left as it was; no `.grad` is touched.
    """
    with evaluating(model):
        pixels = leaf(images)
        scores = target_scores(model(pixels), target)  # S_c(I)
        (gradients,) = torch.autograd.grad(scores.sum(), pixels)  # w = dS_c/dI, eq. 4
    return gradients.float().abs().amax(dim=1)  # M_ij = max_c |w_ijc|
