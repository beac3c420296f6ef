import numpy as np
import pytest
import torch
from torch import nn

from lightning_viz.collect.channel_statistics import ChannelStatistics, ChannelStatisticsAccumulator, channel_extremes

from ..support import loader, small_network
from .loop import accumulate


def statistics(maps):
    """Of all these feature maps (B, C, h, w), in two batches."""
    parts = []
    for batch in (maps[:1], maps[1:]):
        values = channel_extremes(nn.ReLU(), batch, batch)
        highest, lowest = values[..., 0].amax(dim=0), values[..., 1].amin(dim=0)
        parts.append(ChannelStatistics(highest, lowest, values[..., 2].mean(dim=1).sum(), len(batch)))
    return ChannelStatistics.merged(parts)


def recorded(network, batches, layers, positions=None):
    return accumulate(
        network, batches, ChannelStatisticsAccumulator(lambda network, images: layers), positions=positions
    )


def test_a_channel_that_is_never_positive_is_dead():
    maps = torch.zeros(3, 4, 5, 5)
    maps[2, 1, 4, 4] = 1e-9
    maps[0, 3] = 2
    assert statistics(maps).is_dead.tolist() == [True, False, True, False]
    assert statistics(maps).dead == 0.5


def test_a_channel_that_never_varies_is_dead_in_a_layer_with_negative_activations():
    maps = torch.randn(3, 4, 5, 5)
    maps[:, 0], maps[:, 1] = 0.7, -0.1 * torch.rand(3, 5, 5)
    assert statistics(maps).is_dead.tolist() == [True, False, False, False]


def test_sparsity_is_the_share_of_activations_that_are_not_positive():
    maps = torch.relu(torch.randn(3, 4, 5, 5))
    assert statistics(maps).sparsity == pytest.approx(float((maps == 0).float().mean()))


def test_the_text_says_count_and_shares():
    maps = torch.zeros(3, 4, 5, 5)
    maps[:, :2] = 1
    assert str(statistics(maps)) == "2 of 4 channels dead, 50% of activations not positive, over 3 images"


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_activations_that_are_not_finite_have_no_share(bad):
    maps = torch.rand(3, 4, 5, 5)
    maps[1, 2, 3, 3] = bad
    assert torch.tensor([statistics(maps).dead, statistics(maps).sparsity]).isnan().all()
    assert "not finite" in str(statistics(maps))


def test_activations_are_recorded_after_the_activation_function():
    network, batches = small_network().eval(), list(loader())
    found = recorded(network, batches, ["1", "5"]).compute()
    images = torch.cat([images for images, _ in batches])
    with torch.no_grad():
        before, after = network[:3](images), network[:7](images)
    assert found["1"].lowest == pytest.approx(before.amin(dim=(0, 2, 3)))
    assert found["1"].sparsity == pytest.approx(float((before <= 0).float().mean()))
    assert found["5"].highest == pytest.approx(after.amax(dim=(0, 2, 3)))
    assert found["5"].count == 24


def test_the_states_of_three_processes_merge_to_that_of_one():
    """The third has seen no batch."""
    network, batches = small_network().eval(), list(loader())
    whole = recorded(network, batches, ["5"]).compute()["5"]
    merged = ChannelStatisticsAccumulator(lambda network, images: [])
    merged.merge_state([recorded(network, part, ["5"]).state() for part in (batches[:1], batches[1:])] + [{}])
    one = merged.compute()["5"]
    assert torch.equal(one.highest, whole.highest)
    assert torch.equal(one.lowest, whole.lowest)
    assert (one.sparsity, one.count) == (pytest.approx(whole.sparsity), 24)


def test_before_any_batch_there_is_no_result():
    assert ChannelStatisticsAccumulator(lambda network, images: ["5"]).compute() == {}


def test_samples_that_a_distributed_sampler_repeats_count_once():
    network, (batch, *_) = small_network().eval(), list(loader())
    once = recorded(network, [(batch[0][:4], batch[1][:4])], ["5"]).compute()["5"]
    again = recorded(network, [batch], ["5"], positions=np.array([0, 1, 2, 3, -1, -1])).compute()["5"]
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

    assert recorded(Twice(), list(loader()), ["relu"]).compute()["relu"].dead == 1
