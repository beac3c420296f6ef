"""What a model's raw output means: the one place that decides it."""

import re
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .final_activation import final_activation, sum_to_one
from .outputs import largest_regions, logits

IMAGENET = frozenset((1000, 21_841, 21_843))  # classes of pretrained networks, whose head may be left as it is
THRESHOLD = 0.5  # probability above which a label, or the positive class, is predicted

#: Operations that pass values on as they are, by the names of their nodes in the graph.
_PASSING_ON = re.compile(
    "(Unsafe)?(View|Squeeze|Unsqueeze|ReshapeAlias|Clone|Alias|Select|Slice|ToCopy|Clamp|Permute|T)"
)


class OutputKind(Enum):
    """The meaning of an output."""

    CLASSES = "classes"  #: (B, K), scores of K >= 2 exclusive classes
    ONE_LOGIT = "one logit"  #: (B,) or (B, 1), a single score
    SEVERAL_LABELS = "several labels"  #: (B, K), independent labels
    DENSE = "dense"  #: (B, K, ...), scores at every position
    EMBEDDING = "embedding"  #: (B, D), a feature vector
    NUMBERS = "numbers"  #: (B, K), K numbers of each image, such as of a regression
    UNKNOWN = "unknown"  #: anything else: boxes, a scalar, an object without logits


class LabelKind(Enum):
    """What the labels of the data are."""

    NONE = "none"
    INDICES = "class indices"  #: (B,) or (B, 1), whole numbers
    MULTI_HOT = "multi-hot"  #: (B, K), zeros and ones
    ONE_HOT = "one-hot"  #: (B, K), a single one in each row
    MASKS = "masks"  #: a class index, or zeros and ones, at every position
    OVERLAPPING_MASKS = (
        "overlapping masks"  #: (B, K, H, W), zeros and ones: a position may have several classes, or none
    )
    NUMBERS = "numbers"  #: (B, ...), any numbers, but no probabilities of classes
    OTHER = "other"  #: boxes, texts


@dataclass(frozen=True)
class KnownLabels:
    """What is known of the labels. It tells apart outputs that have the same shape."""

    kind: LabelKind = LabelKind.NONE
    largest: int = -1  #: the largest class index seen
    width: int | None = None  #: numbers in the label of each image, where they are numbers
    class_count: int | None = None  #: class names of the data
    listed_count: int | None = None  #: classes among the labels that the dataset lists: there may be more
    declared: frozenset[int] = frozenset()  #: numbers of classes that the module and its parts say they have


