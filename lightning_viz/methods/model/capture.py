"""The activations of layers, recorded in a forward pass: a layer's output after the activation function that follows it.

They are the same whether the function is called as a module or a function, and whether it works in place.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from .activation_functions import (
    ACTIVATIONS,
    NO_FUNCTION,
    ActivationFunction,
    is_activation,
    is_elementwise,
    may_be_activation,
)
from .layers import resolve_layer
from .modes import evaluating, plain_tensor, tensors_in

#: By model and layer, what `activation_functions` has found.
_FUNCTIONS: "WeakKeyDictionary[nn.Module, dict[str, ActivationFunction]]" = WeakKeyDictionary()
_PRODUCTS = frozenset(("bmm", "einsum", "matmul", "scaled_dot_product_attention"))


@dataclass(eq=False)
class LayerRun:
    """One run of a layer."""

    output: Tensor
    activation: Tensor
    function: ActivationFunction
    pools: bool = False  #: the output is that of a pooling
    is_matrix: bool = False  #: it is an operand or the result of an attention, such as its weights, query by key
    calls: int = 1  #: runs of the layer so far
    readers: int = 0  #: functions that have read the output


@dataclass(eq=False)
class _Seen:
    """What is known of a tensor in the pass."""

    runs: list[LayerRun] = field(default_factory=list)  #: of the layers that have returned it
    is_activated: bool = False
    pools: bool = False
    is_matrix: bool = False


@contextmanager
def capture(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Activations of the named layers by their full names, recorded by a forward pass inside the context.

    A layer's activation is its output after the activation function that directly follows it, where nothing else reads the
    output; of an activation module it is the module's own output. They are part of the graph, to differentiate with respect
    to. Of a layer that runs several times the last one is kept; a layer that returns no tensor is left out. Raises
    ValueError for an unknown layer.
    """
    with LayerTracer(model, layers) as tracer:
        yield tracer.activations


def trace(model: nn.Module, images: Tensor, layers: Iterable[str] | None = None) -> dict[str, LayerRun]:
    """The last runs of these layers, by default of all but activation modules, in the order they ran; without a graph."""
    with evaluating(model), torch.no_grad(), LayerTracer(model, layers) as tracer:
        model(images.clone())
    return tracer.runs if layers is not None else tracer.layers


def activation_functions(model: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, ActivationFunction]:
    """The functions from the outputs of layers to their activations, by the given names, found with one pass of `images`.

    For a caller who records while the model runs anyway: they are found once for each model. There is none for a layer that
    does not run.
    """
    known = _FUNCTIONS.setdefault(model, {})
    names = {layer: resolve_layer(model, layer, "layers")[0] for layer in layers}
    if missing := [name for name in names.values() if name not in known]:
        runs = trace(model, images, missing)
        known |= {name: runs[name].function if name in runs else NO_FUNCTION for name in missing}
    return {layer: known[name] for layer, name in names.items()}


def differentiable(output: Tensor) -> Tensor:
    """A layer's output, as a start of the graph where everything upstream is frozen."""
    if torch.is_grad_enabled() and not output.requires_grad and output.is_floating_point():
        return output.detach().requires_grad_()
    return output


