import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)
from torchvision.transforms import transforms as v1
from torchvision.transforms import v2

from lightning_viz.data.class_balanced import (
    balanced,
    chain,
    find_class_names,
    find_normalisation,
    listed_labels,
    sample_batch,
)

LABELS = torch.arange(100) // 25  # sorted by class, as image folders are


class Listed(Dataset):
    """Lists its labels, and counts what is loaded."""

    targets = LABELS.tolist()

    def __init__(self):
        self.loaded = []

    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        self.loaded.append(index)
        return torch.full((3, 2, 2), float(index)), int(LABELS[index])


class Unlisted(Dataset):
    def __len__(self):
        return len(LABELS)

    def __getitem__(self, index):
        return torch.full((3, 2, 2), float(index)), int(LABELS[index])


def sample(dataset, count=8, **options):
    return sample_batch(DataLoader(dataset, batch_size=4, **options), count, lambda batch: batch[1])


@pytest.mark.parametrize(
    "dataset",
    [Listed(), TensorDataset(torch.rand(100, 3, 2, 2), LABELS), Subset(Listed(), range(100))],
    ids=["targets", "TensorDataset", "Subset"],
)
def test_classes_are_balanced_from_the_listed_labels(dataset):
    assert np.bincount(sample(dataset)[1]).tolist() == [2, 2, 2, 2]


def test_a_part_under_a_batch_sampler_is_all_that_is_shown():
    part = BatchSampler(SubsetRandomSampler([90, 91, 92]), 2, False)
    loader = DataLoader(Listed(), batch_sampler=part)
    images, _ = sample_batch(loader, 8, lambda batch: batch[1])
    assert sorted(images[:, 0, 0, 0].tolist()) == [90, 91, 92]


def test_every_start_of_the_sample_is_balanced():
    assert sorted(sample(Listed())[1][:4].tolist()) == [0, 1, 2, 3]


def test_only_the_samples_taken_are_loaded():
    dataset = Listed()
    sample(dataset)
    assert len(dataset.loaded) == 8


def test_unlisted_labels_are_balanced_from_a_scan():
    assert np.bincount(sample(Unlisted(), 4)[1], minlength=4).tolist() == [1, 1, 1, 1]


def test_the_sample_is_the_same_each_time_and_draws_no_random_number():
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()
    assert torch.equal(sample(Listed())[0], sample(Listed())[0])
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == np.random.get_state()[1].tolist()


def test_fewer_samples_than_wanted():
    assert len(sample(Subset(Listed(), [3, 50]))[1]) == 2


def test_the_loaders_own_collate_is_used():
    batch = sample_batch(
        DataLoader(Listed(), collate_fn=lambda items: {"x": torch.stack([image for image, _ in items])}),
        3,
        lambda b: None,
    )
    assert batch["x"].shape == (3, 3, 2, 2)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([])


@pytest.mark.parametrize("loader", [DataLoader(Stream()), DataLoader(Listed(), batch_size=None)])
def test_what_cannot_be_read_by_index_gives_none(loader):
    assert sample_batch(loader, 3, lambda batch: None) is None


def test_more_classes_than_pictures():
    assert len(set(balanced(np.arange(1000) // 2, 8))) == 8


@pytest.mark.parametrize("targets", [None, [[1, 2], [3]], ["a", "b"], np.zeros((2, 3)), [0.5, 1.5], [1]])
def test_what_is_no_list_of_class_indices_is_not_taken_for_one(targets):
    class Odd(Dataset):
        def __len__(self):
            return 2

    odd = Odd()
    odd.targets = targets
    assert listed_labels(odd) is None


MEAN, STD = [0.5, 0.4, 0.3], [0.2, 0.2, 0.1]


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
    dataset = Listed()
    dataset.transform = transform
    mean, std = find_normalisation(list(chain(Subset(ConcatDataset([dataset]), [0]))), 3)
    assert mean == pytest.approx(MEAN)
    assert std == pytest.approx(STD)


def test_normalisation_of_torchvisions_own_presets_is_found():
    from torchvision.models import ResNet18_Weights

    dataset = Listed()
    dataset.transform = ResNet18_Weights.DEFAULT.transforms()
    assert find_normalisation([dataset], 3)[0] == pytest.approx([0.485, 0.456, 0.406])


@pytest.mark.parametrize("transform", [None, v2.Compose([v2.ToImage()]), v2.Normalize([0.1] * 5, [1] * 5), lambda x: x])
def test_no_normalisation_is_none(transform):
    dataset = Listed()
    dataset.transform = transform
    assert find_normalisation([dataset], 3) is None


def test_class_names():
    dataset = Listed()
    dataset.classes = ["a", ("tench", "Tinca tinca")]
    assert find_class_names([object(), dataset]) == ["a", "tench"]
    assert find_class_names([Listed()]) is None
