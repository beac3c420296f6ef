"""Running a model without changing it: its mode, its gradients, the outputs of its layers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .final_activation import recording_activations


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
    except RuntimeError as error:
        if "Checkpointing is not compatible with .grad()" not in str(error):
            raise
        raise ValueError(
            f"{type(model).__name__} uses reentrant checkpointing, which gives no gradient of its input; call "
            "torch.utils.checkpoint.checkpoint with use_reentrant=False, or turn checkpointing off in evaluation mode"
        ) from error
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


def plain_tensor(values: Tensor) -> Tensor:
    """The same values and graph without the tensor's subclass, such as MONAI's MetaTensor and torchvision's Image."""
    kind = type(values)
    holds_others = hasattr(kind, "__tensor_flatten__")  # such as DTensor
    return values if kind is Tensor or holds_others else values.as_subclass(Tensor)


def leaf(images: Tensor) -> Tensor:
    """A copy of the images to differentiate with respect to; the original stays out of the graph."""
    return plain_tensor(images).detach().clone().requires_grad_()


def tensors_in(output: Any) -> Iterator[Tensor]:
    """The tensors in nested tuples, lists and dicts."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping | tuple | list):
        for one in output.values() if isinstance(output, Mapping) else output:
            yield from tensors_in(one)
