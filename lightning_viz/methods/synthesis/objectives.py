"""The score that an image is synthesised for: that of a class, or the activation of a unit, a channel or a layer."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_viz.methods.features.unit import check_position
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.layers import layer_maps, resolve_layer
from lightning_viz.methods.model.modes import capture
from lightning_viz.methods.model.outputs import target_scores

#: A class, several, or a callable from the model's raw output to scores of shape (B,); None for a layer's activation.
SynthesisTarget = None | int | Sequence[int] | Tensor | Callable[[Any], Tensor]

#: A row and a column of a layer's feature maps, the middle one, or the mean over all (None).
Position = tuple[int, int] | Literal["middle"] | None


class ClassScores:
    """The score before the softmax of each image's class (N,), and the output of `layer`, if given, (N, K, h, w)."""

    def __init__(self, model: nn.Module, target: Tensor | Callable[[Any], Tensor], layer: str | None = None) -> None:
        self.model, self.target = model, target
        self.layer = None if layer is None else resolve_layer(model, layer)

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.layer is None:
            return target_scores(self.model(inputs), self.target), None
        name, module = self.layer
        with capture(self.model, [name]) as outputs:
            scores = target_scores(self.model(inputs), self.target)
        return scores, layer_maps(module, outputs[name], inputs)


class LayerScores:
    """The activation of each image's channel of a layer, averaged or at a position, (N,), and its feature maps (N, K, h, w).

    Without `units` the mean square of the layer's output.
    """

    def __init__(self, model: nn.Module, layer: str, units: Tensor | None, position: Position) -> None:
        self.maps, self.units, self.position = FeatureMaps(model, layer), units, position

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features: Tensor = self.maps(inputs)
        maps, units, channels = features.float(), self.units, features.shape[1]
        if units is not None:
            if not 0 <= int(units.min()) <= int(units.max()) < channels:
                raise ValueError(
                    f"unit={units.tolist()} is outside the {channels} channels of layer={self.maps.layer!r}; "
                    f"give indices of 0 to {channels - 1}"
                )
            maps = maps[torch.arange(len(maps)), units][:, None]
        if self.position is not None:
            middle = maps.shape[2] // 2, maps.shape[3] // 2
            row, column = middle if self.position == "middle" else self.position
            check_position((row, column), maps, self.maps.layer)
            maps = maps[:, :, row : row + 1, column : column + 1]
        return (maps.square() if units is None else maps).mean(dim=(1, 2, 3)), features


Objective = ClassScores | LayerScores


def class_objective(
    model: nn.Module, target: SynthesisTarget, copies: int, example: Tensor | None
) -> tuple[Objective, list[int]]:
    """The objective for `copies` images of each class, class by class, and each image's class (0 for a callable).

    With an `example` (1, C, H, W) the objective also returns the features of the last spatial layer.
    Raises ValueError for a target that is neither a callable nor class indices.
    """
    head = target if callable(target) else None
    layer = None if example is None else find_layer(model, "last_spatial", example, head)
    if callable(target):
        return ClassScores(model, target, layer), [0] * copies
    classes = _indices(target, "target").repeat_interleave(copies)
    return ClassScores(model, classes, layer), classes.tolist()


def layer_objective(
    model: nn.Module, layer: str, unit: int | Sequence[int] | None, position: Position, copies: int
) -> tuple[Objective, list[int]]:
    """The objective for `copies` images of each unit of a layer, and each image's unit (0 for the whole layer).

    Raises ValueError for an unknown layer, or a unit or position of another kind.
    """
    if position is not None and position != "middle" and (isinstance(position, str) or len(position) != 2):
        raise ValueError(f"position={position!r} is invalid; give (row, column), 'middle', or None for the mean")
    units = None if unit is None else _indices(unit, "unit").repeat_interleave(copies)
    return LayerScores(model, layer, units, position), [0] * copies if units is None else units.tolist()


def gram_similarity(features: Tensor, copies: int) -> Tensor:
    """The mean similarity of each image's features (N, K, h, w) to those of its target's other copies: (N,), 0 to 1.

    The cosine of the Gram matrices of their channels, over at most 8×8 positions: Olah et al. 2017, "Diversity".
    """
    height, width = (min(8, side) for side in features.shape[2:])
    pooled = nn.functional.adaptive_avg_pool2d(features.float(), (height, width))
    groups = pooled.reshape(-1, copies, features.shape[1], height * width)
    # The inner product of two Gram matrices F F' is the squared norm of a matrix F' F, which is much smaller.
    products = torch.einsum("nikp,njkq->nijpq", groups, groups).square().sum(dim=(3, 4))
    norms = products.diagonal(dim1=1, dim2=2).clamp(min=1e-12).sqrt()
    cosines = products / norms[:, :, None] / norms[:, None]
    return (cosines.sum(dim=2) - cosines.diagonal(dim1=1, dim2=2)).flatten() / max(copies - 1, 1)


def _indices(values: Any, name: str) -> Tensor:
    indices = torch.as_tensor(values)
    if indices.is_floating_point() or indices.dtype == torch.bool or indices.ndim > 1 or not indices.numel():
        raise ValueError(f"{name}={values!r} is invalid; give one whole number, or a list of them")
    return indices.long().reshape(-1).detach().cpu()
