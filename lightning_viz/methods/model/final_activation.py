"""The scores before a model's final softmax or sigmoid, for a model that returns probabilities."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ACTIVATIONS = frozenset(("softmax", "log_softmax", "sigmoid", "sigmoid_", "special_expit"))

#: Functions that change the shape or type of scores, and do to those before the activation what they do to it.
_PASSING_ON = frozenset(
    ("squeeze", "unsqueeze", "view", "reshape", "flatten", "__getitem__", "permute", "transpose", "swapaxes", "movedim",
     "clone", "contiguous", "as_subclass", "float", "double", "half", "bfloat16", "to", "type", "cpu", "detach", "cuda")
)  # fmt: skip
_NAMES = {"sigmoid_": "sigmoid", "special_expit": "sigmoid"}
_CLAMPING = frozenset(
    ("clamp", "clip", "clamp_min", "clamp_max")
)  # keeps log(p) finite; needless before the activation

_is_recording: ContextVar[bool] = ContextVar("_is_recording", default=False)


class FinalActivation(NamedTuple):
    """The activation function that a tensor comes from."""

    name: str  #: "softmax", "log_softmax" or "sigmoid"
    inputs: Tensor  #: the scores before it, of the same shape, in the graph


def final_activation(scores: Tensor) -> FinalActivation | None:
    """What these scores are the softmax, log-softmax or sigmoid of.

    None where they are of nothing such, where they were not computed inside `recording_activations`, or in TorchScript.
    """
    return getattr(scores, "_final_activation", None)


@contextmanager
def recording_activations() -> Iterator[None]:
    """A context in which `final_activation` is known of what a model returns, as a module or as a function."""
    if _is_recording.get():
        yield
        return
    token = _is_recording.set(True)
    try:
        with _Recording():
            yield
    finally:
        _is_recording.reset(token)


class _Recording(TorchFunctionMode):
    """Attaches to the latest result of an activation function what it was computed from."""

    _latest: Callable[[], Tensor | None] = staticmethod(lambda: None)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name in _ACTIVATIONS and args and isinstance(args[0], Tensor):
            inputs = args[0].clone() if name == "sigmoid_" else args[0]
            result = func(*args, **kwargs)
            if isinstance(result, Tensor):
                self._forget_latest()
                result._final_activation = FinalActivation(_NAMES.get(name, name), inputs)  # type: ignore[attr-defined]
                if result.ndim > 2:
                    self._latest = weakref.ref(result)
            return result
        result = func(*args, **kwargs)
        if (name in _PASSING_ON or name in _CLAMPING) and args and isinstance(result, Tensor):
            found: FinalActivation | None = getattr(args[0], "_final_activation", None)
            if found is not None and result is not args[0]:
                inputs = found.inputs if name in _CLAMPING else func(found.inputs, *args[1:], **kwargs)
                result._final_activation = FinalActivation(found.name, inputs)  # type: ignore[attr-defined]
        return result

    def _forget_latest(self) -> None:
        """That of an attention's softmax would take memory."""
        before = self._latest()
        if before is not None and hasattr(before, "_final_activation"):
            del before._final_activation


def scores_before_activation(scores: Tensor) -> Tensor:
    """The scores (B, ...) before the final softmax or sigmoid; those given where there is none.

    Where it is not known and rows (B, K) are probabilities of classes, their logarithm, which differs from the scores by a
    number for each image.
    """
    found = final_activation(scores)
    if found is not None:
        return found.inputs
    if scores.ndim != 2 or scores.shape[1] < 2 or not scores.is_floating_point():
        return scores
    # No `if`, since a GPU would wait for it.
    logarithm = scores.clamp_min(torch.finfo(scores.dtype).tiny).log()
    return torch.where(sum_to_one(scores), logarithm, scores)


def sum_to_one(scores: Tensor) -> Tensor:
    """Whether rows (B, K) are probabilities of classes, up to rounding: bool, ()."""
    values = scores.detach()
    tolerance = max(1e-3, torch.finfo(values.dtype).eps * min(values.shape[1], 8)) if values.is_floating_point() else 0
    return (values >= 0).all() & ((values.float().sum(dim=1) - 1).abs() < tolerance).all()
