import pytest
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler, Subset
from torch.utils.data.distributed import DistributedSampler

from lightning_viz.data import samplers as order
from lightning_viz.data.samplers import is_steady, positions

from ..support import dataset


def test_positions_count_on():
    assert positions(DataLoader(dataset()), 6, 4).tolist() == [6, 7, 8, 9]


@pytest.mark.parametrize("count", [8, 9, 10, 11])
def test_positions_of_all_processes_are_the_data_once(count):
    found = []
    for rank in range(4):
        data = DataLoader(dataset(count), sampler=DistributedSampler(dataset(count), 4, rank, shuffle=False))
        found += positions(data, 0, len(data.sampler)).tolist()
    assert sorted(place for place in found if place >= 0) == list(range(count))


def test_what_is_shuffled_is_not_steady():
    data = dataset()
    assert is_steady(DataLoader(data))
    assert not is_steady(DataLoader(data, shuffle=True))
    assert not is_steady(DataLoader(data, sampler=RandomSampler(data)))
    assert is_steady(DataLoader(data, sampler=DistributedSampler(data, 2, 0, shuffle=False)))
    assert not is_steady(DataLoader(data, sampler=DistributedSampler(data, 2, 0, shuffle=True)))


def test_data_of_each_process_are_not_steady(monkeypatch):
    """A position counts over all processes, and an index in one."""
    monkeypatch.setattr(order, "processes", lambda: 2)
    data = dataset()
    assert not is_steady(DataLoader(data))
    assert is_steady(DataLoader(data, sampler=DistributedSampler(data, 2, 0, shuffle=False)))


class Backwards:
    """A sampler of one's own."""

    def __iter__(self):
        return iter(range(23, -1, -1))

    def __len__(self):
        return 24


def test_an_order_of_ones_own_is_not_steady():
    data = dataset()
    assert not is_steady(DataLoader(data, sampler=Backwards()))
    assert not is_steady(DataLoader(data, sampler=DistributedSampler(Backwards(), 2, 0, shuffle=False)))
    assert not is_steady(DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 6, False)))
    assert not is_steady(DataLoader(data, batch_sampler=[[3, 4], [0, 1]]))
    assert is_steady(DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 6, False)))
    assert is_steady(DataLoader(Subset(data, [5, 3])))


def test_a_stream_comes_as_it_comes():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(dataset())

    assert is_steady(DataLoader(Stream()))
