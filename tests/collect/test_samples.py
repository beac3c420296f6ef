import numpy as np
import pytest
import torch

from lightning_viz import Probe
from lightning_viz.collect.samples import Samples

PROBE = Probe(torch.rand(1, 3, 4, 4), class_names=["cat", "dog", "cow"])


def samples(labels=(0, 2, 1), predicted=(0, 1, 1), losses=(0.25, 1.5, 0.125), start=10, size=4):
    count = len(labels)
    return Samples(
        np.arange(start, start + count),
        np.array(labels),
        np.array(predicted),
        np.array(losses),
        torch.arange(count).float().reshape(-1, 1, 1, 1).expand(-1, 3, size, size),
        {"fc": torch.arange(2.0 * count).reshape(-1, 2)},
    )


def test_rows_keep_together():
    part = samples().at(np.array([2, 0]))
    assert part.positions.tolist() == [12, 10]
    assert part.labels.tolist() == [1, 0]
    assert part.losses.tolist() == [0.125, 0.25]
    assert part.images[:, 0, 0, 0].tolist() == [2, 0]
    assert part.features["fc"].tolist() == [[4, 5], [0, 1]]


def test_parts_are_concatenated():
    both = Samples.concatenated([samples(), samples(start=20)])
    assert both.positions.tolist() == [10, 11, 12, 20, 21, 22]
    assert both.features["fc"].tolist() == [[0, 1], [2, 3], [4, 5]] * 2


def test_images_of_two_sizes_cannot_be_concatenated():
    with pytest.raises(ValueError, match="the images have the sizes 3×4×4, 3×6×6; resize them"):
        Samples.concatenated([samples(), samples(size=6)])


def test_metadata_says_class_prediction_and_loss():
    assert samples().metadata(PROBE) == {
        "index": ["10", "11", "12"],
        "class": ["cat", "cow", "dog"],
        "predicted": ["cat", "dog", "dog"],
        "correct": ["True", "False", "True"],
        "loss": ["0.25", "1.5", "0.125"],
    }


def test_an_unlabelled_sample_is_neither_correct_nor_wrong():
    metadata = samples(labels=(0, -1, 1), losses=(0.25, np.nan, 0.125)).metadata(PROBE)
    assert metadata["class"] == ["cat", "unknown", "dog"]
    assert metadata["correct"] == ["True", "unknown", "True"]


@pytest.mark.parametrize(
    ("given", "columns"),
    [
        ({"labels": [-1] * 3}, ["index", "predicted"]),
        ({"predicted": [-1] * 3}, ["index", "class"]),
        ({"labels": [-1] * 3, "predicted": [-1] * 3}, ["index"]),
    ],
    ids=["no labels", "no predictions", "neither"],
)
def test_columns_of_which_nothing_is_known_are_left_out(given, columns):
    assert list(samples(**given).metadata(PROBE)) == columns
