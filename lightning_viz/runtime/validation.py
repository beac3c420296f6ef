"""Arguments that cannot be meant, or do not fit the network: found before the first step, said with a remedy."""

from collections.abc import Mapping, Sequence
from math import isfinite

import torch
from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods import Target
from lightning_viz.methods.model.batching import Portions
from lightning_viz.methods.model.outputs import target_of, target_scores
from lightning_viz.render.text import clean

from .words import shown


def check_count(name: str, value: object, least: int, optional: bool = False) -> None:
    """Raise for a `value` that is not a whole number of at least `least` (or None, if optional)."""
    if value is None and optional:
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={shown(value)} is {type(value).__name__}; give a whole number of {least} or more")
    if value < least:
        raise ValueError(f"{name}={shown(value)} is too small; give {least} or more")


def check_share(name: str, value: object) -> None:
    """Raise for a `value` that is neither a share, above 0 and at most 1, nor None."""
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}={shown(value)} is {type(value).__name__}; give a share, such as 0.05, or None")
    if not 0 < value <= 1:
        raise ValueError(f"{name}={shown(value)} is no share; give a number above 0, at most 1, such as 0.05, or None")


def check_choice(name: str, value: object, choices: Sequence[object]) -> None:
    """Raise for a `value` that is none of these."""
    if not any(value is choice or (isinstance(value, str) and value == choice) for choice in choices):
        *most, last = map(repr, choices)
        raise ValueError(f"{name}={shown(value)} is unknown; choose {', '.join(most)} or {last}")


def check_flag(name: str, value: object) -> None:
    """Raise for a `value` that is neither True nor False."""
    if not isinstance(value, bool):
        raise TypeError(f"{name}={shown(value)} is {type(value).__name__}; give True or False")


def check_callable(name: str, value: object) -> None:
    """Raise for a `value` that is neither None nor can be called."""
    if value is not None and not callable(value):
        raise TypeError(f"{name}={shown(value)} is {type(value).__name__}; give a callable")


def check_target_argument(target: object) -> None:
    """Raise for a `target` that cannot be meant."""
    indices: list[object] = target if isinstance(target, list) else [target]
    if target is None or (isinstance(target, str) and target == "label") or callable(target):
        return
    whole = [one for one in indices if isinstance(one, int) and not isinstance(one, bool)]
    if not indices or len(whole) < len(indices):
        raise ValueError(f"target={shown(target)} is unknown; choose 'label', None, class indices or a callable")
    if min(whole) < 0:
        raise ValueError(f"target={shown(target)} is no class index; give 0 or more")


def check_tag(tag: object) -> None:
    """Raise for a `tag` that is neither None nor a name."""
    if tag is not None and not isinstance(tag, str):
        raise TypeError(f"tag={shown(tag)} is {type(tag).__name__}; give a word, or None for the default")
    if tag is not None and not clean(tag).strip("/ "):
        raise ValueError(f"tag={shown(tag)} is no name; give a word, or None for the default")


def check_indices(name: str, value: object, count: int | None = None) -> None:
    """Raise for what is neither None nor a list of indices, `count` of them."""
    if value is None:
        return
    if not isinstance(value, list) or not value:
        raise TypeError(
            f"{name}={shown(value)} is no list of indices; give a list of whole numbers of 0 or more, or None"
        )
    if count is not None and len(value) != count:
        raise ValueError(f"{name}={shown(value)} has {len(value)} indices; give {count}")
    for index in value:
        check_count(name, index, 0)


def check_layer(name: str, value: object) -> None:
    """Raise TypeError for a `value` that is neither None nor a name."""
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{name}={shown(value)} is {type(value).__name__}; give a dotted name, or None")


def check_options(name: str, value: object, taker: str, defaults: Mapping[str, object]) -> None:
    """Raise for a `value` that is neither None nor a dict of options of `taker`, each of its default's kind."""
    if value is None:
        return
    if not isinstance(value, dict):
        raise TypeError(f"{name}={shown(value)} is {type(value).__name__}; give a dict of options of {taker}, or None")
    if unknown := [one for one in value if one not in defaults]:
        known = [*defaults] or "none"
        raise ValueError(f"{name} has {shown(unknown)}, and {taker} takes {known}; give some of these")
    for option, one in value.items():
        if not _is_like(one, defaults[option]):
            kind = "an integer" if type(defaults[option]) is int else f"a value such as {defaults[option]!r}"
            raise TypeError(f"{name}[{option!r}]={shown(one)} is {type(one).__name__}; give {kind}")


def _is_like(value: object, default: object) -> bool:
    """Whether it is of the kind of an option's default: None stands for a number that is found where none is given."""
    if isinstance(default, bool):
        return isinstance(value, bool)
    if isinstance(default, tuple):
        return isinstance(value, list | tuple) and all(_is_like(one, default[0]) for one in value)
    if isinstance(value, Tensor) and not isinstance(default, int):
        return bool(value.isfinite().all())
    if value is None or isinstance(value, bool):
        return value is default
    return isinstance(value, int) or (isinstance(value, float) and not isinstance(default, int) and isfinite(value))


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
