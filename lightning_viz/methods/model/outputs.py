"""A model's output: its logits, and one target score per image."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .final_activation import recording_activations, scores_before_activation

#: What to explain: the predicted class (None), one class for all images, one class per image, or a callable from the
#: model's raw output to scores of shape (B,). Of a single logit, a tensor of bool (B,) chooses the side: False its negative.
Target = None | int | Sequence[int] | Tensor | Callable[[Any], Tensor]

_KEYS = ("logits", "out", "output", "preds")


def logits(output: Any) -> Tensor:
    """The tensor of scores in a model's output.

    Accepts a tensor, an object with `.logits` (torchvision's Inception, Hugging Face), a dict with one of the keys
    "logits", "out" (torchvision's segmentation models), "output" and "preds", or a tuple or list whose first item is one
    of those. Raises TypeError for anything else.
    """
    if (found := _find_logits(output)) is not None:
        return found
    raise TypeError(
        f"the model returned {_describe(output)}, which holds no logits; return a tensor, a tuple, a dict with one of the "
        f"keys {_KEYS} or an object with .logits, or give target= a callable from this output to scores of shape (B,)"
        f"{_example_target(output)}"
    )


def has_logits(output: Any) -> bool:
    """Whether `logits` finds scores in a model's output."""
    try:
        return logits(output) is not None
    except TypeError:
        return False


def _find_logits(output: Any) -> Tensor | None:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return next((_find_logits(output[key]) for key in _KEYS if key in output), None)
    if hasattr(output, "logits"):
        return _find_logits(output.logits)
    return _find_logits(output[0]) if isinstance(output, tuple | list) and output else None


def _describe(output: Any) -> str:
    if isinstance(output, Mapping):
        return f"a dict with the keys {sorted(map(str, output))}"
    if isinstance(output, tuple | list) and output:
        return f"a {type(output).__name__}, and in it first {_describe(output[0])}"
    return type(output).__name__


def _example_target(output: Any) -> str:
    """Such a callable, where one can be told: the scores of all objects that are detected, or one number of a dict."""
    if isinstance(output, tuple | list) and output and isinstance(output[0], Mapping) and "scores" in output[0]:
        return ', such as lambda output: torch.stack([one["scores"].sum() for one in output])'
    for key, value in output.items() if isinstance(output, Mapping) else ():
        if isinstance(value, Tensor) and value.is_floating_point() and value.ndim in (1, 2):
            return f", such as lambda output: output[{key!r}]{'[:, 0]' if value.ndim == 2 else ''}"
    return ""


def target_scores(output: Any, target: Target, *, whole: bool = False, checked: bool = False) -> Tensor:
    """The score to explain, one per image: (B,).

    Of a model that returns probabilities, the score before its softmax or sigmoid, where it was recorded (see
    `final_activation`); else, of probabilities of classes, their logarithm.

    One logit, (B,) or (B, 1), is that score, whatever the class index; a target of bool says for which images it is the
    negative logit. Of scores at every position (B, K, h, w), such as a segmentation, it is the sum of the class's scores
    over the positions where it is predicted, divided by the number of all positions; with `whole`, or where it is
    predicted nowhere, over all. The predicted class is there that of the largest region, 0 only where there is no other.
    Indices that are `checked`, as those of `fixed_target`, are not read again: reading them waits for the device.
    Raises ValueError where `target` does not fit the output, TypeError where the output holds no logits.
    """
    if callable(target):
        scores = target(output)
        if not isinstance(scores, Tensor) or scores.ndim != 1:
            shape = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise ValueError(f"target= returned {shape}; it must return one score per image, a tensor of shape (B,)")
        return scores
    scores, indices = _scores_and_indices(output, target, whole, checked)
    if indices.dtype == torch.bool:
        return scores[:, 0] * torch.where(indices, 1, -1)
    return scores.gather(1, indices[:, None])[:, 0]


def fixed_target(model: nn.Module, images: Tensor, target: Target) -> Target:
    """Class indices (B,), by one forward pass of these images, or the callable itself. Raises as `target_scores`.

    Of a single logit the sides, bool (B,).
    """
    if callable(target):
        return target
    with torch.no_grad(), recording_activations():
        return target_indices(model(images.clone()), target)


def target_indices(output: Any, target: None | int | Sequence[int] | Tensor) -> Tensor:
    """The class indices (B,) of a target for this output; of a single logit the sides, bool (B,). Raises as `target_scores`."""
    return _scores_and_indices(output, target)[1]


def slice_target(target: Target, part: slice) -> Target:
    """The target for a slice of the images."""
    return target[part] if isinstance(target, Tensor | Sequence) else target


def repeat_target(target: Target, times: int) -> Target:
    """The fixed target for a batch repeated `times` times."""
    return target.repeat(times) if isinstance(target, Tensor) else target


def _scores_and_indices(
    output: Any, target: None | int | Sequence[int] | Tensor, whole: bool = False, checked: bool = False
) -> tuple[Tensor, Tensor]:
    """Scores (B, K), and class indices (B,); of a single logit (B, 1), and bool (B,)."""
    scores, largest = scores_before_activation(logits(output)), None
    if scores.ndim == 4:
        largest, _ = largest_regions(scores)
        scores = _region_scores(scores, whole)
    elif scores.ndim == 1:
        scores = scores[:, None]
    if scores.ndim != 2:
        raise ValueError(
            f"the model's output has the shape {tuple(scores.shape)}, not (B, classes); "
            "give target= a callable from the output to one score per image"
        )
    batch, classes = scores.shape
    if classes == 1:
        if isinstance(target, Tensor) and target.dtype == torch.bool and target.shape == (batch,):
            return scores, target.to(scores.device)
        _check_is_numbers(target)
        return scores, scores.new_ones(batch, dtype=torch.bool)
    if target is None:
        return scores, scores.argmax(dim=1) if largest is None else largest
    if checked and isinstance(target, Tensor):
        return scores, target.to(scores.device)
    return scores, _class_indices(target, batch, classes).to(scores.device, non_blocking=True).expand(batch)


def _class_indices(target: Any, batch: int, classes: int) -> Tensor:
    """Class indices, () or (B,), int64, of which each is one of the classes. They are read once."""
    _check_is_numbers(target)
    indices = torch.as_tensor(target)
    if indices.is_floating_point() or indices.ndim > 1 or (indices.ndim == 1 and len(indices) != batch):
        raise ValueError(
            f"target of shape {tuple(indices.shape)} and type {indices.dtype} does not fit {batch} images; "
            "give one class index, or one per image"
        )
    known = indices.reshape(-1).tolist()
    if not all(0 <= one < classes for one in known):
        raise ValueError(f"target={indices.tolist()} is outside the model's {classes} classes, 0 to {classes - 1}")
    return indices.long()


def _check_is_numbers(target: Any) -> None:
    """Raises ValueError for what cannot be class indices, such as the name of a class."""
    named = isinstance(target, str) or (isinstance(target, Sequence) and any(isinstance(one, str) for one in target))
    try:
        if not named:
            torch.as_tensor(0 if target is None else target)
            return
    except (TypeError, ValueError, RuntimeError):
        pass
    text = repr(target)
    shown = text if len(text) <= 80 else f"<{type(target).__name__}>"
    raise ValueError(
        f"target={shown} is no class index; give "
        f"{'the number that the model has for that name' if named else 'a whole number, or one per image'}, or a "
        "callable from the model's output to scores of shape (B,)"
    )


def largest_regions(scores: Tensor, activated: bool = False) -> tuple[Tensor, Tensor]:
    """The class that is predicted at most positions of scores (B, K, ...), and its share of them: (B,) each.

    Class 0, most often the background, only where no other is predicted. One channel has two classes, 0 and 1; it is a
    probability where `activated`.
    """
    shares = _predicted(scores, activated).float().flatten(2).mean(dim=2)
    others = shares.clone()
    others[:, 0] = 0
    classes = others.argmax(dim=1).where(others.any(dim=1), 0)
    return classes, shares.gather(1, classes[:, None])[:, 0]


def _predicted(scores: Tensor, activated: bool = False) -> Tensor:
    """Where each class is predicted: (B, K, ...) bool; two classes where there is one channel."""
    if scores.shape[1] == 1:
        positive = scores.detach() > (0.5 if activated else 0)
        return torch.cat([~positive, positive], dim=1)
    winner = scores.detach().argmax(dim=1, keepdim=True)
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(1, winner, True)


def _region_scores(scores: Tensor, whole: bool) -> Tensor:
    """One score for each class, (B, K, h, w) -> (B, K), two where there is one channel."""
    where = _predicted(scores)
    scores = torch.cat([-scores, scores], dim=1) if scores.shape[1] == 1 else scores
    somewhere = where.flatten(2).any(dim=2)[:, :, None, None]
    return scores.where(where | ~somewhere | whole, 0).mean(dim=(2, 3))
