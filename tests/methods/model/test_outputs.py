from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch

from lightning_viz.methods.model.outputs import logits, slice_target, target_scores

SCORES = torch.tensor([[1.0, 2.0, 3.0], [6.0, 5.0, 4.0]])
Output = namedtuple("Output", ["logits", "aux_logits"])


@pytest.mark.parametrize(
    "output",
    [
        SCORES,
        (SCORES, torch.zeros(1)),
        [SCORES],
        {"logits": SCORES},
        {"out": SCORES, "aux": torch.zeros(1)},
        {"loss": torch.zeros(()), "logits": SCORES},
        Output(SCORES, None),
        SimpleNamespace(logits=SCORES),
        ({"logits": SCORES},),
    ],
    ids=["tensor", "tuple", "list", "dict", "torchvision dict", "hugging face dict", "namedtuple", "object", "nested"],
)
def test_logits_are_found(output):
    assert logits(output) is SCORES


@pytest.mark.parametrize("output", [{"boxes": SCORES}, 3.0, (), None], ids=["dict", "number", "empty", "none"])
def test_no_logits_raises_with_a_remedy(output):
    with pytest.raises(TypeError, match="target="):
        logits(output)


@pytest.mark.parametrize(
    "output",
    [
        [{"boxes": torch.rand(5, 4), "scores": torch.rand(5)}, {"boxes": torch.rand(0, 4), "scores": torch.rand(0)}],
        {"age": torch.rand(2, 1), "sex": torch.rand(2, 2)},
        {"age": torch.rand(2)},
    ],
    ids=["detections", "heads", "numbers"],
)
def test_the_remedy_is_code_that_works(output):
    with pytest.raises(TypeError, match="such as lambda") as raised:
        logits(output)
    target = eval(str(raised.value).partition("such as ")[2], {"torch": torch})
    assert target_scores(output, target).shape == (2,)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (None, [3.0, 6.0]),
        (1, [2.0, 5.0]),
        ([0, 2], [1.0, 4.0]),
        (torch.tensor([2, 1]), [3.0, 5.0]),
        (lambda output: output.sum(dim=1), [6.0, 15.0]),
    ],
    ids=["predicted", "one class", "list", "tensor", "callable"],
)
def test_target_scores(target, expected):
    assert target_scores(SCORES, target).tolist() == expected


@pytest.mark.parametrize(
    ("target", "expected"), [(None, None), (2, 2), ([4, 5, 6], [5, 6]), (torch.tensor([4, 5, 6]), [5, 6]), (len, len)]
)
def test_slice_target(target, expected):
    part = slice_target(target, slice(1, 3))
    assert (part.tolist() if isinstance(part, torch.Tensor) else part) == expected


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_single_output_is_its_own_score(shape):
    assert target_scores(torch.tensor([4.0, 5.0]).reshape(shape), None).tolist() == [4.0, 5.0]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (3, "outside the model's 3 classes"),
        (-1, "outside the model's 3 classes"),
        ([0, 1, 2], "does not fit 2 images"),
        (1.5, "does not fit 2 images"),
        (lambda output: output, "one score per image"),
    ],
    ids=["too large", "negative", "too many", "float", "callable of wrong shape"],
)
def test_invalid_target(target, message):
    with pytest.raises(ValueError, match=message):
        target_scores(SCORES, target)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_a_target_of_bool_chooses_the_side_of_a_single_logit(shape):
    scores = torch.tensor([4.0, 5.0]).reshape(shape)
    assert target_scores(scores, torch.tensor([True, False])).tolist() == [4.0, -5.0]
    assert target_scores(scores, 0).tolist() == [4.0, 5.0]  # a class index does not


DENSE = torch.zeros(1, 3, 2, 2)
DENSE[0, 2] = torch.tensor([[3.0, 4.0], [-1.0, -1.0]])  # predicted in the first row; class 0 in the second


@pytest.mark.parametrize(("target", "expected"), [(None, 7 / 4), (2, 7 / 4), (0, 0.0), (1, 0.0)])
def test_the_score_of_a_region_is_the_sum_over_its_pixels(target, expected):
    assert target_scores(DENSE, target).tolist() == [expected]


def test_a_class_that_is_predicted_nowhere_has_its_mean_over_all():
    assert target_scores(DENSE - 5 * (torch.arange(3) == 2)[:, None, None], 2).tolist() == [pytest.approx(5 / 4 - 5)]
    assert target_scores(DENSE, 2, whole=True).tolist() == [pytest.approx(5 / 4)]


def test_one_channel_has_two_classes():
    mask = torch.tensor([[[[2.0, -1.0]]], [[[-2.0, -1.0]]]])
    assert target_scores(mask, None).tolist() == [1.0, 1.5]  # the positive pixel; nothing but background
    assert target_scores(mask, 1).tolist() == [1.0, -1.5]


def test_the_gradient_of_a_region_reaches_its_own_pixels_only():
    scores = DENSE.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(target_scores(scores, None).sum(), scores)
    assert gradient[0].nonzero().tolist() == [[2, 0, 0], [2, 0, 1]]


def test_tokens_need_a_callable():
    with pytest.raises(ValueError, match="give target= a callable"):
        target_scores(torch.zeros(2, 3, 4), None)
