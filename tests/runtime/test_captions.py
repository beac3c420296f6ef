import pytest
import torch
from torch import nn

from lightning_viz import Probe
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.model_output import ModelOutput, OutputKind, OutputMeaning
from lightning_viz.runtime.captions import (
    class_caption,
    label_captions,
    predict,
    prediction_captions,
    weights_version,
)

from ..callbacks.context import texts
from ..cases import Expected
from ..stub import tiny_network


def probe(labels=(0, 1, 2), names=None):
    return Probe(torch.rand(3, 3, 12, 12), None if labels is None else torch.tensor(labels), names)


def captions_of(scores, *args):
    return texts(prediction_captions(ModelOutput.of(scores), probe(*args)))


SCORES = torch.tensor([[4.0, 0.0, 0.0], [4.0, 0.0, 0.0], [0.0, 0.0, 4.0]])


def test_predicted_class_and_probability_with_a_mark():
    assert captions_of(SCORES) == [["✓ 0 0.96"], ["✗ 0 0.96"], ["✓ 2 0.96"]]
    assert captions_of(SCORES, (0, 1, 2), ["ant", "bee", "cat"]) == [["✓ ant 0.96"], ["✗ ant 0.96"], ["✓ cat 0.96"]]


def test_no_mark_where_the_true_class_is_unknown():
    assert captions_of(SCORES, None) == [["0 0.96"], ["0 0.96"], ["2 0.96"]]
    assert captions_of(SCORES, (0, -1, 2)) == [["✓ 0 0.96"], ["0 0.96"], ["✓ 2 0.96"]]


def test_probabilities_are_taken_as_they_are():
    assert captions_of(torch.tensor([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]]))[:2] == [["✓ 0 0.70"], ["✓ 1 0.80"]]


def test_nothing_where_the_output_has_no_classes():
    for output in (torch.rand(3), torch.rand(3, 1), torch.rand(3, 4, 8, 8), "boxes"):
        assert captions_of(output) == [[], [], []]


def test_an_output_that_is_not_finite_says_so():
    scores = SCORES.clone()
    scores[1] = torch.nan
    assert captions_of(scores) == [["✓ 0 0.96"], ["output is not finite"], ["✓ 2 0.96"]]


def test_predictions_of_a_whole_probe_in_any_batches():
    network, pictures = tiny_network().eval(), probe()
    whole, halved = AutoBatch(), AutoBatch()
    halved.size = 1
    found = [predict(network, pictures, one) for one in (whole, halved)]
    expected = Expected.of(network, pictures)
    for one in found:
        assert one.classes.tolist() == expected.probabilities.argmax(dim=1).tolist()
        assert [[str(label), *lines] for label, lines in enumerate(texts(one.captions))] == expected.predictions


def test_without_classes_there_are_no_predictions():
    found = predict(nn.Sequential(tiny_network(), nn.Linear(4, 1)).eval(), probe(), AutoBatch())
    assert found.classes is None
    assert texts(found.captions) == [[], [], []]


def test_true_classes():
    assert texts(label_captions(probe((0, -1, 2)))) == [["0"], [], ["2"]]
    assert texts(label_captions(probe(None))) == [[], [], []]
    assert texts(label_captions(probe((0, 1, 2), ["ant", "bee", "cat"]))) == [["ant"], ["bee"], ["cat"]]


BINARY = OutputMeaning(OutputKind.ONE_LOGIT, width=1)
SEVERAL = OutputMeaning(OutputKind.SEVERAL_LABELS, width=3)


def captions_with(meaning, scores, labels, names=("cat", "dog", "sofa")):
    return texts(prediction_captions(ModelOutput.of(scores, meaning), probe(labels, list(names))))


def test_one_logit_names_both_classes():
    scores = torch.tensor([[3.0], [-3.0], [3.0]])
    assert captions_with(BINARY, scores, [1, 0, 0]) == [["✓ dog 0.95"], ["✓ cat 0.95"], ["✗ dog 0.95"]]


def test_several_labels_are_right_where_all_are():
    labels = [[1, 0, 1], [1, 0, 0], [0, 0, 0]]
    scores = torch.tensor([[2.0, -9, 3.0], [2.0, 1.0, -9], [-9.0, -9, -9]])
    assert captions_with(SEVERAL, scores, labels) == [
        ["✓ sofa 0.95, cat 0.88"],
        ["✗ cat 0.88, dog 0.73"],
        ["✓ no label"],
    ]
    assert texts(label_captions(probe(labels, ["cat", "dog", "sofa"]))) == [["cat, sofa"], ["cat"], []]
    assert captions_with(SEVERAL, scores, None)[0] == ["sofa 0.95, cat 0.88"]


def test_a_region_has_its_class_and_share():
    scores = torch.zeros(3, 3, 2, 2)
    scores[0, 2, 0] = 1.0
    found = captions_with(OutputMeaning(OutputKind.DENSE, width=3), scores, None)
    assert found[:2] == [["sofa, 50% of pixels"], ["cat, 100% of pixels"]]


@pytest.mark.parametrize(
    "meaning",
    [
        OutputMeaning(OutputKind.EMBEDDING, has_classes=False, width=3),
        OutputMeaning(OutputKind.ONE_LOGIT, has_classes=False, width=1),
        OutputMeaning(OutputKind.UNKNOWN, has_classes=False),
    ],
)
def test_nothing_is_said_where_no_class_is_predicted(meaning):
    scores = torch.rand(3, meaning.width)
    assert texts(prediction_captions(ModelOutput.of(scores, meaning), probe())) == [[], [], []]


def test_the_class_of_a_synthesised_image():
    assert texts([class_caption(0.875, True, "cat")]) == [["✓ 0.88"]]
    assert texts([class_caption(0.25, False, "dog")]) == [["✗ 0.25", "predicted dog"]]
    assert texts([class_caption(float("nan"), False, "dog")]) == [["output is not finite"]]


def test_weights_have_a_version():
    network = tiny_network()
    before = weights_version(network)
    assert weights_version(network) == before
    with torch.no_grad():
        network[0].weight.mul_(1.0)
    changed = weights_version(network)
    network[0].weight = nn.Parameter(network[0].weight.detach().clone())
    assert len({before, changed, weights_version(network)}) == 3


def test_weights_made_in_inference_mode_have_none():
    with torch.inference_mode():
        network = tiny_network()
    assert weights_version(network) is None
