from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lightning_viz.methods.model.model_output import (
    KnownLabels,
    LabelKind,
    ModelOutput,
    OutputKind,
    OutputMeaning,
    class_indices,
)

SCORES = torch.tensor([[1.0, 2.0, 3.0], [6.0, 5.0, 4.0]])


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (SCORES, OutputKind.CLASSES),
        ((SCORES, None), OutputKind.CLASSES),
        ({"logits": SCORES}, OutputKind.CLASSES),
        (SimpleNamespace(logits=SCORES), OutputKind.CLASSES),
        (torch.zeros(2), OutputKind.ONE_LOGIT),
        (torch.zeros(2, 1), OutputKind.ONE_LOGIT),
        (torch.zeros(2, 3, 4, 4), OutputKind.DENSE),
        (torch.zeros(2, 5, 3), OutputKind.DENSE),
        (torch.zeros(()), OutputKind.UNKNOWN),
        (torch.zeros(2, 0), OutputKind.UNKNOWN),
        ([{"boxes": SCORES}], OutputKind.UNKNOWN),
        ("text", OutputKind.UNKNOWN),
    ],
)
def test_kind_by_the_output_alone(output, kind):
    assert ModelOutput.of(output).kind is kind


def known(kind: LabelKind = LabelKind.NONE, **options: Any) -> KnownLabels:
    return KnownLabels(kind, **options)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (LabelKind.MULTI_HOT, OutputKind.SEVERAL_LABELS),
        (LabelKind.ONE_HOT, OutputKind.CLASSES),
        (LabelKind.INDICES, OutputKind.CLASSES),
        (LabelKind.OTHER, OutputKind.CLASSES),
        (LabelKind.NONE, OutputKind.CLASSES),
    ],
)
def test_labels_decide_whether_there_are_several(labels, kind):
    assert OutputMeaning.of(SCORES, known(labels)).kind is kind


@pytest.mark.parametrize(
    ("end", "kind"),
    [(torch.sigmoid, OutputKind.SEVERAL_LABELS), (lambda scores: scores.softmax(dim=1), OutputKind.CLASSES)],
)
def test_one_hot_labels_are_several_where_the_model_ends_in_a_sigmoid(end, kind):
    scores = end(SCORES.clone().requires_grad_() * 1.0)
    assert OutputMeaning.of(scores, known(LabelKind.ONE_HOT)).kind is kind


WIDE = torch.arange(20.0).reshape(2, 10)


@pytest.mark.parametrize(
    ("scores", "facts", "kind"),
    [
        (WIDE, known(class_count=4), OutputKind.EMBEDDING),
        (WIDE, known(class_count=9), OutputKind.CLASSES),  # one more: none of these
        (WIDE, known(class_count=10), OutputKind.CLASSES),
        (WIDE, known(class_count=20), OutputKind.CLASSES),
        (WIDE, known(class_count=4, declared=frozenset([10])), OutputKind.CLASSES),
        (WIDE, known(LabelKind.INDICES, largest=9), OutputKind.CLASSES),
        (WIDE, known(LabelKind.INDICES, largest=10), OutputKind.EMBEDDING),
        (WIDE, known(), OutputKind.CLASSES),
        (WIDE, known(listed_count=4), OutputKind.CLASSES),  # a part of the data
        (torch.zeros(2, 128), known(listed_count=10), OutputKind.EMBEDDING),
        (torch.zeros(2, 128), known(listed_count=100), OutputKind.CLASSES),
        (torch.zeros(2, 1000), known(class_count=10), OutputKind.CLASSES),  # a pretrained network's head
        (WIDE.softmax(dim=1), known(class_count=4), OutputKind.CLASSES),
        (nn.functional.normalize(WIDE + 1, dim=1), known(), OutputKind.EMBEDDING),
        (WIDE[:, :1], known(class_count=2), OutputKind.ONE_LOGIT),
    ],
)
def test_what_is_an_embedding(scores, facts, kind):
    assert OutputMeaning.of(scores, facts).kind is kind


@pytest.mark.parametrize(
    ("facts", "has_classes"),
    [
        (known(LabelKind.INDICES, largest=1), True),
        (known(class_count=2), True),
        (known(LabelKind.INDICES, largest=7), False),  # a count
        (known(LabelKind.OTHER), False),  # a regression
        (known(), False),
    ],
)
def test_a_single_number_is_a_class_where_the_labels_are_two(facts, has_classes):
    assert OutputMeaning.of(torch.zeros(2, 1), facts).has_classes is has_classes


@pytest.mark.parametrize(
    ("shape", "facts", "has_classes"),
    [
        ((2, 1, 4, 4), known(LabelKind.MASKS), True),
        ((2, 5, 4, 4), known(class_count=5), True),
        ((2, 3, 4, 4), known(), False),  # a reconstruction
        ((2, 5, 4), known(LabelKind.MASKS), False),  # tokens
        ((2, 3, 4, 4), known(LabelKind.OVERLAPPING_MASKS, class_count=3), False),
    ],
)
def test_numbers_at_each_position_are_classes_where_there_are_masks(shape, facts, has_classes):
    found = OutputMeaning.of(torch.zeros(shape), facts)
    assert found.kind is OutputKind.DENSE
    assert found.has_classes is has_classes


