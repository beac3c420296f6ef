"""Borrowing a model without leaving a trace: its mode, its gradients, its layers' outputs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .layers import resolve_layer

_RUN = ("forward", "validation_step", "test_step")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode with gradients on; every module's own train flag comes back, frozen ones stay frozen.

    Flags are set directly: a user's `train()` may do more than set them (merge weights, freeze layers). Compiled models
    run as they were written: compiled code skips hooks, and would be compiled anew for evaluation.
    """
    flags = [(module, module.training) for module in model.modules()]
    caching = torch.is_autocast_cache_enabled()
    try:
        for module, _ in flags:
            module.training = False
        # Weights that autocast has cast without gradients must not be used where there are some, nor the other way round.
        torch.set_autocast_cache_enabled(False)
        # Validation runs in inference mode or under no_grad, depending on the strategy: leave both.
        with torch.inference_mode(False), torch.enable_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        torch.set_autocast_cache_enabled(caching)
        for module, flag in flags:
            module.training = flag


def is_compiled(model: nn.Module) -> bool:
    """Whether `torch.compile` has taken any part of it, a module or a method that runs one: it has hooks that are added
    later skipped, or compiles anew for them."""
    return any(
        hasattr(part, "_orig_mod")
        or part._compiled_call_impl is not None
        or any(hasattr(getattr(part, name, None), "_torchdynamo_orig_callable") for name in _RUN)
        for part in model.modules()
    )


@contextmanager
def capture(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Outputs of the named layers by their resolved names, filled in by a forward pass inside the context.

    The tensors are part of the graph, so a score can be differentiated with respect to them. A layer that runs
    several times leaves its last output; one that returns no tensor leaves none.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> Any:
        if not isinstance(output, Tensor):
            return output
        if torch.is_grad_enabled() and not output.requires_grad and output.is_floating_point():
            output = output.detach().requires_grad_()  # everything upstream is frozen
        outputs.pop(name, None)  # so that the order is that of the last outputs
        outputs[name] = output
        # The next module gets a copy: an in-place ReLU must not overwrite what was captured.
        return output.clone()

    handles = []
    try:
        for layer in layers:
            name, module = resolve_layer(model, layer)
            handles.append(module.register_forward_hook(lambda _m, _i, output, name=name: keep(name, output)))
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def linear_inputs(model: nn.Module) -> Iterator[list[tuple[nn.Linear, Tensor]]]:
    """The linear layers and their inputs in the order they run; the last is the head and the embedding it reads."""
    inputs: list[tuple[nn.Linear, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, args: inputs.extend((module, one) for one in args[:1]))
        for module in model.modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        yield inputs
    finally:
        for hook in hooks:
            hook.remove()


def leaf(images: Tensor) -> Tensor:
    """A copy of the images to differentiate with respect to; the original stays out of the graph."""
    return images.detach().clone().requires_grad_()
