"""The network inside a LightningModule, and whether arguments fit it."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods.model.byte_images import byte_network, find_float_scale
from lightning_viz.methods.model.image_calls import (
    call_alone,
    call_with_gradient,
    call_with_scores,
    describe_forward,
    has_gradient,
    is_of_whole_batch,
    needs_more,
    with_forward,
)

from .lightning_compat import pl

#: A custom function from the LightningModule and images to the network's output.
Forward = Callable[[pl.LightningModule, Tensor], Any]

#: Errors of torch and of `synthesize` where a part of the network ran without gradients.
_WITHOUT_GRADIENT = re.compile(
    "does not require grad|not have been used in the graph|Inference tensors cannot be saved|none that can be differentiated"
    "|does not depend on the images"
)


class NetworkError(TypeError):
    """The network cannot be used with images alone. It is the cause for all callbacks that need it."""


@dataclass(frozen=True)
class _Trial:
    """What a first run of the network with one image has shown."""

    keyword: str | None = None  #: by which it takes images; None for its first argument
    failure: str | None = None  #: why it cannot run with images alone, and the remedy
    no_scores: str | None = None  #: why its output has no scores, and the remedy
    fits_no_images: bool = False  #: whether it fails for any images, not just for these

    def apply(self, network: nn.Module) -> nn.Module:
        """The network as it can be called with images."""
        if self.failure is not None:
            return with_forward(network, partial(_fail, self.failure))
        called = network if self.keyword is None else with_forward(network, partial(_by_keyword, network, self.keyword))
        if self.no_scores is None:
            return called
        return with_forward(called, partial(_without_scores, called, self.no_scores))


class Networks:
    """The network of a LightningModule for each `forward=`, tried once in a run."""

    def __init__(self) -> None:
        self._trials: WeakKeyDictionary[nn.Module, dict[int | str, _Trial]] = WeakKeyDictionary()
        self._scales: WeakKeyDictionary[nn.Module, dict[int, float | None]] = WeakKeyDictionary()

    def begin_run(self) -> None:
        self._trials.clear()
        self._scales.clear()

    def of(self, module: pl.LightningModule, forward: Forward | None, images: Tensor | None) -> nn.Module:
        """`find_network`, as it can be called with images; the first time, the first of these is run. Call under the guard.

        Where none is found, or it cannot run with images alone, running it raises NetworkError; its weights can be read
        nevertheless. Without images, for who reads weights only, nothing is tried.
        """
        trials = self._trials.setdefault(module, {})
        try:
            network = find_network(module, forward)
        except ValueError as error:
            return self._not_found(str(error), module, images).apply(module)
        if images is None:
            return network
        if id(forward) not in trials:
            trials[id(forward)] = _try(module, network, forward, images[:1])
        return trials[id(forward)].apply(network)

    def for_probe(self, module: pl.LightningModule, forward: Forward | None, probe: Probe | None) -> nn.Module:
        """The network as the methods call it, with the images of a probe; see `of`."""
        network = self.of(module, forward, None if probe is None else probe.given_images)
        if probe is None or not probe.in_bytes:
            return network
        scales = self._scales.setdefault(module, {})
        if id(forward) not in scales:
            scales[id(forward)] = find_float_scale(network, probe.images)
        return byte_network(network, scales[id(forward)])

    def _not_found(self, why: str, module: pl.LightningModule, images: Tensor | None) -> _Trial:
        trials = self._trials[module]
        if images is not None and why not in trials:
            call = call_with_scores(module, images[:1])
            example = "" if call is None else f"; give forward=lambda module, images: {call}"
            trials[why] = _Trial(failure=f"{why}{example}", fits_no_images=True)
        return trials.get(why, _Trial(failure=why))

    def check_probe(self, module: pl.LightningModule, forward: Forward | None, probe: Probe) -> None:
        """Raise ValueError for a given probe that does not fit, unless no images would."""
        network = self.of(module, forward, probe.given_images)
        trial = self._trials[module].get(id(forward))
        if trial is not None and not trial.fits_no_images:
            network = network if trial.failure is None else find_network(module, forward)
            check_probe(network, probe)


class _NoScores:
    """An output without scores: its layers can be looked at, and who asks for scores is told why there are none."""

    def __init__(self, why: str) -> None:
        self._why = why

    @property
    def logits(self) -> Tensor:
        raise NetworkError(self._why)


def _fail(why: str, images: Tensor) -> Any:
    raise NetworkError(why)


def _by_keyword(network: nn.Module, keyword: str, images: Tensor) -> Any:
    return network(**{keyword: images})


def _without_scores(network: nn.Module, why: str, images: Tensor) -> Any:
    network(images)
    return _NoScores(why)


def find_network(module: pl.LightningModule, forward: Forward | None) -> nn.Module:
    """What is called with images: `forward` if given, the LightningModule's own, or else its one submodule with weights.

    Raises ValueError where there is none of these, or more than one such submodule.
    """
    if forward is not None:
        return with_forward(module, partial(forward, module))
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


@torch.no_grad()
def _try(module: pl.LightningModule, network: nn.Module, forward: Forward | None, images: Tensor) -> _Trial:
    described = describe_forward(network) if forward is None else "forward="
    try:
        keyword, output = call_alone(network, images)
    except torch.OutOfMemoryError:
        return _Trial()  # batches are made smaller where it draws
    except Exception as error:
        shape = "×".join(map(str, images.shape[1:]))
        if forward is not None:
            remedy = "it is called with (module, images) and returns the network's output; correct it"
            return _Trial(failure=f"{described} does not run with images of {shape}: {_text(error)}; {remedy}")
        call = call_with_scores(module, images)
        failure = f"{described} does not run with images of {shape} alone: {_text(error)}; {_remedy(call)}"
        return _Trial(failure=failure, fits_no_images=needs_more(network) or call is not None)
    if output is None or is_of_whole_batch(output):
        what = "nothing" if output is None else "a single number for all images, such as a loss"
        remedy = "return scores" if forward is not None else _remedy(call_with_scores(module, images))
        return _Trial(keyword, no_scores=f"{described} returns {what}, and no scores for each image; {remedy}")
    return _Trial(keyword)


def _text(error: Exception) -> str:
    """An error in a line of bearable length."""
    lines = " ".join(str(error).split())
    return f"{type(error).__name__}: {lines if len(lines) <= 300 else lines[:300] + ' …'}"


def _remedy(call: str | None) -> str:
    if call is not None:
        return f"give forward=lambda module, images: {call}"
    return "give forward= a callable from (module, images) to the scores, such as lambda module, images: module.network(images)"


def _lacks_gradient(network: nn.Module, images: Tensor) -> bool:
    with suppress(Exception):
        return not has_gradient(network, images)
    return False


@contextmanager
def explained_gradients(
    module: pl.LightningModule, network: nn.Module, forward: Forward | None, probe: Probe | None
) -> Iterator[None]:
    """Where no gradient reaches the images, errors that come of it become one NetworkError, with cause and remedy."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        if probe is None or not _WITHOUT_GRADIENT.search(str(error)) or not _lacks_gradient(network, probe.images[:1]):
            raise
        call = call_with_gradient(module, network, probe.images[:1])
        remedy = "call its parts outside of torch.no_grad(), and without detach(), in a forward= of your own"
        what = f"{describe_forward(network) if forward is None else 'forward='} runs all or a part of the network under"
        why = f"no gradient of the scores reaches the images: {what} torch.no_grad(), as for a frozen backbone"
        raise NetworkError(f"{why}; {remedy if call is None else _remedy(call)}") from error


@torch.no_grad()
def check_probe(network: nn.Module, probe: Probe) -> None:
    """Raise ValueError for a probe on which the network does not run."""
    try:
        network(probe.given_images)
    except Exception as error:
        raise ValueError(
            f"{type(network).__name__} does not run on probe images of shape {tuple(probe.images.shape[1:])}: "
            f"{error}; give images of the shape that the model is trained on"
        ) from error
