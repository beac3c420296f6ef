from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.utils.data import ConcatDataset, Subset, TensorDataset
from torchvision.transforms import transforms as v1
from torchvision.transforms import v2

from lightning_viz.data.metadata import (
    dataset_chain,
    declared_class_counts,
    describe_probe,
    find_class_names,
    find_normalisation,
)

MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.2, 0.1]
IMAGES = torch.rand(2, 3, 4, 4)


class Known(TensorDataset):
    """A dataset with what it knows of its images."""

    def __init__(self, **known):
        super().__init__(IMAGES, torch.arange(2))
        vars(self).update(known)


@pytest.mark.parametrize(
    "transform",
    [
        v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, STD)]),
        v2.Compose([v2.ToImage(), v2.Compose([v2.Normalize(MEAN, STD)])]),
        nn.Sequential(v2.Resize(3), v2.Normalize(MEAN, STD)),
        v2.Normalize(MEAN, STD),
    ],
    ids=["v1", "nested v2", "Sequential", "alone"],
)
def test_normalisation_is_found_in_transforms(transform):
    wrapped = Subset(ConcatDataset([Known(transform=transform)]), [0])
    mean, std = find_normalisation(list(dataset_chain(wrapped)), 3)
    assert mean == pytest.approx(MEAN)
    assert std == pytest.approx(STD)


def test_normalisation_of_torchvisions_own_presets_is_found():
    from torchvision.models import ResNet18_Weights

    known = Known(transform=ResNet18_Weights.DEFAULT.transforms())
    assert find_normalisation([known], 3)[0] == pytest.approx([0.485, 0.456, 0.406])


@pytest.mark.parametrize("transform", [None, v2.Compose([v2.ToImage()]), v2.Normalize([0.1] * 5, [1] * 5), lambda x: x])
def test_no_normalisation_is_none(transform):
    assert find_normalisation([Known(transform=transform)], 3) is None


def test_class_names_are_found():
    assert find_class_names([object(), Known(classes=["a", ("tench", "Tinca tinca")])]) == ["a", "tench"]
    assert find_class_names([Known()]) is None


def test_a_dataset_chain_is_outermost_first():
    inner = Known()
    outer = Subset(ConcatDataset([inner, Known()]), [0])
    assert list(dataset_chain(outer)) == [outer, outer.dataset, inner]


def test_a_probe_has_what_its_sources_know():
    known = Known(classes=["cat", "dog"], transform=v2.Normalize(MEAN, STD))
    probe = describe_probe(IMAGES, torch.tensor([1, 0]), "pictures", [known], None)
    assert probe.class_name(1) == "dog"
    assert probe.mean == pytest.approx(MEAN)
    assert probe.origin == "pictures; denormalised with the dataset's Normalize(mean, std)"


def test_a_module_is_asked_for_class_names_only():
    """A normalisation in it may be part of its forward."""
    module = Known(classes=["cat", "dog"], transform=v2.Normalize(MEAN, STD))
    probe = describe_probe(IMAGES, torch.tensor([1, 0]), "pictures", [], module)
    assert probe.class_name(0) == "cat"
    assert (probe.mean, probe.origin) == (None, "pictures")


def test_names_of_fewer_classes_than_the_labels_are_of_other_classes():
    probe = describe_probe(IMAGES, torch.tensor([1, 5]), "pictures", [Known(classes=["cat", "dog"])], None)
    assert probe.class_names is None


class Metric(nn.Module):
    num_classes = 7


@pytest.mark.parametrize(
    ("module", "counts"),
    [
        (nn.Linear(1, 1), set()),
        (nn.Sequential(Metric()), {7}),
        (SimpleNamespace(num_classes=3, hparams={"num_classes": 4}), {3, 4}),
        (SimpleNamespace(config=SimpleNamespace(num_labels=5)), {5}),
        (SimpleNamespace(num_classes=True), set()),
    ],
)
def test_numbers_of_classes_that_a_module_declares(module, counts):
    assert declared_class_counts(module) == counts
