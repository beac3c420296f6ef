"""Networks of uint8 images, which scale them themselves: called with floats of 0 to 255, as all methods do."""

from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .image_calls import with_forward
from .modes import plain_tensor

TOLERANCE = 0.01  #: relative, of the outputs of a module in a low precision


def byte_network(network: nn.Module, scale: float | None) -> nn.Module:
    """A network of uint8 images that takes floats of 0 to 255, under the names of its own layers.

    The network is given the uint8 images; where a gradient is needed, and for NaN, it is given floats, if it computes the
    same of them (see `find_float_scale`). Running it raises RuntimeError where it does not.
    """
    return with_forward(network, partial(_call_with_floats, network, scale))


def _call_with_floats(network: nn.Module, scale: float | None, images: Tensor) -> Any:
    if images.dtype == torch.uint8:
        return network(images)
    if not images.isnan().any() and not (images.requires_grad and torch.is_grad_enabled()):
        return network(images.round().clamp(0, 255).to(torch.uint8))
    if scale is None:
        raise RuntimeError(
            f"{type(network).__name__} takes uint8 images, and fails or computes something else for the same values as "
            "floats, so that no gradient reaches the images; scale them in forward whatever their type, or in the transforms"
        )
    return network(images * scale)


@torch.no_grad()
def find_float_scale(network: nn.Module, images: Tensor) -> float | None:
    """The factor by which floats of 0 to 255 give the outputs for the same uint8 images: 1, 1/255, or None for neither.

    `images` (B, C, H, W) are an example of the shape and the device. The outputs of all modules with weights count, since
    the scores of a head initialised to zero are always the same.
    """
    example = torch.arange(images[:1].numel(), device=images.device).remainder(256).reshape(images[:1].shape)
    expected = _all_outputs(network, example.to(torch.uint8))
    for scale in (1.0, 1 / 255):
        with suppress(Exception):  # of a network that takes no floats
            found = _all_outputs(network, example.to(torch.get_default_dtype()) * scale)
            if len(found) == len(expected) and all(map(_are_close, found, expected)):
                return scale
    return None


def _all_outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    """The outputs of the network and of all modules with weights, in the order they run."""
    outputs: list[Tensor] = []

    def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.is_floating_point():
            outputs.append(plain_tensor(output).detach().clone())

    with ExitStack() as hooks, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a network may draw random numbers
        for module in network.modules():
            if module is network or any(True for _ in module.parameters(recurse=False)):
                hooks.enter_context(module.register_forward_hook(record))
        network(images)
    return outputs


def _are_close(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    difference = (found.float() - expected.float()).nan_to_num().norm()
    return bool(difference <= TOLERANCE * expected.float().nan_to_num().norm())
