"""Running a model without changing it: its mode, its gradients, the outputs of its layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .final_activation import recording_activations
from .layers import resolve_layer

#: The functions that ReLU, ReLU6 and Hardtanh are, however a model calls them.
RELUS: set[Callable[..., Any]] = {
    nn.functional.relu, nn.functional.relu_, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_,
    nn.functional.hardtanh, nn.functional.hardtanh_, nn.functional.relu6,
}  # fmt: skip


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode with gradients enabled; afterwards every module has its own train flag again.

    Flags are set directly, since a user's `train()` may do more than that (merge weights, freeze layers). Compiled models
    run uncompiled: compiled code skips hooks, and would be compiled again for evaluation.
    """
    flags = [(module, module.training) for module in model.modules()]
    caching = torch.is_autocast_cache_enabled()
    try:
        for module, _ in flags:
            module.training = False
        # Weights that autocast cast without gradients must not be reused where gradients are needed, and vice versa.
        torch.set_autocast_cache_enabled(False)
        # Validation runs in inference mode or under no_grad, depending on the strategy: leave both.
        with torch.inference_mode(False), torch.enable_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        torch.set_autocast_cache_enabled(caching)
        for module, flag in flags:
            module.training = flag


@contextmanager
def scoring(model: nn.Module) -> Iterator[None]:
    """`evaluating`, to explain a score: of probabilities the model returns it is known what they were computed from."""
    with evaluating(model), recording_activations():
        yield


def is_compiled(model: nn.Module) -> bool:
    """Whether `torch.compile` was applied to a module of the model, or to a method that runs one."""
    for module in model.modules():
        methods = [getattr(module, name, None) for name in ("forward", "validation_step", "test_step")]
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
            return True
        if any(hasattr(method, "_torchdynamo_orig_callable") for method in methods):
            return True
    return False


@contextmanager
def capture(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Outputs of the named layers by their full names, recorded by a forward pass inside the context.

    They are part of the graph, to differentiate with respect to. Of a layer that runs several times the last output is
    kept; a layer that returns no tensor is left out. Raises ValueError for an unknown layer.
    """
    outputs: dict[str, Tensor] = {}

    def record(name: str, output: Any) -> Any:
        if not isinstance(output, Tensor):
            return output
        output = plain_tensor(output)
        if torch.is_grad_enabled() and not output.requires_grad and output.is_floating_point():
            output = output.detach().requires_grad_()  # everything upstream is frozen
        outputs.pop(name, None)  # so that the keys are in the order of the last outputs
        outputs[name] = output
        # The next module gets a copy: an in-place ReLU must not overwrite the captured output.
        return output.clone()

    with ExitStack() as hooks:
        for layer in layers:
            name, module = resolve_layer(model, layer, "layers")
            hook = module.register_forward_hook(lambda _m, _i, output, name=name: record(name, output))
            hooks.enter_context(hook)
        yield outputs


def captured_output(outputs: Mapping[str, Tensor], layer: str, described: str, images: Tensor | None = None) -> Tensor:
    """The output that `capture` recorded of a layer.

    Raises ValueError where there is none or, with `images`, where it holds no row for each; `described` names the layer.
    """
    if layer not in outputs:
        raise ValueError(
            f"{described} did not run, or returns no tensor; choose a layer that the model's forward calls"
        )
    output = outputs[layer]
    if images is not None and output.shape[:1] != images.shape[:1]:
        found = f"{described} returns the shape {tuple(output.shape)} for {len(images)} images"
        raise ValueError(f"{found}; choose a layer that keeps the images apart")
    return output


@contextmanager
def linear_inputs(model: nn.Module) -> Iterator[list[tuple[nn.Linear, Tensor]]]:
    """The linear layers and their inputs in the order they run; the last pair is the head and its embedding."""
    inputs: list[tuple[nn.Linear, Tensor]] = []
    with ExitStack() as hooks:
        for module in model.modules():
            if isinstance(module, nn.Linear):
                hook = module.register_forward_pre_hook(
                    lambda module, args: inputs.extend((module, plain_tensor(x)) for x in args[:1])
                )
                hooks.enter_context(hook)
        yield inputs


def plain_tensor(values: Tensor) -> Tensor:
    """The same values and graph without the tensor's subclass, such as MONAI's MetaTensor and torchvision's Image."""
    kind = type(values)
    holds_others = hasattr(kind, "__tensor_flatten__")  # such as DTensor
    return values if kind is Tensor or holds_others else values.as_subclass(Tensor)


def leaf(images: Tensor) -> Tensor:
    """A copy of the images to differentiate with respect to; the original stays out of the graph."""
    return plain_tensor(images).detach().clone().requires_grad_()
