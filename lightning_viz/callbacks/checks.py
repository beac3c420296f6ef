"""Arguments that cannot be meant, or do not fit the network: found before the first step, said with a remedy."""

from collections.abc import Sequence

import torch
from torch import nn

from lightning_viz.methods import Target
from lightning_viz.methods.outputs import target_of, target_scores
from lightning_viz.methods.portions import Portions

from .probe import Probe


def check_count(name: str, value: object, least: int, optional: bool = False) -> None:
    """Raise for a `value` that is not a whole number of at least `least` (or None, if optional)."""
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is {type(value).__name__}; give a whole number of {least} or more")
    if value < least:
        raise ValueError(f"{name}={value} is too small; give {least} or more")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise for a `value` that is none of these."""
    if not any(value is choice or (isinstance(choice, str) and value == choice) for choice in choices):
        *most, last = map(repr, choices)
        raise ValueError(f"{name}={value!r} is unknown; choose {', '.join(most)} or {last}")


def check_flag(name: str, value: object) -> None:
    """Raise for a `value` that is neither True nor False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is {type(value).__name__}; give True or False")


def check_callable(name: str, value: object) -> None:
    """Raise for a `value` that is neither None nor can be called."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}={value!r} is {type(value).__name__}; give a callable")


def check_target_argument(target: object) -> None:
    """Raise for a `target` that cannot be meant."""
    indices = target if isinstance(target, list) else [target]
    if target is None or target == "label" or callable(target):
        return
    if not indices or not all(isinstance(one, int) and not isinstance(one, bool) for one in indices):
        raise ValueError(f"target={target!r} is unknown; choose 'label', None, class indices or a callable")
    if min(indices) < 0:
        raise ValueError(f"target={target!r} is no class index; give 0 or more")


def check_target(network: nn.Module, probe: Probe, target: Target, portions: Portions) -> None:
    """Raise ValueError for a target that does not fit the network's output."""
    images = probe.images
    with torch.no_grad():
        portions.each(lambda part: target_scores(network(images[part]), target_of(target, part)), len(images))


def runs(network: nn.Module, probe: Probe) -> bool:
    """Whether the network goes through with these pictures."""
    try:
        with torch.no_grad():
            network(probe.images)
    except Exception:
        return False
    return True


def check_probe(network: nn.Module, probe: Probe) -> None:
    """Raise ValueError for a probe that does not go through the network, or that names fewer classes than it has."""
    try:
        with torch.no_grad():
            output = network(probe.images)
    except Exception as error:
        raise ValueError(
            f"probe images of the shape {tuple(probe.images.shape[1:])} do not go through {type(network).__name__}: "
            f"{error}; give pictures of the shape that the model is trained on"
        ) from error
    if probe.class_names is not None and isinstance(output, torch.Tensor) and output.ndim == 2:
        classes = output.shape[1]
        if len(probe.class_names) < classes:
            raise ValueError(
                f"class_names has {len(probe.class_names)} names, and the model {classes} classes; give a name for each"
            )
