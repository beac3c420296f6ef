"""Gradients of a score with respect to the image: plain, averaged and guided."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from lightning_viz.methods.model.activation_functions import RELUS
from lightning_viz.methods.model.batching import group_variants, images_at_once
from lightning_viz.methods.model.images import as_images
from lightning_viz.methods.model.modes import leaf, scoring
from lightning_viz.methods.model.outputs import Target, fixed_target, repeat_target, target_scores

#: Of signed attributions (B, C, H, W): "abs_max" is the maximum magnitude over channels (B, H, W), None keeps them.
Reduce = Literal["abs_max"] | None


def saliency(model: nn.Module, images: Tensor, target: Target = None, *, reduce: Reduce = "abs_max") -> Tensor:
    """Absolute input gradient of the target score, maximum over channels: (B, C, H, W) -> (B, H, W), float32.

    Simonyan et al. 2014, "Deep inside convolutional networks", section 3. The score is taken before the softmax.
    `reduce=None` gives the signed gradient (B, C, H, W). The model is run in evaluation mode and not changed, nor `.grad`.
    """
    images = as_images(model, images, differentiable=True)
    with scoring(model):
        return reduce_channels(_gradients(model, images, target), reduce)


def smoothgrad(
    model: nn.Module,
    images: Tensor,
    target: Target = None,
    *,
    samples: int = 32,
    noise: float = 0.15,
    batch_size: int | None = None,
    seed: int = 0,
    reduce: Reduce = "abs_max",
) -> Tensor:
    """Signed gradients averaged over noisy copies, then as `saliency`. Smilkov et al. 2017, "SmoothGrad".

    `noise` is the standard deviation as a fraction of each image's range (section 3.2: 0.1 to 0.2). At most `batch_size`
    images, by default 16 on a CPU, else 64, but at least one copy of the batch, go through the model at once. A generator seeded by `seed` draws the noise, the same
    for all images: no map depends on the rest of the batch. Raises ValueError for `samples` below 1 or negative `noise`.
    """
    if samples < 1 or noise < 0:
        raise ValueError(f"samples={samples} and noise={noise} are invalid; give samples >= 1 and noise >= 0")
    images = as_images(model, images, differentiable=True)
    at_once = images_at_once(batch_size, images)
    with scoring(model):
        target = fixed_target(model, images, target)
        copies = (images + perturbation for perturbation in _noise(images, samples, noise, seed))
        return reduce_channels(_mean_gradients(model, copies, target, at_once), reduce)


def integrated_gradients(
    model: nn.Module,
    images: Tensor,
    target: Target = None,
    *,
    baseline: Tensor | float = 0.0,
    steps: int = 64,
    batch_size: int | None = None,
    reduce: Reduce = "abs_max",
) -> Tensor:
    """Gradients averaged on the straight path from a baseline, times the difference from it: (B, C, H, W) -> (B, H, W).

    Sundararajan et al. 2017, "Axiomatic attribution for deep networks", equation 3, by the midpoint rule, float32. With
    `reduce=None` the attributions of an image sum to its score minus the baseline's. The default baseline, zero, is the
    mean colour of normalised data, but black where images are 0 to 1: give their mean colour, (C, 1, 1); `batch_size` as in `smoothgrad`. Raises ValueError for `steps` below 1.
    """
    if steps < 1:
        raise ValueError(f"steps={steps} is too small; give 1 or more")
    images = as_images(model, images, differentiable=True)
    at_once = images_at_once(batch_size, images)
    with scoring(model):
        target = fixed_target(model, images, target)
        difference = images - torch.as_tensor(baseline, device=images.device, dtype=images.dtype)  # x - x'
        path = (images - difference * (1 - (k + 0.5) / steps) for k in range(steps))
        return reduce_channels(difference.float() * _mean_gradients(model, path, target, at_once), reduce)


def guided_backprop(model: nn.Module, images: Tensor, target: Target = None, *, reduce: Reduce = "abs_max") -> Tensor:
    """Gradients that pass each ReLU only where they are positive, otherwise as `saliency`.

    Springenberg et al. 2015, "Striving for simplicity", section 3.4. ReLU, ReLU6 and LeakyReLU are guided, as modules and
    functions; raises ValueError where the model runs none of these. It shows the image's edges more than what the network
    learned: the maps hardly change when the weights are randomised (Adebayo et al. 2018).
    """
    images = as_images(model, images, differentiable=True)
    with scoring(model), _GuidedReLUs() as relus:
        gradients = _gradients(model, images, target)
    if not relus.found:
        raise ValueError(f"{type(model).__name__} runs no ReLU to guide; use another method, such as 'smoothgrad'")
    return reduce_channels(gradients, reduce)


def _gradients(model: nn.Module, images: Tensor, target: Target, checked: bool = False) -> Tensor:
    pixels = leaf(images)
    scores = target_scores(model(pixels.clone()), target, checked=checked)  # S_c(I)
    (gradients,) = torch.autograd.grad(scores.sum(), pixels)  # w = dS_c/dI
    return gradients.float()


def _mean_gradients(model: nn.Module, variants: Iterable[Tensor], target: Target, batch_size: int) -> Tensor:
    """The mean gradient over variants of a batch, each (B, C, H, W)."""
    total: Any = 0.0
    count = 0
    for group in group_variants(variants, batch_size):
        gradients = _gradients(model, torch.cat(group), repeat_target(target, len(group)), checked=True)
        total = total + gradients.reshape(len(group), *group[0].shape).sum(dim=0)
        count += len(group)
    mean: Tensor = total / count
    return mean


def _noise(images: Tensor, samples: int, noise: float, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    extent = images.amax(dim=(1, 2, 3), keepdim=True) - images.amin(dim=(1, 2, 3), keepdim=True)
    for _ in range(samples):
        yield torch.randn(images.shape[1:], generator=generator).to(images, non_blocking=True) * noise * extent


def reduce_channels(attributions: Tensor, reduce: Reduce) -> Tensor:
    """Signed attributions (B, C, H, W) as maps: see `Reduce`."""
    return attributions if reduce is None else attributions.abs().amax(dim=1)  # M_ij = max_c |w_ijc|


_GUIDED = RELUS | {nn.functional.leaky_relu, nn.functional.leaky_relu_}


class _GuidedReLUs(TorchFunctionMode):
    """Clamps the gradient at the output of each ReLU, however the model calls it."""

    found = False

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _GUIDED and isinstance(result, Tensor) and result.requires_grad:
            self.found = True
            result.register_hook(lambda gradient: gradient.clamp(min=0))  # type: ignore[no-untyped-call]
        return result
