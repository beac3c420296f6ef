import numpy as np
import pytest
import torch
from torch import nn

from lightning_viz.collect.channel_stats import Firing, Firings, extremes
from lightning_viz.collect.recorder import Harvest
from lightning_viz.data.batch import unpack_batch

from ..support import loader, small_network


def firing(maps):
    """Of all these feature maps (B, C, h, w), in two batches."""
    parts = []
    for batch in (maps[:1], maps[1:]):
        values = extremes(nn.ReLU(), batch, batch)
        parts.append(Firing(values[..., 0].amax(0), values[..., 1].amin(0), values[..., 2].mean(1).sum(), len(batch)))
    return Firing.joined(parts)


def heard(network, batches, layers, places=None):
    collector = Firings(lambda network, images: layers)
    harvest = Harvest(network, [collector], unpack_batch)
    harvest.open(batches[0][0])
    for batch in batches:
        harvest.start(batch)
        network(batch[0])
        harvest.end(batch, 0, None, places)
    harvest.close()
    assert harvest.error is None
    return collector


def test_a_channel_that_is_never_above_zero_is_dead():
    maps = torch.zeros(3, 4, 5, 5)
    maps[2, 1, 4, 4] = 1e-9
    maps[0, 3] = 2
    assert firing(maps).is_dead.tolist() == [True, False, True, False]
    assert firing(maps).dead == 0.5


def test_a_channel_that_never_varies_is_dead_in_a_layer_with_negative_activations():
    maps = torch.randn(3, 4, 5, 5)
    maps[:, 0], maps[:, 1] = 0.7, -0.1 * torch.rand(3, 5, 5)
    assert firing(maps).is_dead.tolist() == [True, False, False, False]


def test_sparsity_is_the_share_of_activations_not_above_zero():
    maps = torch.relu(torch.randn(3, 4, 5, 5))
    assert firing(maps).sparsity == pytest.approx(float((maps == 0).float().mean()))


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_activations_that_are_not_finite_have_no_share(bad):
    maps = torch.rand(3, 4, 5, 5)
    maps[1, 2, 3, 3] = bad
    assert torch.tensor([firing(maps).dead, firing(maps).sparsity]).isnan().all()
    assert "not finite" in str(firing(maps))


def test_it_hears_what_the_layers_return_before_it_is_overwritten():
    network = small_network().eval()
    batches = list(loader())
    collector = heard(network, batches, ["1", "5"])
    images = torch.cat([images for images, _ in batches])
    with torch.no_grad():
        before, after = network[:2](images), network[:6](images)
    assert collector.layers["1"].lowest == pytest.approx(before.amin(dim=(0, 2, 3)))
    assert collector.layers["1"].sparsity == pytest.approx(float((before <= 0).float().mean()))
    assert collector.layers["5"].highest == pytest.approx(after.amax(dim=(0, 2, 3)))
    assert collector.layers["5"].count == 24


def test_the_shares_of_several_processes_merge_to_those_of_one():
    network, batches = small_network().eval(), list(loader())
    whole = heard(network, batches, ["5"]).layers["5"]
    merged = Firings(lambda network, images: [])
    merged.merge([heard(network, part, ["5"]).share() for part in (batches[:1], batches[1:])] + [{}])
    one = merged.layers["5"]
    assert torch.equal(one.highest, whole.highest)
    assert torch.equal(one.lowest, whole.lowest)
    assert (one.sparsity, one.count) == (pytest.approx(whole.sparsity), 24)


def test_what_a_distributed_sampler_repeats_is_not_counted_again():
    network, (batch, *_) = small_network().eval(), list(loader())
    once = heard(network, [(batch[0][:4], batch[1][:4])], ["5"]).layers["5"]
    again = heard(network, [batch], ["5"], places=np.array([0, 1, 2, 3, -1, -1])).layers["5"]
    assert (again.count, again.sparsity) == (4, pytest.approx(once.sparsity))
    assert torch.equal(again.highest, once.highest)


def test_of_a_layer_that_runs_twice_the_last_run_counts():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()
            self.head = nn.Linear(3, 4)

        def forward(self, images):
            return self.head(self.relu(-self.relu(images) - 1).mean(dim=(2, 3)))

    assert heard(Twice(), list(loader()), ["relu"]).layers["relu"].dead == 1
