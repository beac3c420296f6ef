"""A model run up to one of its layers, and no further."""

from contextlib import suppress

from torch import Tensor, nn

from .activation_functions import NO_FUNCTION
from .capture import captured_output, differentiable, trace
from .layers import resolve_layer
from .modes import plain_tensor
from .token_order import placed_maps


class FeatureMaps(nn.Module):
    """A model up to a layer: images (B, C, H, W) to the layer's feature maps (B, K, h, w), vectors to (B, K, 1, 1).

    The maps are the layer's activation, after the activation function that directly follows it (see `capture`); nothing
    else after the layer runs. Of a layer that runs several times, such as one ReLU shared by a block, it is the last
    activation. The function and the number of runs are found once, with one image through the whole model.
    Raises ValueError for an unknown layer, and when called where the layer does not run or returns no feature maps;
    `argument` is where the caller gave the layer's name.
    """

    def __init__(self, model: nn.Module, layer: str, argument: str = "layer") -> None:
        super().__init__()
        self.layer, _ = resolve_layer(model, layer, argument)
        self.argument, self.described = argument, f"{argument}={self.layer!r}"
        self.model = model
        self._calls, self._function = 0, NO_FUNCTION  # of the layer in one pass, once they are found

    def forward(self, images: Tensor) -> Tensor:
        if not self._calls and (run := trace(self.model, images[:1], [self.layer]).get(self.layer)) is not None:
            self._calls, self._function = run.calls, run.function
        outputs: list[Tensor] = []

        def stop(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                outputs.append(output)
            if len(outputs) == self._calls:
                raise _Stop

        with self.model.get_submodule(self.layer).register_forward_hook(stop), suppress(_Stop):
            self.model(images)
        found = {} if not outputs else {self.layer: self._function(differentiable(plain_tensor(outputs[-1])))}
        output = captured_output(found, self.layer, self.described, images)
        return placed_maps(self.model, self.layer, output, images, self.argument, vectors=True)


class _Stop(BaseException):
    """Ends a forward pass early; not an Exception, which a model might catch."""