@dataclass(frozen=True)
class OutputMeaning:
    """The meaning of all outputs of a model, decided once.

    `has_classes` is False where a single number, or a number at each position, is no score of a class: a regression, a
    reconstruction; and where a position may have several classes, so that none is the predicted one.
    """

    kind: OutputKind
    has_classes: bool = True
    is_activated: bool = False  #: the scores are probabilities: the model ends in a sigmoid or softmax
    width: int = 0  #: number of scores of each image or position
    #: Whether the scores before that sigmoid or softmax are known, and explained.
    is_recoverable: bool = field(default=True, compare=False)

    @property
    def class_count(self) -> int:
        """The number of classes, two of a binary output with one score; of other outputs the number of scores."""
        return 2 if self.width == 1 and self.has_classes else self.width

    @property
    def is_single_value(self) -> bool:
        """Whether the model returns one number for each image that is no class's score, such as a regression."""
        return self.kind is OutputKind.ONE_LOGIT and not self.has_classes

    @classmethod
    def of(cls, output: Any, known: KnownLabels | None = None) -> "OutputMeaning":
        """By the shape of the logits in the output (see `outputs.logits`), and what is known of the labels.

        Scores (B, K), K >= 2, are classes, except

        - several labels, where the labels are multi-hot; where they are one-hot, if the model ends in a sigmoid;
        - K numbers, where a label is K numbers, or one that is no class index (quantiles, a mean and its variance), and
          the model does not end in a sigmoid or softmax;
        - an embedding, where each has length 1, or a label is K or more, or the data name fewer than K - 1 classes, or
          list less than a quarter of K. Not where the scores are probabilities, the module declares K classes, or K is
          that of a network pretrained on ImageNet.
        """
        known = KnownLabels() if known is None else known
        try:
            scores = logits(output)
        except TypeError:
            return cls(OutputKind.UNKNOWN, has_classes=False)
        if scores.ndim == 0 or 0 in scores.shape[1:]:
            return cls(OutputKind.UNKNOWN, has_classes=False)
        width = scores.shape[1] if scores.ndim > 1 else 1
        sigmoid, several = _ends_in(scores, "Sigmoid"), scores.ndim == 2 and width > 1
        activated = sigmoid or _ends_in(scores, "Softmax") or (several and bool(sum_to_one(scores)))
        known_before = final_activation(scores) is not None or not activated
        if scores.ndim > 2:
            has_classes = known.kind is LabelKind.MASKS or (width > 1 and width in {known.class_count, *known.declared})
            exclusive = scores.ndim == 4 and known.kind is not LabelKind.OVERLAPPING_MASKS
            return cls(OutputKind.DENSE, has_classes and exclusive, activated, width, known_before)
        if not several:
            binary = known.kind is LabelKind.INDICES and known.largest <= 1 and (known.class_count or 2) <= 2
            return cls(
                OutputKind.ONE_LOGIT, binary or known.class_count == 2 or sigmoid, activated, width, known_before
            )
        kind = OutputKind.CLASSES
        if known.kind is LabelKind.MULTI_HOT or (known.kind is LabelKind.ONE_HOT and sigmoid):
            kind = OutputKind.SEVERAL_LABELS
        elif not activated and _are_numbers(width, known):
            kind = OutputKind.NUMBERS
        elif _is_embedding(scores, known, activated):
            kind = OutputKind.EMBEDDING
        return cls(kind, kind not in (OutputKind.EMBEDDING, OutputKind.NUMBERS), activated, width, known_before)


