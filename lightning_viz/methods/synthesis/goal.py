"""What is synthesised: the score of a class, or the activation of a unit, a channel or a layer."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_viz.methods.features.unit import check_position
from lightning_viz.methods.model.capture import capture
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.find_layer import find_layer
from lightning_viz.methods.model.layers import layer_maps, resolve_layer
from lightning_viz.methods.model.model_output import ModelOutput, OutputMeaning
from lightning_viz.methods.model.modes import scoring
from lightning_viz.methods.model.outputs import target_scores

#: A class, several, or a callable from the model's raw output to scores of shape (B,); None for a layer's activation. Of a
#: single logit, bool: whether its positive side.
SynthesisTarget = None | int | Sequence[int] | Tensor | Callable[[Any], Tensor]

#: A row and a column of a layer's feature maps, the middle one, or the mean over all (None).
Position = tuple[int, int] | Literal["middle"] | None

#: From inputs (N, C, H, W) to scores (N,) and, where copies are compared, features (N, K, h, w).
Objective = Callable[[Tensor], tuple[Tensor, Tensor | None]]


def class_objective(
    model: nn.Module, target: SynthesisTarget, copies: int, example: Tensor | None
) -> tuple[Objective, list[int]]:
    """The score before the softmax for `copies` images of each class, class by class, and each image's class, or 0.

    With an `example` (1, C, H, W) the features are the output of the last spatial layer.
    Raises ValueError for a target that is neither a callable nor class indices.
    """
    head = target if callable(target) else None
    layer = None if example is None else resolve_layer(model, find_layer(model, "last_spatial", example, head))
    scored = target if callable(target) else _classes(target).repeat_interleave(copies)

    is_checked, on_device = False, scored

    def score(inputs: Tensor) -> Tensor:
        nonlocal is_checked, on_device
        scores = target_scores(model(inputs), on_device, whole=True, checked=is_checked)
        if not is_checked and isinstance(scored, Tensor):  # neither checked nor copied to the device at each step
            is_checked, on_device = True, scored.to(scores.device)
        return scores

    def objective(inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        if layer is None:
            return score(inputs), None
        name, module = layer
        with capture(model, [name]) as outputs:
            scores = score(inputs)
        return scores, layer_maps(module, outputs[name], inputs)

    return objective, [0] * copies if callable(scored) else scored.long().tolist()


def _classes(target: Any) -> Tensor:
    """Class indices; or bool, the sides of a single logit."""
    sides = torch.as_tensor(target).cpu()
    return sides.reshape(-1) if sides.dtype == torch.bool and sides.numel() else _indices(target, "target")


def layer_objective(
    model: nn.Module, layer: str, unit: int | Sequence[int] | None, position: Position, copies: int
) -> tuple[Objective, list[int]]:
    """The activation, averaged or at a position, for `copies` images of each unit of a layer, and each image's unit.

    Without a unit the mean square of the layer's output, and 0. The features are the layer's feature maps.
    Raises ValueError for an unknown layer, or a unit or position of another kind.
    """
    if position is not None and position != "middle" and (isinstance(position, str) or len(position) != 2):
        raise ValueError(f"position={position!r} is invalid; give (row, column), 'middle', or None for the mean")
    network = FeatureMaps(model, layer)
    units = None if unit is None else _indices(unit, "unit").repeat_interleave(copies)
    rows = units

    def objective(inputs: Tensor) -> tuple[Tensor, Tensor]:
        nonlocal rows
        features: Tensor = network(inputs)
        maps, channels = features.float(), features.shape[1]
        if units is not None and rows is not None:
            if not 0 <= int(units.min()) <= int(units.max()) < channels:
                raise ValueError(
                    f"unit={units.tolist()} is outside the {channels} channels of layer={network.layer!r}; "
                    f"give indices of 0 to {channels - 1}"
                )
            rows = rows.to(maps.device)  # copied at the first step only
            maps = maps[torch.arange(len(maps), device=maps.device), rows][:, None]
        if position is not None:
            row, column = (maps.shape[2] // 2, maps.shape[3] // 2) if position == "middle" else position
            check_position((row, column), maps, network.layer)
            maps = maps[:, :, row : row + 1, column : column + 1]
        return (maps.square() if units is None else maps).mean(dim=(1, 2, 3)), features

    return objective, [0] * copies if units is None else units.tolist()


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


@dataclass(frozen=True, eq=False)
class SynthesisGoal:
    """The arguments of `synthesize`, with a name for each target; `classes` are their indices where they are classes."""

    arguments: Mapping[str, Any]
    names: Sequence[str]
    classes: Sequence[int] | None = None

    def part(self, rows: slice) -> "SynthesisGoal":
        """Some of the targets."""
        arguments = {name: one[rows] if isinstance(one, list) else one for name, one in self.arguments.items()}
        return SynthesisGoal(arguments, self.names[rows], None if self.classes is None else self.classes[rows])


@torch.no_grad()
def class_probabilities(model: nn.Module, inputs: Tensor, meaning: OutputMeaning | None = None) -> Tensor | None:
    """The probabilities (N, K) of finished images (N, C, H, W), normalised; None where the output has no such meaning."""
    return ModelOutput.of(model(inputs), meaning).probabilities


def objective_values(model: nn.Module, goal: SynthesisGoal, inputs: Tensor, copies: int) -> Tensor:
    """What was maximised, for finished images (N, C, H, W), normalised: (N,)."""
    find = layer_objective if "layer" in goal.arguments else partial(class_objective, example=None)
    with scoring(model), torch.no_grad():
        values: Tensor = find(model, **goal.arguments, copies=copies)[0](inputs)[0]
    return values
