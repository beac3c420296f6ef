import numpy as np
import pytest
import torch
from torch import nn

from lightning_viz.collect.accumulator import RecordedBatch
from lightning_viz.collect.top_activations import LayerTopActivations, TopActivations
from lightning_viz.collect.top_samples import TopSamples

from ..support import dataset, loader, small_network
from .loop import accumulate


def brute_force(values, labels, count):
    """Of activations (N, U) the largest, by (value, position) of Python's own sort: [[(position, value, label)]] by unit."""
    return [
        [(n, column[n], labels[n]) for n in sorted(range(len(column)), key=lambda n: (-column[n], n))[:count]]
        for column in values.T.tolist()
    ]


def listed(top):
    """The same of what was recorded."""
    units = zip(top.positions.tolist(), top.values.tolist(), top.labels.tolist(), strict=True)
    return [list(zip(*unit, strict=True)) for unit in units]


def identity(count, example, **options):
    """Of a network whose only layer is "0"."""
    made = TopActivations(count, lambda network, images: ["0"], **options)
    made.hook_points(nn.Sequential(nn.Identity()), example)
    return made


@pytest.mark.parametrize("size", [5, 7, 24])
def test_the_top_samples_are_those_of_a_brute_force_pass(size):
    data, network = dataset(24), small_network().eval()
    made = TopActivations(6, lambda network, images: ["3"], keep_images=True)
    found = accumulate(network, list(loader(data, batch_size=size)), made).compute()["3"]
    with torch.no_grad():
        maps = network[:4](data.tensors[0])
    expected = brute_force(maps.amax(dim=(2, 3)), data.tensors[1].tolist(), 6)
    assert [[one[::2] for one in unit] for unit in listed(found.top)] == [
        [one[::2] for one in unit] for unit in expected
    ]
    torch.testing.assert_close(found.top.values, maps.amax(dim=(2, 3)).T.sort(descending=True).values[:, :6])
    for unit in range(8):
        for n, row, column in zip(
            found.top.positions[unit], found.top.rows[unit], found.top.columns[unit], strict=True
        ):
            assert maps[n, unit, row, column] == pytest.approx(float(maps[n, unit].max()), abs=1e-6)
    assert set(made.images) == set(found.top.positions.flatten().tolist())
    assert all(torch.equal(image, data.tensors[0][position]) for position, image in made.images.items())


