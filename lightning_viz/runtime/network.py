"""The network inside a LightningModule, and whether arguments fit it."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods import Target
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.byte_images import ByteNetwork, find_float_scale
from lightning_viz.methods.model.outputs import slice_target, target_scores

from .lightning_compat import pl

#: A custom function from the LightningModule and images to the network's output.
Forward = Callable[[pl.LightningModule, Tensor], Any]


class _CustomForward(nn.Module):
    """A module whose forward is the user's callable; its layers keep their names."""

    def __init__(self, module: pl.LightningModule, forward: Forward) -> None:
        super().__init__()
        for name, child in module.named_children():
            self.add_module(name, child)
        self._call: Callable[[Tensor], Any] = partial(forward, module)

    def forward(self, images: Tensor) -> Any:
        return self._call(images)


def find_network(module: pl.LightningModule, forward: Forward | None) -> nn.Module:
    """What is called with images: `forward` if given, the LightningModule's own, or else its one submodule with weights.

    Raises ValueError where there is none of these, or more than one such submodule.
    """
    if forward is not None:
        return _CustomForward(module, forward)
    if type(module).forward.__qualname__ != "LightningModule.forward":  # each Lightning has a class of its own
        return module
    inner = [(name, child) for name, child in module.named_children() if any(True for _ in child.parameters())]
    if len(inner) == 1:
        return inner[0][1]
    raise ValueError(
        f"{type(module).__name__} has no forward() and {len(inner)} submodules with weights "
        f"({', '.join(name for name, _ in inner)}); define forward(images), or give forward= a callable from "
        "(module, images) to the output"
    )


def network_for(probe: Probe | None, network: nn.Module, cache: dict[Any, Any]) -> nn.Module:
    """The network as the methods call it with the images of a probe; the cache keeps what is found once."""
    if probe is None or not probe.in_bytes:
        return network
    if "float scale" not in cache:
        cache["float scale"] = find_float_scale(network, probe.images)
    return ByteNetwork(network, cache["float scale"])


@torch.no_grad()
def runs(network: nn.Module, images: Tensor) -> bool:
    """Whether the network runs with these images."""
    try:
        network(images)
    except Exception:
        return False
    return True


@torch.no_grad()
def check_target(network: nn.Module, images: Tensor, target: Target, auto_batch: AutoBatch) -> None:
    """Raise ValueError for a target that does not fit the network's output."""
    auto_batch.map(lambda part: target_scores(network(images[part]), slice_target(target, part)), len(images))


@torch.no_grad()
def check_probe(network: nn.Module, probe: Probe) -> None:
    """Raise ValueError for a probe on which the network does not run, or that names fewer classes than it has."""
    try:
        output = network(probe.images)
    except Exception as error:
        raise ValueError(
            f"{type(network).__name__} does not run on probe images of shape {tuple(probe.images.shape[1:])}: "
            f"{error}; give images of the shape that the model is trained on"
        ) from error
    classes = output.shape[1] if isinstance(output, Tensor) and output.ndim == 2 else 0
    if probe.class_names is not None and len(probe.class_names) < classes:
        names = f"class_names has {len(probe.class_names)} names"
        raise ValueError(f"{names}, and the model has {classes} classes; give a name for each")
