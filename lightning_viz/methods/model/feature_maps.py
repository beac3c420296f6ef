"""A model run up to one of its layers, and no further."""

from contextlib import suppress

import torch
from torch import Tensor, nn

from .layers import resolve_layer
from .modes import capture, captured_output, evaluating
from .token_order import placed_maps


class FeatureMaps(nn.Module):
    """A model up to a layer: images (B, C, H, W) to the layer's feature maps (B, K, h, w), vectors to (B, K, 1, 1).

    Nothing after the layer runs, and the output is captured before an in-place ReLU can change it. Of a layer that
    runs several times, such as one ReLU shared by a block, it is the last output: the runs are counted once, with a
    forward pass of one image through the whole model.
    Raises ValueError for an unknown layer, and when called where the layer does not run or returns no feature maps;
    `argument` is where the caller gave the layer's name.
    """

    def __init__(self, model: nn.Module, layer: str, argument: str = "layer") -> None:
        super().__init__()
        self.layer, _ = resolve_layer(model, layer, argument)
        self.argument, self.described = argument, f"{argument}={self.layer!r}"
        self.model = model
        self._runs: int | None = None

    def forward(self, images: Tensor) -> Tensor:
        module = self.model.get_submodule(self.layer)
        if self._runs is None:
            runs: list[None] = []
            with evaluating(self.model), torch.no_grad(), module.register_forward_hook(lambda *_: runs.append(None)):
                self.model(images[:1].clone())
            self._runs = len(runs)
        left = self._runs

        def stop(*_: object) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise _Stop

        with capture(self.model, [self.layer]) as outputs, suppress(_Stop), module.register_forward_hook(stop):
            self.model(images)
        output = captured_output(outputs, self.layer, self.described, images)
        return placed_maps(self.model, self.layer, output, images, self.argument, vectors=True)


class _Stop(BaseException):
    """Ends a forward pass early; not an Exception, which a model might catch."""