@pytest.mark.parametrize("keep_images", [False, True])
def test_ties_go_to_the_first_in_the_data_in_any_order_and_number_of_processes(keep_images):
    """A thousand samples of which many are equal, shuffled, in three processes of uneven batches, one sample repeated."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 5, (1000, 3), generator=generator).float()
    labels = torch.randint(0, 4, (1000,), generator=generator)
    images = torch.arange(1000.0).reshape(-1, 1, 1, 1)
    order = torch.randperm(1000, generator=generator)
    states = []
    for part in (order[:400], order[400:700], order[700:]):
        made = identity(6, images, keep_images=keep_images)
        for rows in [*part.split(37), part[:1]]:
            peaks = made._peaks("0", nn.Identity(), values[rows], images[rows])
            positions = rows.numpy() if len(rows) > 1 else np.array([-1])
            made.update(RecordedBatch(images[rows], labels[rows], None, {"0": peaks}, positions))
        states.append(made.state())
    made.merge_state(states)
    found = made.compute()["0"]
    assert listed(found.top) == brute_force(values, labels.tolist(), 6)
    torch.testing.assert_close(found.mean, values.double().mean(dim=0))
    if keep_images:
        assert {n: float(image) for n, image in made.images.items()} == {
            n: n for n in found.top.positions.flatten().tolist()
        }


def test_before_any_batch_there_is_no_result():
    assert TopActivations(6, lambda network, images: ["0"]).compute() == {}


def test_other_loaders_are_not_looked_at():
    images, made = torch.rand(4, 1, 2, 2), identity(2, torch.rand(1, 1, 2, 2), loader=1)
    peaks = made._peaks("0", nn.Identity(), images, images)
    made.update(RecordedBatch(images, None, None, {"0": peaks}, np.arange(4)))
    assert made.compute() == {}


def test_given_units_alone_are_looked_at():
    images, made = torch.rand(4, 5, 2, 2), identity(2, torch.rand(1, 5, 2, 2), units_of=lambda layer: [3, 1])
    peaks = made._peaks("0", nn.Identity(), images, images)
    made.update(RecordedBatch(images, None, None, {"0": peaks}, np.arange(4)))
    found = made.compute()["0"]
    assert found.channels == [3, 1]
    expected = images[:, [3, 1]].amax(dim=(2, 3)).T.sort(descending=True).values[:, :2]
    torch.testing.assert_close(found.top.values, expected)


def test_pure_units_come_first_and_dead_ones_never():
    values = torch.tensor([[9.0, 9, 9], [5, 5, 5], [3, 3, 3], [0, 0, 0], [9, 0, 0]])
    labels = torch.tensor([[0, 0, 1], [2, 2, 2], [1, 1, 1], [0, 0, 0], [1, 1, 1]])
    positions = torch.arange(3).expand(5, 3)
    top = TopSamples(values, positions, positions, positions, labels)
    mean, square = torch.tensor([1.0, 1, 1, 0, 0.1]), torch.tensor([4.0, 4, 4, 0, 1])
    found = LayerTopActivations(
        [10, 11, 12, 13, 14], top, torch.stack([torch.full((5,), 100.0), 100 * mean, 100 * square]).double()
    )
    assert found.at(found.most_selective(4)).channels == [11, 12, 10]
    assert found.is_constant.tolist() == [False, False, False, True, False]
    assert (found.above_mean.positions >= 0).sum(dim=1).tolist() == [3, 3, 3, 0, 1]


@pytest.mark.parametrize("keep_images", [False, True])
def test_memory_is_bounded_with_2048_channels(keep_images, monkeypatch):
    """Of 1,000 images no more stay than fit, and no activation but those of the top samples."""
    monkeypatch.setattr("lightning_viz.collect.top_activations.MEMORY", 100 * 3 * 8 * 8 * 4)
    made = identity(5, torch.rand(1, 3, 8, 8), keep_images=keep_images)
    generator = torch.Generator().manual_seed(0)
    for start in range(0, 1000, 100):
        images = torch.rand(100, 3, 8, 8, generator=generator)
        peaks = made._peaks("0", nn.Identity(), torch.rand(100, 2048, 2, 2, generator=generator), images)
        made.update(RecordedBatch(images, None, None, {"0": peaks}, np.arange(start, start + 100)))
        assert len(made.images) <= 100
        assert sum(one.values.shape[1] for one in made._tops["0"]) <= 5 + 256
    assert len(made.compute()["0"].channels) == (20 if keep_images else 2048)
    assert bool(made.images) == keep_images


@pytest.mark.parametrize("classes", [2, 10])
def test_the_purity_with_shuffled_labels_is_that_of_noise(classes: int):
    """Units are chosen and scored on the same samples: pure noise is far above one in `classes`."""
    generator, found, shuffled = torch.Generator().manual_seed(0), [], []
    for _ in range(10):
        labels = torch.arange(400) % classes
        values = torch.randn(400, 64, generator=generator)
        top = TopSamples.of((values, torch.zeros(400, 64), torch.zeros(400, 64)), torch.arange(400), labels).largest(6)
        moments = torch.stack([torch.full((64,), 400.0), values.sum(dim=0), (values**2).sum(dim=0)]).double()
        layer = LayerTopActivations(list(range(64)), top, moments)
        found.append(layer.at(layer.most_selective(8)).purity)
        shuffled.append(layer.shuffled_purity(dict.fromkeys(range(classes), 400 // classes), 8))
        given = layer.shuffled_purity(dict.fromkeys(range(classes), 400 // classes))
        assert given < shuffled[-1]
    assert np.mean(found) == pytest.approx(np.mean(shuffled), abs=0.03)
    assert np.mean(found) > 1.5 / classes


def test_the_classes_of_all_samples_are_counted_once():
    made = accumulate(small_network().eval(), list(loader(dataset(24))), identity_of_layer(6))
    counts = torch.bincount(dataset(24).tensors[1]).tolist()
    assert made.class_counts == {label: count for label, count in enumerate(counts) if count}


def identity_of_layer(count):
    return TopActivations(count, lambda network, images: ["3"])
