import pytest
import torch
from torch import nn

from lightning_viz import FilterLogger, Probe
from lightning_viz.methods import filters

from ..support import Events, Lit, loader, small_network, trainer

PROBE = Probe(torch.rand(1, 3, 8, 8))


def drawn(callback, network):
    return {item.tag: item for item in callback.draw(network, PROBE)}


def test_filters_of_three_channels_are_colour_pictures():
    network = small_network()
    panel = drawn(FilterLogger(), network)["filters/0"]
    assert torch.equal(panel.values, filters(network))
    assert panel.labels[5][0].text == "filter 5"


@pytest.mark.parametrize(
    ("conv", "tiles"),
    [
        (nn.Conv2d(1, 4, 3), 4),
        (nn.Conv2d(16, 16, 3, groups=16), 16),
        (nn.Conv2d(32, 64, 3), 64),
        (nn.Conv2d(4, 64, 3), 64),
        (nn.Conv2d(2, 3, 1), 6),
    ],
    ids=["grey", "depthwise", "many channels", "four channels", "two channels, one place"],
)
def test_other_filters_are_shown_slice_by_slice_in_grey(conv, tiles):
    panel = drawn(FilterLogger(), nn.Sequential(conv))["filters/0"]
    assert panel.values.shape[:2] == (tiles, 1)
    assert len(panel.labels) == len(panel.captions) == tiles


@pytest.mark.parametrize(("size", "common"), [(1, True), (3, False)])
def test_single_weights_share_a_scale(size, common):
    panel = drawn(FilterLogger(), nn.Sequential(nn.Conv2d(8, 4, size)))["filters/0"]
    assert panel.common_scale is common


def test_max_filters_bounds_the_tiles():
    assert len(drawn(FilterLogger(max_filters=5), small_network())["filters/0"].values) == 5


def test_change_is_against_the_first_drawing():
    network, callback = small_network(), FilterLogger()
    start = filters(network)
    first = drawn(callback, network)
    assert first["filters/0/change"].values.abs().max() == 0
    assert first["filters/0/relative_change"].value == 0
    with torch.no_grad():
        network[0].weight.mul_(1.5)
    later = drawn(callback, network)
    assert torch.allclose(later["filters/0/change"].values, start / 2)
    assert later["filters/0/relative_change"].value == pytest.approx(0.5)


def test_the_film_follows_the_same_filters_whatever_becomes_of_them():
    network, callback = small_network(), FilterLogger()
    followed = drawn(callback, network)["filters/0"].film
    with torch.no_grad():
        network[0].weight[followed[0]] = 0
    assert drawn(callback, network)["filters/0"].film == followed


def test_the_scalar_is_logged_and_the_start_survives_a_resume(tmp_path):
    run, module = trainer(tmp_path, [FilterLogger()]), Lit()
    start = module.network[0].weight.detach().clone()
    run.fit(module, loader(), loader())
    run.save_checkpoint(tmp_path / "saved.ckpt")
    again = FilterLogger()
    trainer(tmp_path, [again], max_epochs=3).fit(Lit(), loader(), loader(), ckpt_path=str(tmp_path / "saved.ckpt"))
    assert torch.equal(again._memory.kept["network.0"], start)
    assert Events(tmp_path / "run/version_0").scalar_steps("filters/network.0/relative_change") == [0, 3, 7]


def test_change_is_since_the_start_also_where_the_start_is_not_drawn(tmp_path):
    trainer(tmp_path, [FilterLogger(log_at_start=False)]).fit(Lit(), loader(), loader())
    events = Events(tmp_path / "run/version_0")
    assert events.scalar_steps("filters/network.0/relative_change") == [3, 7]
    assert min(events.scalars("filters/network.0/relative_change")) > 0


def test_max_filters_must_be_a_count():
    with pytest.raises(ValueError, match="max_filters=0"):
        FilterLogger(max_filters=0)
