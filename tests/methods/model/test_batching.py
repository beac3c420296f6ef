import gc
import weakref

import pytest
import torch

from lightning_viz.methods.model.batching import Portions


class Memory:
    """Takes so many at once."""

    def __init__(self, most):
        self.most, self.asked, self.alive = most, [], []

    def __call__(self, part):
        values = torch.arange(100)[part] * 2
        self.asked.append(len(values))
        self.alive.append(weakref.ref(values))
        if len(values) > self.most:
            raise torch.OutOfMemoryError(f"no room for {len(values)}")
        return values


@pytest.mark.parametrize("most", [1, 2, 3, 5, 9, 10, 50])
@pytest.mark.parametrize("count", [1, 7, 10])
def test_portions_make_the_whole_and_stay_with_what_fits(most, count):
    portions, memory = Portions(), Memory(most)
    assert torch.equal(portions(memory, count), torch.arange(count) * 2)
    refusals = [size for size in memory.asked if size > most]
    assert portions.most is None or portions.most <= most
    memory.asked.clear()
    assert torch.equal(portions(memory, count), torch.arange(count) * 2)
    assert max(memory.asked) <= most
    assert len(refusals) <= 4


def test_halves_down_to_one():
    memory = Memory(0)
    with pytest.raises(torch.OutOfMemoryError, match=r"no room for 1 \(down to one picture of 10 was tried\)"):
        Portions()(memory, 10)
    assert memory.asked == [10, 5, 3, 2, 1]


def test_a_failed_attempt_keeps_nothing():
    memory = Memory(3)
    portions = Portions()

    def work(part):
        gc.disable()  # what is freed is freed at once
        try:
            assert all(one() is None for one, size in zip(memory.alive, memory.asked, strict=True) if size > 3)
            return memory(part)
        finally:
            gc.enable()

    portions(work, 10)


def test_other_errors_are_not_its_business():
    def work(part):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Portions()(work, 10)
