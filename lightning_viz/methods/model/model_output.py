"""What a model's raw output means: the one place that decides it."""

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .outputs import logits


class OutputKind(Enum):
    """The meaning of an output."""

    CLASSES = "classes"  #: (B, K), scores of K >= 2 exclusive classes
    ONE_LOGIT = "one logit"  #: (B,) or (B, 1), a single score
    SEVERAL_LABELS = "several labels"  #: (B, K), independent labels
    DENSE = "dense"  #: (B, K, ...), scores at every position
    EMBEDDING = "embedding"  #: (B, D), a feature vector
    UNKNOWN = "unknown"  #: anything else: boxes, a scalar, an object without logits


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """A model's output with its meaning. Predictions and probabilities exist for `OutputKind.CLASSES` only."""

    kind: OutputKind
    scores: Tensor | None  #: the logits in the output, None where it holds none

    @classmethod
    def of(cls, output: Any, *, labels: Tensor | None = None, class_count: int | None = None) -> "ModelOutput":
        """The meaning of a model's raw output for a batch, by the shape of its logits (see `outputs.logits`).

        Scores (B, K), K >= 2, are classes, with two exceptions:

        - several labels, where `labels` is (B, K) with zeros and ones, but not one-hot.
        - an embedding, only where the caller gives `class_count`, which is less than K, and the scores are no
          probabilities. The number of class names is no such count: a head may have more classes than the data.
        """
        try:
            scores = logits(output)
        except TypeError:
            return cls(OutputKind.UNKNOWN, None)
        if scores.ndim == 0 or 0 in scores.shape[1:]:
            kind = OutputKind.UNKNOWN
        elif scores.ndim > 2:
            kind = OutputKind.DENSE
        elif scores.ndim == 1 or scores.shape[1] == 1:
            kind = OutputKind.ONE_LOGIT
        elif labels is not None and labels.shape == scores.shape and _are_multi_hot(labels):
            kind = OutputKind.SEVERAL_LABELS
        elif class_count and class_count < scores.shape[1] and not _are_probabilities(scores.float()):
            kind = OutputKind.EMBEDDING
        else:
            kind = OutputKind.CLASSES
        return cls(kind, scores)

    @cached_property
    def probabilities(self) -> Tensor | None:
        """Class probabilities (B, K), float32: the softmax of the scores, or the scores where they sum to 1 already."""
        if self.kind is not OutputKind.CLASSES or self.scores is None:
            return None
        scores = self.scores.float()
        return scores if _are_probabilities(scores) else scores.softmax(dim=1)

    @property
    def predictions(self) -> Tensor | None:
        return None if self.probabilities is None else self.probabilities.argmax(dim=1)

    def losses(self, labels: Tensor | None) -> Tensor:
        """The cross-entropy of each image, (B,), float32; NaN without classes or a label, or where it is not in [0, K)."""
        if self.scores is None or self.scores.ndim == 0:
            return torch.full((0 if labels is None else len(labels),), torch.nan)
        if self.kind is not OutputKind.CLASSES or labels is None or labels.shape != self.scores.shape[:1]:
            return self.scores.new_full(self.scores.shape[:1], torch.nan, dtype=torch.float32)
        known = (labels >= 0) & (labels < self.scores.shape[1])
        losses = nn.functional.cross_entropy(self.scores.float(), labels.long().where(known, 0), reduction="none")
        return losses.where(known, torch.nan)


def _are_probabilities(scores: Tensor) -> bool:
    return bool((scores >= 0).all() and ((scores.sum(dim=1) - 1).abs() < 1e-3).all())


def _are_multi_hot(labels: Tensor) -> bool:
    """Whether (B, K) holds zeros and ones alone, and not just a single one in each row."""
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(dim=1) != 1).any())