@dataclass(frozen=True, eq=False)
class ModelOutput:
    """A model's output with its meaning."""

    meaning: OutputMeaning
    scores: Tensor | None  #: the logits in the output, None where it holds none

    @classmethod
    def of(cls, output: Any, meaning: OutputMeaning | None = None) -> "ModelOutput":
        """An output of the `meaning` that was decided; by default it is decided by this output alone."""
        meaning = OutputMeaning.of(output) if meaning is None else meaning
        return cls(meaning, None if meaning.kind is OutputKind.UNKNOWN else logits(output))

    @property
    def kind(self) -> OutputKind:
        return self.meaning.kind

    @cached_property
    def probabilities(self) -> Tensor | None:
        """Probabilities (B, K), float32: of classes, of both classes (B, 2) where there is one logit, of several labels."""
        if self.scores is None or not self.meaning.has_classes or self.kind is OutputKind.DENSE:
            return None
        scores, activated = self.scores.float(), self.meaning.is_activated
        if self.kind is OutputKind.CLASSES:
            return scores if activated else scores.softmax(dim=1)
        scores = scores if activated else scores.sigmoid()
        if self.kind is OutputKind.SEVERAL_LABELS:
            return scores
        positive = scores.reshape(-1, 1)
        return torch.cat([1 - positive, positive], dim=1)

    @property
    def predictions(self) -> Tensor | None:
        """The predicted class of each image, (B,); None where the output predicts no single class."""
        if self.probabilities is None or self.kind is OutputKind.SEVERAL_LABELS:
            return None
        return self.probabilities.argmax(dim=1)

    @property
    def predicted_labels(self) -> Tensor | None:
        """Which of several labels are predicted, (B, K), bool; None where the output has no such meaning."""
        if self.probabilities is None or self.kind is not OutputKind.SEVERAL_LABELS:
            return None
        return self.probabilities > THRESHOLD

    @property
    def regions(self) -> tuple[Tensor, Tensor] | None:
        """Of scores of classes at every position: the class of the largest region, 0 (background) only where there is no
        other, and the region's share of the positions, (B,) each."""
        if self.scores is None or self.kind is not OutputKind.DENSE or not self.meaning.has_classes:
            return None
        return largest_regions(self.scores, self.meaning.is_activated)

    def losses(self, labels: Tensor | None) -> Tensor:
        """The cross-entropy of each image, (B,), float32; of one logit binary, of several labels the mean of the binary ones.

        `labels` are class indices (B,), or zeros and ones (B, K). NaN where there is no label, or it is not in [0, K).
        """
        if self.scores is None or self.scores.ndim == 0:
            return torch.full((0 if labels is None else len(labels),), torch.nan)
        unknown = self.scores.new_full(self.scores.shape[:1], torch.nan, dtype=torch.float32)
        if self.probabilities is None or labels is None or len(labels) != len(unknown):
            return unknown
        if self.kind is OutputKind.SEVERAL_LABELS:
            same = labels.shape == self.scores.shape
            return _binary_losses(self.scores, labels, self.meaning.is_activated) if same else unknown
        labels = class_indices(labels)
        known = (labels >= 0) & (labels < self.probabilities.shape[1])
        safe = labels.long().where(known, 0)
        if self.meaning.is_activated:
            log_probabilities = self.probabilities.clamp_min(1e-30).log()
        elif self.kind is OutputKind.ONE_LOGIT:
            logit = self.scores.float().reshape(-1, 1)
            log_probabilities = nn.functional.logsigmoid(torch.cat([-logit, logit], dim=1))
        else:
            log_probabilities = self.scores.float().log_softmax(dim=1)
        return -log_probabilities.gather(1, safe[:, None])[:, 0].where(known, torch.nan)


def class_indices(labels: Tensor) -> Tensor:
    """Labels as class indices (B,): of zeros and ones (B, K) the one that is set; -1 where several are, or none."""
    if labels.ndim == 1:
        return labels
    return labels.argmax(dim=1).where(labels.sum(dim=1) == 1, -1)


def _binary_losses(scores: Tensor, labels: Tensor, activated: bool) -> Tensor:
    """The mean over labels of the binary cross-entropy, (B, K) -> (B,)."""
    loss = nn.functional.binary_cross_entropy if activated else nn.functional.binary_cross_entropy_with_logits
    return loss(scores.float(), labels.float(), reduction="none").mean(dim=1)


def _are_numbers(width: int, known: KnownLabels) -> bool:
    """Whether a model returns numbers, as the labels are."""
    if known.kind is not LabelKind.NUMBERS:
        return False
    return known.width == width or (known.width == 1 and width not in {known.class_count, *known.declared})


def _is_embedding(scores: Tensor, known: KnownLabels, activated: bool) -> bool:
    width = scores.shape[1]
    if activated or width in known.declared | IMAGENET:
        return known.largest >= width
    unit_length = bool(((scores.detach().float().norm(dim=1) - 1).abs() < 1e-3).all())
    too_wide = known.class_count is not None and width > known.class_count + 1  # one more may be "none of these"
    if known.class_count is None and known.listed_count is not None:
        too_wide = width >= max(32, 4 * known.listed_count)  # a part of the data may list few of many classes
    return unit_length or too_wide or known.largest >= width


def _ends_in(scores: Tensor, name: str) -> bool:
    """Whether the last operation that computed the scores has this name; False where that is not known."""
    if (found := final_activation(scores)) is not None:
        return found.name == name.lower()
    node = scores.grad_fn
    while node is not None and _PASSING_ON.fullmatch(re.sub(r"Backward\d*$", "", node.name())):
        node = next((inner for inner, _ in node.next_functions if inner is not None), None)
    return node is not None and node.name().startswith(f"{name}Backward")
