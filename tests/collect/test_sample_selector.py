from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lightning_viz.collect.accumulator import HookPoint, RecordedBatch
from lightning_viz.collect.sample_selector import SampleSelector, by_hash, by_loss

CLASSES = 5


def batches(count=100, size=7, classes=CLASSES):
    """Batches of images that carry their own number."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.arange(count)
    labels = numbers * numbers % classes
    scores = torch.randn(count, classes, generator=generator)
    for start in range(0, count, size):
        part = slice(start, start + size)
        images = numbers[part, None, None, None].float().expand(-1, 3, 4, 4)
        yield RecordedBatch(
            images, labels[part], scores[part], {"layer": images.flatten(1)[:, :2]}, numbers[part].numpy()
        )


def selector(size, key, **options):
    """With one hook point."""
    points = {"layer": HookPoint(nn.Identity(), lambda activation, images: activation)}
    made = SampleSelector(size, key, lambda network, images: points, **options)
    made.hook_points(nn.Identity(), torch.zeros(1))
    return made


def updated(made, given):
    for one in given:
        made.update(one)
    return made


@pytest.mark.parametrize("size", [1, 10, 64, 100, 200])
def test_what_is_kept_belongs_together(size):
    samples = updated(selector(size, by_hash(0)), batches()).compute()
    assert len(samples) == min(size, 100)
    assert (np.diff(samples.positions) > 0).all()
    assert np.array_equal(samples.images[:, 0, 0, 0], samples.positions)
    assert np.array_equal(samples.features["layer"], np.stack([samples.positions] * 2, axis=1))
    assert np.array_equal(samples.labels, samples.positions**2 % CLASSES)


def test_the_same_samples_are_kept_in_any_order_and_batches():
    first = updated(selector(20, by_hash(0)), batches()).compute()
    second = updated(selector(20, by_hash(0)), reversed(list(batches(size=13)))).compute()
    other = updated(selector(20, by_hash(1)), batches()).compute()
    assert np.array_equal(first.positions, second.positions)
    assert not np.array_equal(first.positions, other.positions)


@pytest.mark.parametrize("options", [{}, {"class_balanced": True}], ids=["by hash", "class-balanced"])
def test_the_states_of_three_processes_merge_to_the_samples_of_one(options):
    alone = updated(selector(20, by_hash(0), **options), batches()).compute()
    every = list(batches(size=5))
    states = [updated(selector(20, by_hash(0), **options), every[rank::3]).state() for rank in range(3)]
    together = selector(20, by_hash(0), **options)
    together.merge_state(states)
    merged = together.compute()
    assert np.array_equal(merged.positions, alone.positions)
    assert torch.equal(merged.features["layer"], alone.features["layer"])


def test_the_choice_is_uniform():
    batch = RecordedBatch(torch.zeros(1), None, None, {}, np.arange(100_000))
    keys = by_hash(3)(batch)
    assert len(np.unique(keys)) == 100_000
    assert np.histogram(keys, bins=10, range=(0, 1))[0] == pytest.approx(np.full(10, 10_000), rel=0.04)


def test_class_balanced():
    # 0, 1 and 4 are squares modulo 5: 20, 40 and 40 of a hundred
    samples = updated(selector(45, by_hash(0), class_balanced=True), batches()).compute()
    assert np.bincount(samples.labels).tolist() == [15, 15, 0, 0, 15]


def test_a_class_that_comes_late_gets_its_share():
    """Its samples are kept whatever their keys, however many of another class came before."""
    numbers = np.arange(500)
    labels = torch.from_numpy(numbers >= 490).long()
    given = [
        RecordedBatch(torch.zeros(10, 1, 1, 1), labels[part], None, {"layer": torch.zeros(10, 1)}, part)
        for part in numbers.reshape(-1, 10)
    ]
    samples = updated(selector(10, by_hash(0), class_balanced=True), given).compute()
    assert np.bincount(samples.labels).tolist() == [5, 5]


def test_a_repeated_sample_is_kept_once():
    repeated = [replace(one, positions=np.full(len(one.positions), -1)) for one in batches()]
    made = updated(selector(200, by_hash(0)), [*batches(), *repeated])
    assert made.compute().positions.tolist() == list(range(100))


def test_the_highest_losses_come_first():
    losses = torch.cat([batch.losses for batch in batches()])
    hardest = updated(selector(8, by_loss), batches()).ranked()
    assert hardest.positions.tolist() == losses.argsort(descending=True)[:8].tolist()
    assert hardest.losses == pytest.approx(losses.sort(descending=True).values[:8].numpy())


def test_computed_samples_are_in_the_order_of_the_data():
    assert (np.diff(updated(selector(8, by_loss), batches()).compute().positions) > 0).all()


def test_samples_without_a_loss_are_not_the_hardest():
    unlabelled = [replace(one, labels=None) for one in batches()]
    assert updated(selector(8, by_loss), unlabelled).ranked() is None


def test_one_unlabelled_sample_is_not_the_hardest_and_the_others_may_be():
    first, *rest = batches()
    labels = first.labels.clone()
    labels[3] = -1
    made = updated(selector(200, by_loss), [replace(first, labels=labels), *rest])
    assert made.ranked().positions.tolist().count(3) == 0
    assert len(made.ranked()) == 99


def test_images_of_several_sizes_say_so():
    made = SampleSelector(20, by_hash(0))
    for size in (4, 5):
        made.update(RecordedBatch(torch.zeros(2, 3, size, 4), None, None, {}, np.arange(2) + size))
    with pytest.raises(ValueError, match="the images have the sizes 3×4×4, 3×5×4; resize them"):
        made.state()


def test_samples_that_cannot_be_kept_are_skipped_at_once():
    bounded = selector(10, by_hash(0), expected=100)
    assert sum(len(one.positions) - (by_hash(0)(one) >= bounded._bound).sum() for one in batches()) == 10
    alone = updated(selector(10, by_hash(0)), batches()).compute()
    assert np.array_equal(updated(bounded, batches()).compute().positions, alone.positions)


def test_a_batch_that_did_not_reach_the_layer_is_left_out():
    first, *rest = batches()
    made = updated(selector(200, by_hash(0)), [replace(first, values={}), *rest])
    assert made.compute().positions.tolist() == list(range(7, 100))


def test_other_loaders_are_not_kept():
    assert updated(selector(8, by_hash(0), loader=1), batches()).compute() is None


def test_images_are_kept_downscaled():
    large = RecordedBatch(torch.rand(2, 3, 30, 60), None, None, {}, np.arange(2))
    made = SampleSelector(2, by_hash(0), side=20)
    made.update(large)
    assert made.compute().images.shape == (2, 3, 10, 20)


def test_memory_is_bounded():
    made = updated(selector(10, by_hash(0)), batches(5000, 50))
    assert sum(map(len, made._keys)) <= 20
