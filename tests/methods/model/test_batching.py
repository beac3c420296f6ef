import gc
import weakref

import pytest
import torch

from lightning_viz.methods.model.batching import AutoBatch, group_variants


class Memory:
    """Work that runs out of memory for more than `limit` images."""

    def __init__(self, limit):
        self.limit, self.sizes, self.alive = limit, [], []

    def __call__(self, part):
        values = torch.arange(100)[part] * 2
        self.sizes.append(len(values))
        self.alive.append(weakref.ref(values))
        if len(values) > self.limit:
            raise torch.OutOfMemoryError(f"no room for {len(values)}")
        return values


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9, 10, 50])
@pytest.mark.parametrize("count", [1, 7, 10])
def test_batches_cover_all_images_and_the_limit_is_kept(limit, count):
    batches, memory = AutoBatch(), Memory(limit)
    assert torch.equal(batches.cat(memory, count), torch.arange(count) * 2)
    refusals = [size for size in memory.sizes if size > limit]
    assert batches.limit is None or batches.limit <= limit
    memory.sizes.clear()
    assert torch.cat(batches.map(memory, count)).equal(torch.arange(count) * 2)
    assert max(memory.sizes) <= limit
    assert len(refusals) <= 4


def test_halves_down_to_one():
    memory = Memory(0)
    with pytest.raises(torch.OutOfMemoryError, match=r"no room for 1 \(tried down to 1 image of 10\)"):
        AutoBatch().cat(memory, 10)
    assert memory.sizes == [10, 5, 3, 2, 1]


def test_a_failed_attempt_keeps_no_memory():
    memory = Memory(3)

    def work(part):
        gc.disable()  # reference counting alone must free it
        try:
            assert all(one() is None for one, size in zip(memory.alive, memory.sizes, strict=True) if size > 3)
            return memory(part)
        finally:
            gc.enable()

    AutoBatch().cat(work, 10)


def test_other_errors_pass():
    def work(part):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        AutoBatch().cat(work, 10)


@pytest.mark.parametrize(("batch_size", "groups"), [(1, [1] * 5), (4, [2, 2, 1]), (100, [5])])
def test_variants_are_grouped_by_images(batch_size, groups):
    variants = [torch.zeros(2, 1) for _ in range(5)]
    assert [len(group) for group in group_variants(variants, batch_size)] == groups