@pytest.mark.parametrize(
    ("end", "facts", "kind"),
    [
        (nn.Identity(), {"width": 3}, OutputKind.NUMBERS),
        (nn.Identity(), {"width": 1}, OutputKind.NUMBERS),  # quantiles
        (nn.Identity(), {"width": 1, "class_count": 3}, OutputKind.CLASSES),
        (nn.Identity(), {"width": 5}, OutputKind.CLASSES),  # the labels are of something else
        (nn.Softmax(dim=1), {"width": 3}, OutputKind.CLASSES),
    ],
)
def test_numbers_as_the_labels_are_no_classes(end, facts, kind):
    found = OutputMeaning.of(end(SCORES), known(LabelKind.NUMBERS, **facts))
    assert found.kind is kind
    assert found.has_classes is (kind is OutputKind.CLASSES)


BINARY = OutputMeaning(OutputKind.ONE_LOGIT, width=1)
SEVERAL = OutputMeaning(OutputKind.SEVERAL_LABELS, width=3)


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_one_logit_is_two_classes(shape):
    logit = torch.tensor([-2.0, 0.5, 3.0])
    found = ModelOutput.of(logit.reshape(shape), BINARY)
    assert torch.allclose(found.probabilities[:, 1], logit.sigmoid())
    assert found.predictions.tolist() == [0, 1, 1]
    expected = nn.functional.binary_cross_entropy_with_logits(logit, torch.tensor([0.0, 0, 1]), reduction="none")
    assert torch.allclose(found.losses(torch.tensor([0, 0, 1])), expected)


def test_an_activated_logit_is_a_probability():
    found = OutputMeaning.of((torch.ones(2, 1, requires_grad=True) * 0.2).sigmoid().squeeze(1), known())
    assert found == OutputMeaning(OutputKind.ONE_LOGIT, True, True, 1)
    assert ModelOutput.of(torch.tensor([0.2, 0.7]), found).predictions.tolist() == [0, 1]


def test_several_labels_are_predicted_above_one_half():
    scores = torch.tensor([[1.0, -1.0, 2.0], [-1.0, -2.0, -3.0]])
    found = ModelOutput.of(scores, SEVERAL)
    assert torch.allclose(found.probabilities, scores.sigmoid())
    assert found.predictions is None
    assert found.predicted_labels.tolist() == [[True, False, True], [False, False, False]]
    labels = torch.tensor([[1, 0, 1], [0, 1, 0]])
    expected = nn.functional.binary_cross_entropy_with_logits(scores, labels.float(), reduction="none").mean(dim=1)
    assert torch.allclose(found.losses(labels), expected)
    assert found.losses(torch.tensor([0, 1])).isnan().all()


def test_the_class_of_the_largest_region():
    scores = torch.zeros(2, 3, 2, 2)
    scores[0, 2, 0, 0] = scores[0, 1, 0, 1] = scores[0, 1, 1, 1] = 1.0  # the rest is class 0
    classes, shares = ModelOutput.of(scores, OutputMeaning(OutputKind.DENSE, width=3)).regions
    assert classes.tolist() == [1, 0]
    assert shares.tolist() == [0.5, 1.0]
    assert ModelOutput.of(scores, OutputMeaning(OutputKind.DENSE, has_classes=False)).regions is None


def test_one_hot_labels_are_class_indices():
    assert class_indices(torch.tensor([[0, 1], [1, 1], [0, 0]])).tolist() == [1, -1, -1]
    assert ModelOutput.of(SCORES).losses(torch.tensor([[0, 0, 1], [1, 1, 0]])).isnan().tolist() == [False, True]


def test_probabilities_are_the_softmax_or_the_scores_themselves():
    for scores in (SCORES, SCORES.softmax(dim=1)):
        found = ModelOutput.of(scores)
        assert torch.allclose(found.probabilities, SCORES.softmax(dim=1))
        assert found.predictions.tolist() == [2, 0]
        assert found.scores is scores
    assert ModelOutput.of(SCORES.bfloat16()).probabilities.dtype == torch.float32


def test_scores_that_are_not_finite_have_no_finite_probability():
    scores = torch.tensor([[torch.nan, 1.0], [0.0, 1.0]])
    assert ModelOutput.of(scores).probabilities.isfinite().all(dim=1).tolist() == [False, True]


@pytest.mark.parametrize("output", [torch.zeros(2), torch.zeros(2, 3, 4, 4), torch.zeros(()), "text"])
def test_without_classes_there_is_nothing_to_predict(output):
    found = ModelOutput.of(output)
    assert found.probabilities is None
    assert found.predictions is None
    assert found.losses(torch.tensor([0, 1])).isnan().all()


def test_losses_are_the_cross_entropy_where_the_label_is_known():
    labels = torch.tensor([0, -1, 3, 2])
    scores = torch.cat([SCORES, SCORES])
    losses = ModelOutput.of(scores).losses(labels)
    expected = -scores.log_softmax(dim=1)
    assert torch.allclose(losses[[0, 3]], torch.stack([expected[0, 0], expected[3, 2]]))
    assert losses.isnan().tolist() == [False, True, True, False]
    assert ModelOutput.of(scores.bfloat16()).losses(labels).dtype == torch.float32


@pytest.mark.parametrize("labels", [None, torch.zeros(2, 3, dtype=torch.long), torch.zeros(3)])
def test_losses_without_labels_of_the_images(labels):
    losses = ModelOutput.of(SCORES).losses(labels)
    assert losses.shape == (2,)
    assert losses.isnan().all()
