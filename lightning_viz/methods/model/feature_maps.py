"""A model run as far as one of its layers, and no further."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .layers import channel_maps, resolve_layer
from .modes import capture, evaluating


class FeatureMaps(nn.Module):
    """A model up to a layer: images (B, C, H, W) to the layer's feature maps (B, K, h, w); a vector (B, K) is one place.

    Nothing after the layer runs, and what an in-place ReLU would make of its output is not seen. A layer that runs
    several times, as one ReLU shared by a block, is read at the last: how often it runs is counted once, by a pass of
    one image through the whole model.
    Raises ValueError for an unknown layer, and when called where the layer does not run or returns no feature maps.
    """

    def __init__(self, model: nn.Module, layer: str) -> None:
        super().__init__()
        self.layer, _ = resolve_layer(model, layer)
        self.model = model
        self._calls: int | None = None

    def forward(self, images: Tensor) -> Tensor:
        if self._calls is None:
            self._calls = self._count(images[:1])
        module = self.model.get_submodule(self.layer)
        with capture(self.model, [self.layer]) as outputs, _leaving_after(module, self._calls):
            self.model(images)
        if self.layer not in outputs:
            raise ValueError(
                f"layer={self.layer!r} did not run, or returns no tensor; choose a layer that the model's forward calls"
            )
        output = outputs[self.layer]
        if output.shape[:1] != images.shape[:1]:
            raise ValueError(
                f"layer={self.layer!r} returns the shape {tuple(output.shape)} for {len(images)} images; "
                "choose a layer that keeps the images apart"
            )
        return channel_maps(module, output, images)

    def _count(self, images: Tensor) -> int:
        """How often the layer runs in one forward pass."""
        calls: list[None] = []
        module = self.model.get_submodule(self.layer)
        hook = module.register_forward_hook(lambda *_: calls.append(None))
        try:
            with evaluating(self.model), torch.no_grad():
                self.model(images.clone())
        finally:
            hook.remove()
        return len(calls)


class _Left(BaseException):
    """The way out of a forward pass; no Exception, which a model might catch."""


@contextmanager
def _leaving_after(module: nn.Module, calls: int) -> Iterator[None]:
    """Ends the context, as if it were done, once the module has run so many times."""
    left = calls

    def leave(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise _Left

    hook = module.register_forward_hook(leave)
    try:
        yield
    except _Left:
        pass
    finally:
        hook.remove()
