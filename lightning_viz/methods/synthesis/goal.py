"""What is synthesised, one image (or several copies) for each goal, and how well the finished images reach it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.model_output import ModelOutput
from lightning_viz.methods.model.outputs import logits

from .objectives import class_objective, layer_objective


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
def class_probabilities(model: nn.Module, inputs: Tensor) -> Tensor | None:
    """The probabilities (N, K) of finished images (N, C, H, W), normalised; None where the output has no such meaning."""
    return ModelOutput.of(logits(model(inputs))).probabilities


@torch.no_grad()
def objective_values(model: nn.Module, goal: SynthesisGoal, inputs: Tensor, copies: int) -> Tensor:
    """What was maximised, for finished images (N, C, H, W), normalised: (N,)."""
    find = layer_objective if "layer" in goal.arguments else partial(class_objective, example=None)
    values: Tensor = find(model, **goal.arguments, copies=copies)[0](inputs)[0]
    return values
