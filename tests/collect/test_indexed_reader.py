import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler, Subset, SubsetRandomSampler
from torch.utils.data.distributed import DistributedSampler

from lightning_viz.collect.indexed_reader import read_samples
from lightning_viz.collect.recorder import Seen
from lightning_viz.collect.samples import Keeper, by_chance
from lightning_viz.data.batch import unpack_batch

from ..support import Lit, dataset, loader, trainer


@pytest.fixture
def read(tmp_path):
    def read(data, size=10, count=24, module=None, **options):
        module = (Lit() if module is None else module).eval()
        run = trainer(tmp_path)
        run.strategy.connect(module)
        keeper = Keeper(size, by_chance(0), **options)
        return read_samples(run, module, data, keeper, unpack_batch, count)

    return read


def test_the_samples_are_those_that_a_loop_would_leave(read):
    images, labels = dataset().tensors
    keeper = Keeper(10, by_chance(0))
    keeper.take(Seen(images, labels, None, {}, np.arange(24)))
    found = read(loader())
    assert np.array_equal(found.positions, keeper.samples.positions)
    assert torch.equal(found.images, keeper.samples.images)
    assert np.array_equal(found.labels, keeper.samples.labels)


def test_what_the_network_says_is_read_too(read):
    module = Lit()
    found = read(loader(), module=module)
    scores = module(found.images)
    assert found.predicted.tolist() == scores.argmax(dim=1).tolist()
    losses = torch.nn.functional.cross_entropy(scores, torch.from_numpy(found.labels), reduction="none")
    assert found.losses == pytest.approx(losses.detach().numpy(), rel=1e-4)


def test_no_more_than_the_loop_would_see(read):
    assert read(loader(), size=100, count=7).positions.tolist() == list(range(7))


def test_classes_that_are_listed_are_balanced(read):
    labels = dataset().tensors[1]
    uneven = Subset(dataset(), [*np.flatnonzero(labels == 0), *np.flatnonzero(labels == 1), 2, 3])
    assert np.bincount(read(loader(uneven), size=8, count=len(uneven), class_balanced=True).labels).tolist() == [
        3,
        3,
        1,
        1,
    ]


def test_a_stream_cannot_be_read(read):
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(dataset())

    assert read(DataLoader(Stream(), batch_size=4), count=None) is None


def test_data_that_batch_by_themselves_cannot_be_read(read):
    assert read(DataLoader(dataset(), batch_size=None)) is None


def test_data_that_only_workers_can_read_cannot_be_read(read):
    class WorkersOnly(torch.utils.data.Dataset):
        def __len__(self):
            return 24

        def __getitem__(self, index):
            raise RuntimeError("no connection in this process")

    assert read(DataLoader(WorkersOnly(), batch_size=4)) is None


def test_no_hook_stays(read):
    module = Lit()
    read(loader(), module=module)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


PART = [20, 3, 22, 5]


def test_only_the_part_is_read_that_the_sampler_shows(read):
    """The rest may be training data."""
    found = read(loader(sampler=SubsetRandomSampler(PART)))
    assert found.positions.tolist() == sorted(PART)
    assert torch.equal(found.images, dataset().tensors[0][sorted(PART)])


def test_only_the_part_is_read_under_the_sampler_that_lightning_makes(read):
    from lightning_fabric.utilities.distributed import DistributedSamplerWrapper

    wrapped = DistributedSamplerWrapper(SubsetRandomSampler(PART), num_replicas=2, rank=0, shuffle=False)
    assert isinstance(wrapped, DistributedSampler)
    assert read(loader(sampler=wrapped)).positions.tolist() == sorted(PART)


def test_a_part_is_balanced(read):
    part = SubsetRandomSampler([0, 4, 8, 12, 16, 20, 1, 2])  # of class 0, but for the last two
    found = read(loader(sampler=part), size=4, class_balanced=True)
    assert np.bincount(found.labels).tolist() == [2, 1, 1]


@pytest.mark.parametrize("batches", [BatchSampler(SequentialSampler(range(24)), 6, False), [[4, 5], [0, 1, 2]]])
def test_a_batch_sampler_is_read(batches, read):
    assert len(read(DataLoader(dataset(), batch_sampler=batches), size=100)) == 24
