from types import SimpleNamespace

import pytest
import torch

from lightning_viz.methods.model.model_output import ModelOutput, OutputKind

SCORES = torch.tensor([[1.0, 2.0, 3.0], [6.0, 5.0, 4.0]])
MULTI_HOT = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


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


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (MULTI_HOT, OutputKind.SEVERAL_LABELS),
        (MULTI_HOT.long(), OutputKind.SEVERAL_LABELS),
        (MULTI_HOT.bool(), OutputKind.SEVERAL_LABELS),
        (torch.zeros(2, 3), OutputKind.SEVERAL_LABELS),
        (torch.eye(3)[:2], OutputKind.CLASSES),  # one-hot
        (torch.tensor([[0.5, 0.5, 0], [1, 0, 0]]), OutputKind.CLASSES),  # soft
        (torch.tensor([0, 2]), OutputKind.CLASSES),
        (torch.zeros(2, 4), OutputKind.CLASSES),
    ],
)
def test_labels_decide_whether_there_are_several(labels, kind):
    assert ModelOutput.of(SCORES, labels=labels).kind is kind


@pytest.mark.parametrize(
    ("scores", "class_count", "kind"),
    [
        (SCORES, 2, OutputKind.EMBEDDING),
        (SCORES, 3, OutputKind.CLASSES),
        (SCORES, 4, OutputKind.CLASSES),
        (SCORES, 0, OutputKind.CLASSES),
        (SCORES, None, OutputKind.CLASSES),
        (SCORES.softmax(dim=1), 2, OutputKind.CLASSES),
        (SCORES[:, :1], 2, OutputKind.ONE_LOGIT),
    ],
)
def test_more_scores_than_classes_are_an_embedding(scores, class_count, kind):
    assert ModelOutput.of(scores, class_count=class_count).kind is kind


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


@pytest.mark.parametrize("labels", [None, torch.zeros(2, 3), torch.zeros(3)])
def test_losses_without_labels_of_the_images(labels):
    losses = ModelOutput.of(SCORES).losses(labels)
    assert losses.shape == (2,)
    assert losses.isnan().all()
