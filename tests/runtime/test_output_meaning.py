import pytest
import torch

from lightning_viz import Probe
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.model_output import OutputKind, OutputMeaning
from lightning_viz.runtime.captions import Predictions
from lightning_viz.runtime.output_meaning import check_target, describe_target, resolve_target

from ..stub import tiny_network

IMAGES = torch.rand(2, 3, 8, 8)


def meaning(kind: OutputKind, has_classes: bool = True, width: int = 4) -> OutputMeaning:
    return OutputMeaning(kind, has_classes, width=width)


BINARY, VALUE = meaning(OutputKind.ONE_LOGIT, width=1), meaning(OutputKind.ONE_LOGIT, False, 1)
SEVERAL, CLASSES = meaning(OutputKind.SEVERAL_LABELS), meaning(OutputKind.CLASSES)
DENSE, EMBEDDING = meaning(OutputKind.DENSE), meaning(OutputKind.EMBEDDING, False, 128)
NUMBERS = meaning(OutputKind.NUMBERS, False, 2)


def resolved(option, of, labels=(1, 0)):
    known = of is BINARY or of is CLASSES
    predictions = Predictions(of, torch.tensor([0, 1]) if known else None, [])
    return resolve_target(option, Probe(IMAGES, None if labels is None else torch.tensor(labels)), predictions)


def test_of_one_logit_the_predicted_side_is_explained():
    assert resolved(None, BINARY).tolist() == [False, True]
    assert resolved("label", BINARY).tolist() == [True, False]
    assert resolved(1, BINARY).tolist() == [True, True]
    assert resolved(0, BINARY).tolist() == [False, False]
    assert resolved([1, 0, 1], BINARY).tolist() == [True, False]
    with pytest.raises(ValueError, match="target=2 is outside the 2 classes"):
        resolved(2, BINARY)


def test_a_single_value_is_explained_itself():
    assert resolved(None, VALUE)(torch.tensor([[2.0], [-1.0]])).tolist() == [2.0, -1.0]


@pytest.mark.parametrize("of", [CLASSES, SEVERAL, DENSE])
def test_the_methods_find_what_is_predicted(of):
    assert resolved(None, of) is None
    assert resolved(3, of) == 3


@pytest.mark.parametrize("of", [EMBEDDING, meaning(OutputKind.DENSE, False, 3)])
def test_an_output_without_classes_needs_a_callable(of):
    with pytest.raises(
        ValueError, match=f"{of.width} numbers for each .* predicts no class .* give target= a callable"
    ):
        resolved(None, of)
    assert resolved(len, of) is len


def test_of_several_numbers_one_can_be_chosen():
    with pytest.raises(ValueError, match=r"2 numbers for each image, has no class; give target= .* 0 to 1"):
        resolved(None, NUMBERS)
    assert resolved(1, NUMBERS) == 1


@pytest.mark.parametrize("labels", [None, (1, -1), [[1, 1, 0], [1, 0, 0]]])
def test_the_true_class_needs_one_label_for_each_picture(labels):
    with pytest.raises(ValueError, match="target='label' needs a label for each picture"):
        resolved("label", CLASSES, labels)


@pytest.mark.parametrize(
    ("option", "of", "text"),
    [
        (None, None, "the predicted class"),
        (None, CLASSES, "the predicted class"),
        (None, BINARY, "the predicted class"),
        (None, SEVERAL, "the most probable label"),
        (None, DENSE, "the largest predicted region"),
        (3, DENSE, "the predicted region of class 3"),
        (None, VALUE, "the output"),
        ("label", CLASSES, "the true class"),
        (3, CLASSES, "class 3"),
        (1, NUMBERS, "output 1"),
        ([1, 0], NUMBERS, "outputs [1, 0]"),
        (len, DENSE, "the given target"),
    ],
)
def test_what_a_map_explains(option, of, text):
    assert describe_target(option, of) == text


@pytest.mark.parametrize("target", [99, [0, 99], torch.tensor([0, 99])])
def test_a_target_outside_the_classes(target):
    with pytest.raises(ValueError, match=r"outside the model's 4 classes"):
        check_target(tiny_network(), IMAGES, target, AutoBatch())
