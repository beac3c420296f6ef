import pytest
import torch
from torch import nn

from lightning_viz import FilterLogger, Probe
from lightning_viz.methods import filters

from ..support import Events, Lit, loader, small_network, trainer
from .context import by_tag, count_forwards, draw, make_context

PROBE = Probe(torch.rand(1, 3, 8, 8))


def drawn(callback, network):
    return by_tag(draw(callback, network, PROBE))


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
    ids=["grey", "depthwise", "many channels", "four channels", "two channels, one position"],
)
def test_other_filters_are_shown_channel_by_channel_in_grey(conv, tiles):
    panel = drawn(FilterLogger(), nn.Sequential(conv))["filters/0"]
    assert panel.values.shape[:2] == (tiles, 1)
    assert len(panel.labels) == len(panel.captions) == tiles


@pytest.mark.parametrize(("size", "common"), [(1, True), (3, False)])
def test_single_weights_share_a_scale(size, common):
    panel = drawn(FilterLogger(), nn.Sequential(nn.Conv2d(8, 4, size)))["filters/0"]
    assert panel.common_scale is common


def test_max_filters_bounds_the_tiles():
    assert len(drawn(FilterLogger(max_filters=5), small_network())["filters/0"].values) == 5


@pytest.mark.parametrize("layers", [["0", "3"], ("0", "3")], ids=["list", "tuple"])
def test_several_layers(layers):
    assert set(drawn(FilterLogger(layers), small_network())) == {
        f"filters/{layer}{suffix}" for layer in ("0", "3") for suffix in ("", "/change", "/relative_change")
    }


def test_a_test_run_alone_shows_no_change():
    """There is no start: and none is made up for a fit that follows."""
    network, callback = small_network(), FilterLogger()
    items = by_tag(draw(callback, network, PROBE, split="test"))
    assert set(items) == {"filters/0"}
    assert callback.runner.state.start == {}


def test_a_test_run_after_a_fit_shows_the_change_since_the_start():
    network, callback = small_network(), FilterLogger()
    drawn(callback, network)
    with torch.no_grad():
        network[0].weight.mul_(2)
    items = by_tag(draw(callback, network, PROBE, split="test"))
    assert items["filters/0/relative_change"].value == pytest.approx(1)


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


def test_no_forward_pass_is_claimed_and_none_is_made():
    network = small_network()
    forwards = count_forwards(network)
    drawn(FilterLogger(), network)
    assert sum(forwards) == FilterLogger().estimated_passes(network, PROBE.images) == 0


# In a run.


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """The first weights, the events of a run without a drawing at the start, and the callback that goes on from it."""
    folder = tmp_path_factory.mktemp("run")
    run, module, again = trainer(folder, [FilterLogger(log_at_start=False)]), Lit(), FilterLogger()
    start = module.network[0].weight.detach().clone()
    run.fit(module, loader(), loader())
    run.save_checkpoint(folder / "saved.ckpt")
    trainer(folder, [again], max_epochs=3).fit(Lit(), loader(), loader(), ckpt_path=str(folder / "saved.ckpt"))
    return start, Events(folder / "run/version_0"), again


def test_the_scalar_is_logged_at_each_drawing(resumed):
    assert resumed[1].scalar_steps("filters/network.0/relative_change") == [3, 7]


def test_change_is_since_the_start_also_where_the_start_is_not_drawn(resumed):
    assert min(resumed[1].scalars("filters/network.0/relative_change")) > 0


def test_the_start_survives_a_resume(resumed):
    start, _, again = resumed
    assert torch.equal(again.runner.state.start["network.0"], start)


# What does not fit.


WITHOUT_CONVOLUTION = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))


@pytest.mark.parametrize(
    ("network", "layers", "message"),
    [
        (small_network(), "layer9", "^layers='layer9' is not in Sequential; "),
        (
            small_network(),
            "1",
            "^layers='1' is BatchNorm2d, which has no 2-D filters; choose an nn.Conv2d, such as '0'",
        ),
        (
            WITHOUT_CONVOLUTION,
            "1",
            "^layers='1' is Linear, which has no 2-D filters; choose an nn.Conv2d, of which Sequential has none$",
        ),
    ],
    ids=["unknown", "no convolution", "network without convolutions"],
)
def test_a_layer_without_filters_is_named(network, layers, message):
    with pytest.raises(ValueError, match=message):
        FilterLogger(layers).check(network)


def test_a_network_without_convolutions_fails_when_it_is_drawn_only():
    """By default the callback is part of the suite: the run goes on."""
    callback = FilterLogger()
    callback.check(WITHOUT_CONVOLUTION)
    ctx = make_context(WITHOUT_CONVOLUTION, PROBE, callback)
    callback.check_images(ctx)
    with pytest.raises(ValueError, match=r"Sequential has no nn\.Conv2d; name the layer to use"):
        list(callback.draw(ctx))


def test_max_filters_must_be_a_count():
    with pytest.raises(ValueError, match="max_filters=0"):
        FilterLogger(max_filters=0)
