from dataclasses import replace

import numpy as np
import pytest
import torch

from lightning_viz.collect.recorder import Seen
from lightning_viz.collect.samples import Keeper, by_chance, by_loss, shrunk

CLASSES = 5


def batches(count=100, size=7, classes=CLASSES):
    """Batches of pictures that carry their own number."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.arange(count)
    labels = numbers * numbers % classes
    logits = torch.randn(count, classes, generator=generator)
    for start in range(0, count, size):
        part = slice(start, start + size)
        images = numbers[part, None, None, None].float().expand(-1, 3, 4, 4)
        yield Seen(images, labels[part], logits[part], {"layer": images.flatten(1)[:, :2]}, numbers[part].numpy())


def kept(keeper, seen):
    keeper._names = ["layer"]
    for one in seen:
        keeper.take(one)
    return keeper


@pytest.mark.parametrize("size", [1, 10, 64, 100, 200])
def test_what_is_kept_belongs_together(size):
    samples = kept(Keeper(size, by_chance(0)), batches()).samples
    assert len(samples) == min(size, 100)
    assert (np.diff(samples.positions) > 0).all()
    assert np.array_equal(samples.images[:, 0, 0, 0], samples.positions)
    assert np.array_equal(samples.features["layer"], np.stack([samples.positions] * 2, axis=1))
    assert np.array_equal(samples.labels, samples.positions**2 % CLASSES)


def test_the_same_samples_are_kept_however_they_come():
    first = kept(Keeper(20, by_chance(0)), batches()).samples
    second = kept(Keeper(20, by_chance(0)), reversed(list(batches(size=13)))).samples
    other = kept(Keeper(20, by_chance(1)), batches()).samples
    assert np.array_equal(first.positions, second.positions)
    assert not np.array_equal(first.positions, other.positions)


@pytest.mark.parametrize("options", [{}, {"class_balanced": True}], ids=["by chance", "class-balanced"])
def test_shares_of_processes_merge_to_the_samples_of_one(options):
    alone = kept(Keeper(20, by_chance(0), **options), batches()).samples
    every = list(batches(size=5))
    shares = [kept(Keeper(20, by_chance(0), **options), every[rank::3]).share() for rank in range(3)]
    together = Keeper(20, by_chance(0), **options)
    together.merge(shares)
    assert np.array_equal(together.samples.positions, alone.positions)


def test_the_choice_is_uniform():
    seen = Seen(torch.zeros(1), None, None, {}, np.arange(100_000))
    keys = by_chance(3)(seen)
    assert len(np.unique(keys)) == 100_000
    assert np.histogram(keys, bins=10, range=(0, 1))[0] == pytest.approx(np.full(10, 10_000), rel=0.04)


def test_class_balanced():
    # 0, 1 and 4 are squares modulo 5: 20, 40 and 40 of a hundred
    samples = kept(Keeper(45, by_chance(0), class_balanced=True), batches()).samples
    assert np.bincount(samples.labels).tolist() == [15, 15, 0, 0, 15]


def test_a_repeated_sample_is_kept_once():
    repeated = [replace(one, positions=np.full(len(one.positions), -1)) for one in batches()]
    assert kept(Keeper(200, by_chance(0)), [*batches(), *repeated]).samples.positions.tolist() == list(range(100))


def test_the_highest_losses_come_first():
    losses = torch.cat([seen.losses for seen in batches()])
    hardest = kept(Keeper(8, by_loss), batches()).best
    assert hardest.positions.tolist() == losses.argsort(descending=True)[:8].tolist()
    assert hardest.losses == pytest.approx(losses.sort(descending=True).values[:8].numpy())


def test_what_has_no_loss_is_not_the_hardest():
    unlabelled = [replace(one, labels=None) for one in batches()]
    assert kept(Keeper(8, by_loss), unlabelled).best is None


def test_labels_beyond_the_classes_have_no_loss():
    seen = replace(next(batches()), labels=torch.full((7,), 99))
    assert seen.losses.isnan().all()


def test_pictures_of_several_sizes_say_so():
    keeper = Keeper(20, by_chance(0))
    for size in (4, 5):
        keeper.take(Seen(torch.zeros(2, 3, size, 4), None, None, {}, np.arange(2) + size))
    with pytest.raises(ValueError, match="the pictures are 3×4×4, 3×5×4; resize them"):
        keeper.share()


def test_what_will_not_be_kept_is_not_looked_at():
    looked = Keeper(10, by_chance(0), expected=100)
    assert sum(len(seen.positions) - (by_chance(0)(seen) >= looked._bound).sum() for seen in batches()) == 10
    alone = kept(Keeper(10, by_chance(0)), batches()).samples
    assert np.array_equal(kept(looked, batches()).samples.positions, alone.positions)


def test_other_loaders_are_not_kept():
    assert kept(Keeper(8, by_chance(0), loader=1), batches()).samples is None


def test_memory_is_bounded():
    keeper = kept(Keeper(10, by_chance(0)), batches(5000, 50))
    assert sum(map(len, keeper._keys)) <= 20


def test_pictures_are_shrunk_into_the_square():
    assert shrunk(torch.rand(2, 3, 30, 60), 20).shape == (2, 3, 10, 20)
    assert shrunk(torch.rand(2, 1, 8, 8), 20).shape == (2, 1, 8, 8)
    assert shrunk(torch.rand(2, 60, 30), 20).shape == (2, 20, 10)
    assert shrunk(torch.full((1, 3, 300, 2), 0.5), 20).numpy() == pytest.approx(np.full((1, 3, 20, 1), 0.5))
