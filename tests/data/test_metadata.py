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
    find_bands,
    find_class_names,
    has_binary_loss,
)
from lightning_viz.data.normalisation import find_normalisation

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


def test_a_loss_of_independent_labels_is_found():
    assert has_binary_loss(nn.ModuleList([nn.Linear(1, 1), nn.BCEWithLogitsLoss()]))
    assert not has_binary_loss(nn.ModuleList([nn.Linear(1, 1), nn.CrossEntropyLoss()]))


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


def test_a_normalisation_that_is_not_true_of_the_images_is_not_claimed():
    probe = describe_probe(IMAGES, None, "pictures", [Known(transform=v2.Normalize([1354.0] * 3, [245.0] * 3))], None)
    assert (probe.mean, probe.origin) == (None, "pictures")
    assert probe.note == "pictures; values 0 to 1 shown as they are"


# Class names.


def features():
    """Stand-in for the features of a Hugging Face dataset: a dict in which a ClassLabel has `names`."""
    return {"image": SimpleNamespace(), "label": SimpleNamespace(names=["cat", "dog"], num_classes=2)}


@pytest.mark.parametrize(
    "known",
    [
        {"class_names": ["cat", "dog"]},
        {"classes": ("cat", "dog")},
        {"categories": ["cat", "dog"]},
        {"class_to_idx": {"dog": 1, "cat": 0}},
        {"features": features()},
        {"classes": 2, "class_to_idx": {"dog": 1, "cat": 0}},
    ],
    ids=str,
)
def test_class_names_of_datasets(known):
    assert find_class_names([Known(**known)]) == ["cat", "dog"]


@pytest.mark.parametrize("known", [{"classes": 2}, {"classes": []}, {"class_to_idx": {"cat": 3}}, {"features": {}}])
def test_no_class_names(known):
    assert find_class_names([Known(**known)]) is None


def test_what_cannot_be_read_is_not_known():
    class Unprepared:
        @property
        def classes(self):
            raise RuntimeError("call setup() first")

        rgb_bands = transform = class_names = classes

    assert describe_probe(IMAGES, None, "pictures", [Unprepared()], Unprepared()).class_names is None


def test_the_names_that_fit_the_labels_are_found():
    coarse, fine = Known(classes=["animal"]), Known(classes=["cat", "dog"])
    assert find_class_names([coarse, fine], torch.tensor([0, 1])) == ["cat", "dog"]
    assert find_class_names([coarse, fine], torch.tensor([0, 0])) == ["animal"]
    assert find_class_names([coarse, fine], torch.tensor([[0, 1], [1, 1]])) == ["cat", "dog"]  # several labels


def vit(names=None, **options):
    from transformers import ViTConfig, ViTForImageClassification

    labels = {} if names is None else {"id2label": dict(enumerate(names)), "label2id": {}}
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    return ViTForImageClassification(ViTConfig(**small, image_size=8, patch_size=4, **labels, **options))


def test_class_names_of_hugging_faces_models():
    named = vit(["cat", "dog", "owl"])
    assert find_class_names([named]) == ["cat", "dog", "owl"]
    assert find_class_names([nn.ModuleDict({"network": named})], torch.tensor([0, 2])) == ["cat", "dog", "owl"]
    assert find_class_names([named], torch.tensor([0, 3])) is None


def test_generic_names_of_hugging_faces_models_are_none():
    assert find_class_names([vit(num_labels=5)]) is None


def test_a_backbone_does_not_name_the_classes_of_another_head():
    named = vit(["cat", "dog", "owl"])
    assert find_class_names([nn.Sequential(named.vit, nn.Linear(8, 5))]) is None
    assert find_class_names([nn.Sequential(named, nn.Linear(3, 5))]) is None


# Bands.

SENTINEL_2 = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B08A", "B09", "B10", "B11", "B12")


class EuroSAT(TensorDataset):
    """Stand-in for torchgeo.datasets.EuroSAT, which is too large to install: its attributes."""

    all_band_names = SENTINEL_2
    rgb_bands = ("B04", "B03", "B02")

    def __init__(self, bands=SENTINEL_2):
        super().__init__(torch.zeros(1, len(bands), 2, 2))
        self.bands = bands


@pytest.mark.parametrize(
    ("dataset", "channels", "bands"),
    [
        (EuroSAT(), 13, [3, 2, 1]),
        (EuroSAT(("B02", "B03", "B04", "B08")), 4, [2, 1, 0]),
        (EuroSAT(("B02", "B03", "B04", "B08")), 5, [2, 1, 0]),  # an index appended by a transform
        (EuroSAT(("B08", "B11", "B12", "B01")), 4, None),  # loaded without them
        (EuroSAT(), 6, None),  # others were selected by a transform
        (EuroSAT(("B04", "B03", "B02")), 3, None),
        (Known(rgb_bands=(2, 1, 0)), 8, [2, 1, 0]),
        (Known(rgb_indices=[3, 2, 1]), 8, [3, 2, 1]),
        (Known(rgb_bands=("B04",) * 3, bands="all"), 12, None),
        (Known(), 13, None),
    ],
)
def test_bands_of_torchgeos_datasets(dataset, channels, bands):
    assert find_bands(list(dataset_chain(Subset(dataset, [0]))), channels) == bands


def test_a_probe_shows_the_bands_of_its_dataset():
    probe = describe_probe(torch.rand(2, 13, 4, 4), None, "pictures", [EuroSAT()], None)
    assert probe.note.startswith("pictures; channels 3, 2, 1 of 13 shown as RGB")
