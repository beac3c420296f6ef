"""What collects results from the forward passes of a loop: the protocol, where it listens, what it gets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from lightning_viz.data.samplers import Positions
from lightning_viz.methods.model.activation_functions import NO_FUNCTION
from lightning_viz.methods.model.model_output import ModelOutput, OutputKind, OutputMeaning, class_indices


@dataclass(frozen=True)
class HookPoint:
    """A module whose output (or input) is reduced at once in every forward pass: it may be overwritten in place later."""

    module: nn.Module
    reduce: Callable[[Tensor, Tensor], Any]  #: from the activation and the images to what is kept until the batch ends
    of_input: bool = False
    function: Callable[[Tensor], Tensor] = NO_FUNCTION  #: from the output to what is reduced: the activation


@dataclass(frozen=True, eq=False)
class RecordedBatch:
    """A batch after its forward pass: images, labels, the network's scores and the values of the hook points."""

    images: Tensor  #: (B, C, H, W)
    labels: Tensor | None  #: class indices (B,), negative where unlabelled; or zeros and ones (B, K)
    scores: Tensor | None  #: (B, K) or (B,), where the network returns such
    values: Mapping[str, Any]  #: by hook point
    positions: Positions  #: in the data's order, (B,); -1 for a sample that a distributed sampler repeats
    loader: int = 0
    meaning: OutputMeaning | None = None  #: of the scores; by default decided by these alone

    def at(self, rows: Positions) -> "RecordedBatch":
        chosen = torch.from_numpy(rows).to(self.images.device)
        labels, scores = (None if one is None else one[chosen.to(one.device)] for one in (self.labels, self.scores))
        values = {name: value[chosen.to(value.device)] for name, value in self.values.items()}
        images, positions = self.images[chosen], self.positions[rows]
        return replace(self, images=images, labels=labels, scores=scores, values=values, positions=positions)

    @cached_property
    def output(self) -> ModelOutput:
        return ModelOutput.of(self.scores, None if self.scores is None else self.meaning)

    @property
    def classes(self) -> Tensor | None:
        """The labels as class indices (B,); None where the data have several labels, or none."""
        several = self.labels is None or self.output.kind is OutputKind.SEVERAL_LABELS
        return None if self.labels is None or several else class_indices(self.labels)

    @property
    def losses(self) -> Tensor:
        """The cross-entropy of each sample, see `ModelOutput.losses`; NaN where it has no label."""
        if self.labels is None:
            return torch.full((len(self.images),), torch.nan, dtype=torch.float32)
        return self.output.losses(self.labels)


class Accumulator(Protocol):
    """Collects something from the batches of a loop, in every process; the words are torchmetrics'.

    `hook_points` says where to listen, by a name of its own, found with a single image. `state` is what this process has
    collected, picklable and on the CPU; `merge_state` replaces it by the states of all processes together. `compute` gives
    the result so far, in the first process.
    """

    def hook_points(self, network: nn.Module, images: Tensor) -> Mapping[str, HookPoint]: ...
    def update(self, batch: RecordedBatch) -> None: ...
    def state(self) -> Any: ...
    def merge_state(self, states: Sequence[Any]) -> None: ...
    def compute(self) -> Any: ...
