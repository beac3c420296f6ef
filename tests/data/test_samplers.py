import pytest
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
)
from torch.utils.data.distributed import DistributedSampler

from lightning_viz.data import samplers
from lightning_viz.data.samplers import (
    batch_size_of,
    dataset_indices,
    has_fixed_order,
    is_indexable,
    sample_positions,
    sampler_of,
)

from ..support import Backwards, Stream, dataset


def test_positions_count_on():
    assert sample_positions(DataLoader(dataset()), 6, 4).tolist() == [6, 7, 8, 9]


@pytest.mark.parametrize("count", [8, 9, 10, 11])
def test_positions_of_all_processes_are_the_data_once(count):
    found = []
    for rank in range(4):
        data = DataLoader(dataset(count), sampler=DistributedSampler(dataset(count), 4, rank, shuffle=False))
        found += sample_positions(data, 0, len(data.sampler)).tolist()
    assert sorted(position for position in found if position >= 0) == list(range(count))


def test_a_shuffled_order_is_not_fixed():
    data = dataset()
    assert has_fixed_order(DataLoader(data))
    assert not has_fixed_order(DataLoader(data, shuffle=True))
    assert not has_fixed_order(DataLoader(data, sampler=RandomSampler(data)))
    assert has_fixed_order(DataLoader(data, sampler=DistributedSampler(data, 2, 0, shuffle=False)))
    assert not has_fixed_order(DataLoader(data, sampler=DistributedSampler(data, 2, 0, shuffle=True)))


def test_data_of_each_process_have_no_fixed_order(monkeypatch):
    """A position counts over all processes, and an index in one."""
    monkeypatch.setattr(samplers, "world_size", lambda: 2)
    data = dataset()
    assert not has_fixed_order(DataLoader(data))
    assert has_fixed_order(DataLoader(data, sampler=DistributedSampler(data, 2, 0, shuffle=False)))


def test_a_custom_order_is_not_fixed():
    data = dataset()
    assert not has_fixed_order(DataLoader(data, sampler=Backwards()))
    assert not has_fixed_order(DataLoader(data, sampler=DistributedSampler(Backwards(), 2, 0, shuffle=False)))
    assert not has_fixed_order(DataLoader(data, batch_sampler=BatchSampler(RandomSampler(data), 6, False)))
    assert not has_fixed_order(DataLoader(data, batch_sampler=[[3, 4], [0, 1]]))
    assert has_fixed_order(DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 6, False)))
    assert has_fixed_order(DataLoader(Subset(data, [5, 3])))


def test_a_stream_has_one_order():
    assert has_fixed_order(DataLoader(Stream()))


@pytest.mark.parametrize(
    ("loader", "indexable"),
    [
        (DataLoader(dataset()), True),
        (DataLoader(dataset(), shuffle=True), False),
        (DataLoader(Stream()), False),
        (DataLoader(dataset(), batch_size=None), False),
    ],
    ids=["in order", "shuffled", "stream", "batches by itself"],
)
def test_the_nth_sample_of_the_loop_is_the_datasets(loader, indexable):
    assert is_indexable(loader) is indexable


def test_the_sampler_is_that_inside_a_batch_sampler():
    inner = SubsetRandomSampler([4, 2])
    assert sampler_of(DataLoader(dataset(), batch_sampler=BatchSampler(inner, 2, False))) is inner
    assert sampler_of(DataLoader(dataset(), sampler=inner)) is inner


def test_the_indices_are_the_samplers_part():
    assert dataset_indices(DataLoader(dataset(), sampler=SubsetRandomSampler([4, 2]))).tolist() == [4, 2]
    assert dataset_indices(DataLoader(dataset(5))).tolist() == [0, 1, 2, 3, 4]


def test_the_batch_size_may_be_unknown():
    assert batch_size_of(DataLoader(dataset(), batch_size=7)) == 7
    assert batch_size_of(DataLoader(dataset(), batch_sampler=BatchSampler(SequentialSampler(dataset()), 5, False))) == 5
    assert batch_size_of(DataLoader(dataset(), batch_sampler=[[1, 2], [3]])) is None
