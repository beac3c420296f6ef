"""What a picture is painted for: the score of a class, or what a unit, a channel or a layer answers."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.layers import layer_maps, resolve_layer
from lightning_viz.methods.model.modes import capture
from lightning_viz.methods.model.outputs import target_scores

#: What to paint: a class, several, or a callable from the model's raw output to scores of shape (B,).
Goal = None | int | Sequence[int] | Tensor | Callable[[Any], Tensor]

#: A row and a column of a layer's feature maps, the middle one, or the mean over all (None).
Position = tuple[int, int] | Literal["middle"] | None


class ClassScores:
    """The score before the softmax of each picture's class: inputs (N, C, H, W) to (N,), and features (N, K, h, w).

    Features are those of `layer`, and None without.
    """

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
    """What each picture's channel of a layer answers, in the mean or at a place: inputs (N, C, H, W) to (N,).

    Without channels all of the layer: the mean of its squares. Its maps are the features, (N, K, h, w).
    """

    def __init__(self, model: nn.Module, layer: str, units: Tensor | None, position: Position) -> None:
        self.maps = FeatureMaps(model, layer)
        self.units, self.position = units, position

    def __call__(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        features: Tensor = self.maps(inputs)
        maps = features.float()
        if self.units is not None:
            maps = self._chosen(maps, self.units)
        maps = maps if self.position is None else self._place(maps, self.position)
        return (maps.square() if self.units is None else maps).mean(dim=(1, 2, 3)), features

    def _chosen(self, maps: Tensor, units: Tensor) -> Tensor:
        channels = maps.shape[1]
        if not 0 <= int(units.min()) <= int(units.max()) < channels:
            raise ValueError(
                f"unit={units.tolist()} is outside the {channels} channels of layer={self.maps.layer!r}; "
                f"give some of 0 to {channels - 1}"
            )
        return maps[torch.arange(len(maps)), units][:, None]

    def _place(self, maps: Tensor, position: tuple[int, int] | Literal["middle"]) -> Tensor:
        height, width = maps.shape[2:]
        row, column = (height // 2, width // 2) if position == "middle" else position
        if not (0 <= row < height and 0 <= column < width):
            raise ValueError(
                f"position={position} is outside the map of layer={self.maps.layer!r}, {height}×{width} places; "
                f"give a row of 0 to {height - 1} and a column of 0 to {width - 1}"
            )
        return maps[:, :, row : row + 1, column : column + 1]


Objective = ClassScores | LayerScores


def class_objective(model: nn.Module, target: Goal, copies: int, example: Tensor | None) -> tuple[Objective, list[int]]:
    """The objective for `copies` pictures of each class, class by class, and each picture's class (of a callable: 0).

    With an `example` (1, C, H, W) it tells the features of the last spatial layer, too.
    """
    layer = (
        None if example is None else find_layer(model, "last_spatial", example, target if callable(target) else None)
    )
    if callable(target):
        return ClassScores(model, target, layer), [0] * copies
    classes = _numbers(target, "target").repeat_interleave(copies)
    return ClassScores(model, classes, layer), classes.tolist()


def layer_objective(
    model: nn.Module, layer: str, unit: int | Sequence[int] | None, position: Position, copies: int
) -> tuple[Objective, list[int]]:
    """The same for a layer's units."""
    if position is not None and position != "middle" and (isinstance(position, str) or len(position) != 2):
        raise ValueError(f"position={position!r} is not one place; give (row, column), 'middle', or None for all")
    units = None if unit is None else _numbers(unit, "unit").repeat_interleave(copies)
    return LayerScores(model, layer, units, position), [0] * copies if units is None else units.tolist()


def likeness(features: Tensor, copies: int) -> Tensor:
    """How alike the features (N, K, h, w) of `copies` pictures in a row are, in the mean over pairs: (N,), 0 to 1.

    The cosine of the Gram matrices of their channels, over at most 8 × 8 places: Olah et al. 2017, "Diversity".
    """
    height, width = (min(8, side) for side in features.shape[2:])
    places = nn.functional.adaptive_avg_pool2d(features.float(), (height, width))
    groups = places.reshape(-1, copies, features.shape[1], height * width)
    # The product of two Gram matrices F F' is the square of F' F, which is much smaller.
    products = torch.einsum("nikp,njkq->nijpq", groups, groups).square().sum(dim=(3, 4))
    norms = products.diagonal(dim1=1, dim2=2).clamp(min=1e-12).sqrt()
    cosines = products / norms[:, :, None] / norms[:, None]
    return (cosines.sum(dim=2) - cosines.diagonal(dim1=1, dim2=2)).flatten() / max(copies - 1, 1)


def _numbers(values: Any, name: str) -> Tensor:
    """One whole number or several as a tensor (N,)."""
    numbers = torch.as_tensor(values)
    if numbers.is_floating_point() or numbers.dtype == torch.bool or numbers.ndim > 1 or not numbers.numel():
        raise ValueError(f"{name}={values!r} are no numbers of classes or channels; give one whole number or several")
    return numbers.long().reshape(-1).detach().cpu()
