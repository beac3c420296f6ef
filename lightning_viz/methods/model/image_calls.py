"""How a network can be called with images alone: found by trying, applied, and said as code that can be pasted."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor, nn

from .modes import leaf
from .outputs import logits

#: Under which parameter or key images are given, the most telling first.
IMAGE_NAMES = ("pixel_values", "images", "image", "imgs", "img", "x", "inputs", "input")

_NAMED = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
_IN_ORDER = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD


@torch.no_grad()
def call_alone(network: nn.Module, images: Tensor) -> tuple[str | None, Any]:
    """The keyword by which the network takes images, None where they are its first argument; and its output.

    Raises TypeError where its signature needs more than images, or else what the network raises.
    """
    error: Exception | None = None
    for keyword in _keywords(network):
        try:
            given = images.clone()
            return keyword, network(given) if keyword is None else network(**{keyword: given})
        except torch.OutOfMemoryError:
            raise  # it is the right way, perhaps
        except Exception as failed:
            error = error or failed
    if error is None:
        needed = ", ".join(repr(one.name) for one in _parameters(network) if _is_required(one))
        raise TypeError(f"it needs the arguments {needed}")
    raise error


@torch.no_grad()
def runs(network: nn.Module, images: Tensor) -> bool:
    """Whether the network runs with these images."""
    try:
        network(images)
    except Exception:
        return False
    return True


class _Called(nn.Module):
    """A module whose forward is a callable of the images; its layers keep their names."""

    def __init__(self, module: nn.Module, forward: Callable[[Tensor], Any]) -> None:
        super().__init__()
        for name, child in module.named_children():
            self.add_module(name, child)
        self._forward = forward

    def forward(self, images: Tensor) -> Any:
        return self._forward(images)


def with_forward(module: nn.Module, forward: Callable[[Tensor], Any]) -> nn.Module:
    """The layers of a module under their own names, and a forward of images; errors mention the module's own class."""
    kind: type[_Called] = type(type(module).__name__, (_Called,), {})
    return kind(module, forward)


def describe_forward(network: nn.Module) -> str:
    """Such as "Lit.forward(x, y)": the parameters that must be given, and those that take any."""
    marks: dict[Any, str] = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    shown = [
        marks.get(one.kind, "") + one.name for one in _parameters(network) if _is_required(one) or one.kind in marks
    ]
    return f"{type(network).__name__}.forward({', '.join(shown)})"


def needs_more(network: nn.Module) -> bool:
    """Whether the signature asks for other arguments than images."""
    return not _keywords(network)


def call_with_scores(module: nn.Module, images: Tensor) -> str | None:
    """Code of a `module` and `images` that returns one row for each of these images (1, C, H, W), if any is found."""
    several = images.detach().repeat(3, 1, 1, 1)  # no pair that could be meant as (images, labels)

    @torch.no_grad()
    def works(code: str) -> bool:
        scores = logits(_run(code, module, several.clone()))
        return scores.ndim > 0 and len(scores) == len(several) and scores.is_floating_point()

    return _first(_calls_of_scores(module), works)


def call_with_gradient(module: nn.Module, network: nn.Module, images: Tensor) -> str | None:
    """Code that returns what `network` returns for these images, and through which they get a gradient, if any is found."""
    with torch.no_grad():
        expected = logits(network(images.clone()))

    def works(code: str) -> bool:
        run = partial(_run, code, module)
        with torch.no_grad():
            scores = logits(run(images.clone()))
        same = scores.shape == expected.shape and torch.allclose(scores, expected, rtol=1e-3, atol=1e-5)
        return same and has_gradient(run, images)

    return _first(_calls_of_parts(module), works)


def has_gradient(run: Callable[[Tensor], Any], images: Tensor) -> bool:
    """Whether the logits depend on the images in a way that can be differentiated."""
    pixels = leaf(images)
    scores = logits(run(pixels))
    if not scores.requires_grad:
        return False
    return torch.autograd.grad(scores.float().sum(), pixels, allow_unused=True)[0] is not None


def is_of_whole_batch(output: Any) -> bool:
    """Whether an output holds nothing for each image but only numbers of the whole batch, such as a loss."""
    if isinstance(output, Tensor):
        return output.ndim == 0
    parts = [*output.values()] if isinstance(output, Mapping) else output
    return isinstance(parts, list | tuple) and bool(parts) and all(map(is_of_whole_batch, parts))


def _run(code: str, module: nn.Module, images: Tensor) -> Any:
    return eval(code, {"module": module, "images": images})  # code of this file alone


def _first(codes: Iterator[str], works: Callable[[str], bool]) -> str | None:
    for code in codes:
        with suppress(Exception):  # whatever a module raises for what it is not made for
            if works(code):
                return code
    return None


def _parameters(network: nn.Module) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(network.forward).parameters.values())
    except (TypeError, ValueError):  # compiled code has none
        return [inspect.Parameter("images", inspect.Parameter.POSITIONAL_ONLY)]


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty and parameter.kind in (*_IN_ORDER, *_NAMED)


def _keywords(network: nn.Module) -> list[str | None]:
    """The ways in which the signature lets images be given alone, the most likely first."""
    parameters = _parameters(network)
    required = {one.name for one in parameters if _is_required(one)}
    first = next((one for one in parameters if one.kind in (*_IN_ORDER, inspect.Parameter.VAR_POSITIONAL)), None)
    named: list[str | None] = [
        one for one in IMAGE_NAMES if any(one == each.name and each.kind in _NAMED for each in parameters)
    ]
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        named += [one for one in IMAGE_NAMES if one not in named]
    named = [one for one in named if required <= {one}]
    if first is None or not required <= {first.name}:
        return named
    is_images = first.name in IMAGE_NAMES or not any(one.name in named for one in parameters)
    return [None, *named] if is_images else [*named, None]


def _calls_of_scores(module: nn.Module) -> Iterator[str]:
    yield "module(images.flatten(1))"
    if (others := sum(map(_is_required, _parameters(module))) - 1) > 0:
        yield f"module(images{', None' * others})"
    yield "module((images, None))"
    yield from (f'module({{"{name}": images}})' for name in IMAGE_NAMES)
    yield from (f"{part}(images)" for part in _parts("module", module))
    yield from (f"{part}(images.flatten(1))" for part in _parts("module", module))
    yield from ("module(images[:, None])", "module(images[:, :, None])")  # as videos of one frame


def _calls_of_parts(module: nn.Module) -> Iterator[str]:
    """Its parts one by one and in a chain; and a forward without its decorator, such as `@torch.no_grad()`."""
    for owner, part in {"module": module, **_parts("module", module)}.items():
        parts = list(_parts(owner, part))
        yield from (f"{one}(images)" for one in parts)
        features = reduce(lambda inner, one: f"{one}({inner})", parts[:-1], "images")
        yield from (f"{one}({features}{flat})" for one in parts[-1:] for flat in ("", ".flatten(1)"))
        yield f"{owner}.forward.__wrapped__({owner}, images)"


def _parts(owner: str, module: nn.Module) -> dict[str, nn.Module]:
    """The children that have weights, by the code that names them."""
    return {
        f"{owner}.{name}" if name.isidentifier() else f"{owner}.get_submodule({name!r})": child
        for name, child in module.named_children()
        if any(True for _ in child.parameters())
    }