def captured_output(outputs: Mapping[str, Tensor], layer: str, described: str, images: Tensor | None = None) -> Tensor:
    """The activation that `capture` recorded of a layer.

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


class LayerTracer(TorchFunctionMode):
    """Follows the outputs of layers by their identity, through the functions of torch that the model calls."""

    def __init__(self, model: nn.Module, layers: Iterable[str] | None) -> None:
        super().__init__()
        self.runs: dict[str, LayerRun] = {}
        self.activations: dict[str, Tensor] = {}
        names = [name for name, _ in model.named_modules() if name] if layers is None else layers
        self._modules = dict(resolve_layer(model, layer, "layers") for layer in names)
        self._custom = {name: one for name, one in model.named_modules() if name and may_be_activation(one)}
        self.activation_modules = {name for name, module in self._modules.items() if is_activation(module)}
        self._seen = WeakTensorKeyDictionary()
        self._input: tuple[Tensor, int, Tensor] | None = None  #: of the custom module that runs
        self._elementwise: dict[str, bool] = {}
        self._pauses = 0  # while we work ourselves, and inside custom activation modules
        self._hooks = ExitStack()

    def __enter__(self) -> "LayerTracer":
        for name, module in self._custom.items():
            self._hooks.enter_context(module.register_forward_pre_hook(self._start_custom))
            self._hooks.enter_context(module.register_forward_hook(partial(self._end_custom, name)))
        for name, module in self._modules.items():
            self._hooks.enter_context(module.register_forward_hook(partial(self._record, name)))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *details: Any) -> None:
        super().__exit__(*details)  # type: ignore[no-untyped-call]
        self._hooks.close()

    @property
    def layers(self) -> dict[str, LayerRun]:
        """The runs without those of activation modules."""
        return {name: run for name, run in self.runs.items() if name not in self.activation_modules}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options, name = {**(kwargs or {})}, getattr(func, "__name__", "").strip("_")
        if self._pauses:
            return func(*args, **options)
        if not args and "input" in options:
            args = (options.pop("input"),)
        first = self._find(args[0]) if args else _Seen()
        if name in ACTIVATIONS and first.runs:
            return self._activate(first, args[0], ActivationFunction(func, args[1:], options, is_linear=False))
        given = [(tensor, _version(tensor)) for tensor in tensors_in((args, options))]
        result = func(*args, **options)
        passed_on = any(result is tensor for tensor, _ in given)
        attends = not passed_on and _is_attention(name, args, options, result)
        if not passed_on and name != "detach" and any(one.is_floating_point() for one in tensors_in(result)):
            for tensor, _ in given:
                self._read(self._find(tensor), attends and tensor.ndim == result.ndim)
            if isinstance(result, Tensor):
                self._seen[result] = _Seen(
                    [], name in ACTIVATIONS, "pool" in name or (first.pools and name in ACTIVATIONS), attends
                )
        for tensor, version in given:
            if _version(tensor) != version:  # overwritten in place: no longer what layers returned
                self._read(self._find(tensor))
                self._seen[tensor] = _Seen([], name in ACTIVATIONS)
        return result

    def _activate(self, seen: _Seen, output: Tensor, function: ActivationFunction) -> Tensor:
        """Call the activation function of an output; a copy of the result is handed on, which may be overwritten."""
        copy = output.clone()
        activation = function(copy)
        in_place = activation is copy
        self._read(seen, activation=activation, function=replace(function, in_place=in_place))
        result = output.copy_(activation) if in_place else activation.clone()
        self._seen[result] = _Seen([], True, seen.pools)
        return result

    def _record(self, name: str, _module: nn.Module, _inputs: Any, output: Any) -> Any:
        """After a run of a layer: record its output, and hand on a copy, which an in-place function may overwrite."""
        if not isinstance(output, Tensor):
            return None
        seen = self._find(output)
        output, before = differentiable(plain_tensor(output)), self.runs.get(name)
        function = ActivationFunction(is_linear=not seen.is_activated)
        run = LayerRun(output, output, function, seen.pools, seen.is_matrix, before.calls + 1 if before else 1)
        for found in (self.runs, self.activations):
            found.pop(name, None)  # so that the keys are in the order of the last runs
        self.runs[name], self.activations[name] = run, output
        self._pauses += 1
        handed = output.clone()
        self._pauses -= 1
        runs = seen.runs if name in self.activation_modules else [*seen.runs, run]
        self._seen[handed] = replace(seen, runs=runs)
        return handed

    def _read(
        self,
        seen: _Seen,
        attends: bool = False,
        activation: Tensor | None = None,
        function: ActivationFunction | None = None,
    ) -> None:
        """A function reads the output of layers: the activation function that follows it, if it is the only one."""
        for run in seen.runs:
            run.is_matrix = run.is_matrix or attends
            if activation is not None and function is not None and not run.readers:
                run.activation, run.function = activation, function
            elif run.activation is not run.output:  # such as a residual connection reads the output itself
                run.activation, run.function = run.output, ActivationFunction()
            run.readers += 1
        self.activations |= {name: run.activation for name, run in self.runs.items() if run in seen.runs}

    def _find(self, value: Any) -> _Seen:
        found: _Seen | None = self._seen.get(value) if isinstance(value, Tensor) else None  # type: ignore[no-untyped-call]
        return _Seen() if found is None else found

    def _start_custom(self, _module: nn.Module, inputs: Any) -> None:
        tensors = [*tensors_in(inputs)]
        self._input = (tensors[0], _version(tensors[0]), tensors[0].detach()[:1].clone()) if len(tensors) == 1 else None
        self._pauses += self._input is not None

    def _end_custom(self, name: str, module: nn.Module, _inputs: Any, output: Any) -> Any:
        """After a run of a module that may be an activation function, whatever functions it is made of."""
        if self._input is None:
            return None
        (given, version, before), self._input = self._input, None
        seen, activation = self._find(given), output
        if isinstance(output, Tensor) and (output is not given or _version(given) != version):
            if name not in self._elementwise:
                self._elementwise[name] = output.shape == given.shape and is_elementwise(module.forward, before)
            if self._elementwise[name]:
                self.activation_modules.add(name)
                self._read(
                    seen, activation=output, function=ActivationFunction(module.forward, in_place=True, is_linear=False)
                )
                activation = output.clone() if seen.runs else output
                self._seen[activation] = _Seen([], True, seen.pools)
            else:
                self._read(seen)
                self._seen[output] = _Seen([], False, output.numel() < given.numel())
        self._pauses -= 1
        return activation


def _is_attention(name: str, args: tuple[Any, ...], options: Mapping[str, Any], result: Any) -> bool:
    """Whether a function is part of an attention: a softmax over the last dimension, or a product of matrices of activations."""
    if not isinstance(result, Tensor) or result.ndim < 3 or name not in _PRODUCTS | {"softmax"}:
        return False
    if name == "softmax":
        over = options.get("dim", args[1] if len(args) > 1 else None) in (-1, result.ndim - 1)
    else:
        factors = [one for one in tensors_in((args, options)) if one.is_floating_point()]
        alike = all(one.ndim == result.ndim and one.shape[:-2] == result.shape[:-2] for one in factors)
        over = alike and not any(isinstance(one, nn.Parameter) for one in factors)
    return over and (result.ndim > 3 or result.shape[-1] == result.shape[-2])


def _version(tensor: Tensor) -> int:
    """It grows when the tensor is overwritten."""
    return 0 if tensor.is_inference() else tensor._version
