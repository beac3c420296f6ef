import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from lightning_viz.data.class_balanced import (
    balanced_rows,
    choose_rows,
    hash_uniform,
    listed_labels,
    read_balanced_batch,
    shallow_copy,
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
    return read_balanced_batch(DataLoader(dataset, batch_size=4, **options), count, lambda batch: batch[1])


@pytest.mark.parametrize(
    "dataset",
    [Listed(), TensorDataset(torch.rand(100, 3, 2, 2), LABELS), Subset(Listed(), range(100))],
    ids=["targets", "TensorDataset", "Subset"],
)
def test_classes_are_balanced_from_the_listed_labels(dataset):
    assert np.bincount(sample(dataset)[1]).tolist() == [2, 2, 2, 2]


def test_only_the_part_under_a_batch_sampler_is_read():
    part = BatchSampler(SubsetRandomSampler([90, 91, 92]), 2, False)
    loader = DataLoader(Listed(), batch_sampler=part)
    images, _ = read_balanced_batch(loader, 8, lambda batch: batch[1])
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
    batch = read_balanced_batch(
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
    assert read_balanced_batch(loader, 3, lambda batch: None) is None


def test_more_classes_than_pictures():
    assert len(set(balanced_rows(np.arange(1000) // 2, 8))) == 8


@pytest.mark.parametrize("targets", [None, [[1, 2], [3]], ["a", "b"], np.zeros((2, 3)), [0.5, 1.5], [1]])
def test_what_is_no_list_of_class_indices_is_not_taken_for_one(targets):
    class Odd(Dataset):
        def __len__(self):
            return 2

    odd = Odd()
    odd.targets = targets
    assert listed_labels(odd) is None


def test_unlabelled_samples_come_last():
    assert balanced_rows(np.array([-1, 0, -1, 0, 1]), 5) == [1, 4, 3, 0, 2]


def test_a_hash_of_positions_is_uniform_and_depends_on_the_seed():
    found = hash_uniform(np.arange(100_000), 3)
    assert len(np.unique(found)) == 100_000
    assert np.histogram(found, bins=10, range=(0, 1))[0] == pytest.approx(np.full(10, 10_000), rel=0.04)
    assert not np.array_equal(found, hash_uniform(np.arange(100_000), 4))


def test_rows_are_chosen_by_key_then_position():
    keys, positions = np.array([0.5, 0.1, 0.5, 0.3]), np.array([3, 9, 1, 0])
    assert choose_rows(keys, positions, None, 3).tolist() == [1, 3, 2]
    assert choose_rows(keys, positions, np.array([0, 0, 1, 0]), 2).tolist() == [1, 2]


def test_what_a_dataset_wraps_is_copied_as_well():
    inner = Listed()
    copied = shallow_copy(Subset(inner, [3, 50]))
    copied.dataset.opened = True
    assert not hasattr(inner, "opened")
    assert copied.dataset.loaded is inner.loaded
