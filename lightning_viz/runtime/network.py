"""The network inside a LightningModule, and what it says of the probe."""

from collections.abc import Callable
from functools import partial
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods.model.batching import Portions
from lightning_viz.methods.model.outputs import logits
from lightning_viz.render import WRONG, Caption, Line, verdict

from .lightning_compat import pl

#: A user's own way from the LightningModule and images to its output.
Forward = Callable[[pl.LightningModule, Tensor], Any]


class _Forwarded(nn.Module):
    """A module whose forward is a user's callable; its layers keep their names."""

    def __init__(self, module: pl.LightningModule, forward: Forward) -> None:
        super().__init__()
        for name, child in module.named_children():
            self.add_module(name, child)
        self._call: Callable[[Tensor], Any] = partial(forward, module)

    def forward(self, images: Tensor) -> Any:
        """The user's output for these images."""
        return self._call(images)


def find_network(module: pl.LightningModule, forward: Forward | None) -> nn.Module:
    """What to call with images: `forward` if given, the LightningModule's own, or else its one submodule with weights.

    Raises ValueError where there is none of these, or more than one such submodule.
    """
    if forward is not None:
        return _Forwarded(module, forward)
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


def truths(probe: Probe) -> list[Caption]:
    """The true class of each picture, where it is known."""
    return [()] * len(probe) if probe.labels is None else [(Line(probe.name(i)),) for i in probe.labels.tolist()]


@torch.no_grad()
def verdicts(network: nn.Module, probe: Probe, portions: Portions) -> list[Caption]:
    """What the network says of each picture."""
    said = portions.each(lambda part: spoken(network(probe.images[part]), probe.part(part)), len(probe))
    return [caption for captions in said for caption in captions]


def spoken(output: Any, probe: Probe) -> list[Caption]:
    """The class that an output for the probe predicts for each picture, and its probability.

    An output that is no distribution over classes (one value, a mask) predicts none: the captions are empty.
    """
    try:
        scores = logits(output).float()
    except TypeError:  # no logits in the output: a callable target knows what to make of it
        return [()] * len(probe)
    if scores.ndim != 2 or scores.shape[1] < 2:
        return [()] * len(probe)
    labels = [None] * len(probe) if probe.labels is None else [probe.name(label) for label in probe.labels.tolist()]
    highest, classes = chances(scores).max(dim=1)
    return [
        verdict(label, probe.name(predicted), chance) if isfinite(chance) else (Line("output is not finite", WRONG),)
        for label, predicted, chance in zip(labels, classes.tolist(), highest.tolist(), strict=True)
    ]


def chances(scores: Tensor) -> Tensor:
    """The probabilities (B, K) that scores (B, K) stand for: their softmax, or themselves where they are such."""
    scores = scores.float()
    are_chances = bool((scores >= 0).all() and ((scores.sum(dim=1) - 1).abs() < 1e-3).all())
    return scores if are_chances else scores.softmax(dim=1)
