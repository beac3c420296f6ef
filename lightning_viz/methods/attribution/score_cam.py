"""Score-CAM: feature maps weighted by the score of the image region that they cover, without gradients."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.modes import capture, captured_output, evaluating
from lightning_viz.methods.model.outputs import Target, fixed_target, target_scores

from .cam import CamLayer, weighted_sum


def score_cam(
    model: nn.Module, images: Tensor, target: Target, layers: Sequence[CamLayer], *, batch_size: int = 32
) -> list[Tensor]:
    """Maps (B, h, w) of each layer: its feature maps weighted by the scores of the images they mask. Wang et al. 2020.

    "Score-CAM". One forward pass, and one for each channel of each layer; at most `batch_size` masked images go through
    the model at once. Raises ValueError for a `batch_size` below 1, and for a layer that does not run.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} is too small; give 1 or more")
    with evaluating(model), torch.no_grad():
        with capture(model, [layer.name for layer in layers]) as captured:
            target = fixed_target(model, images, target)
            if callable(target):  # then it has made no forward pass
                model(images.clone())
        maps = []
        for layer in layers:
            activations = layer.to_maps(captured_output(captured, layer.name, layer.described)).float()
            scores = _masked_scores(model, images, target, activations, batch_size)
            weights = scores.softmax(dim=1)[:, :, None, None]  # alpha_k^c
            maps.append(weighted_sum(weights, activations))
    return maps


def _masked_scores(model: nn.Module, images: Tensor, target: Target, activations: Tensor, batch_size: int) -> Tensor:
    """The target score of each image masked by each of its feature maps: (B, K)."""
    count, channels = activations.shape[:2]
    size, scores = images.shape[-2:], []
    for part in torch.split(torch.arange(count * channels, device=images.device), batch_size):
        maps = activations.flatten(0, 1)[part, None]
        resized = nn.functional.interpolate(maps, size=size, mode="bilinear", align_corners=True)
        low, high = resized.amin(dim=(2, 3), keepdim=True), resized.amax(dim=(2, 3), keepdim=True)
        masks = (resized - low) / (high - low + 1e-8)  # s(U(A_l^k))
        index = part // channels
        masked = images[index] * masks.to(images.dtype)
        scores.append(target_scores(model(masked), target[index] if isinstance(target, Tensor) else target).float())
    return torch.cat(scores).reshape(count, channels)
