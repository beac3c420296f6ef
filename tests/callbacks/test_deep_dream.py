import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from lightning_viz import DeepDreamLogger, Probe
from lightning_viz.methods import activations, deep_dream

from ..support import Events, Lit, dataset, loader, small_network, trainer

MEAN, STD = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)


def make_probe(size=16):
    pictures = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(value)[:, None, None] for value in (MEAN, STD))
    return Probe((pictures - mean) / std, torch.arange(3), mean=MEAN, std=STD)


def drawn(network, *arguments, probe=None, callback=None, **options):
    """The panel, drawn as the guard would have it."""
    callback, probe = callback or DeepDreamLogger(*arguments, **options), probe or make_probe()
    network.eval()
    callback.begin(network, probe)
    (panel,) = callback.draw(network, probe)
    return panel


# What is shown.


def test_the_dreams_of_the_probe_are_shown_in_their_own_colours():
    network, probe = small_network().eval(), make_probe()
    panel = drawn(network, "2", probe=probe, method_options={"steps": 3})
    dreams = deep_dream(network, probe.images, layer="2", steps=3, mean=MEAN, std=STD)
    tiles = panel.painter(panel.values.numpy())
    assert np.abs(tiles.astype(int) - probe.shown(dreams)).max() <= 1
    assert np.abs(tiles.astype(int) - probe.pictures).max() > 20
    assert (panel.beside == probe.pictures).all()


def test_no_steps_show_the_pictures():
    probe = make_probe()
    panel = drawn(small_network(), probe=probe, method_options={"steps": 0})
    assert (panel.painter(panel.values.numpy()) == probe.pictures).all()
    assert [caption[-1].text for caption in panel.captions] == ["×1.00"] * 3


def test_captions_say_what_rose():
    network, probe = small_network().eval(), make_probe()
    layer, channel = drawn(network, "5", probe=probe), drawn(network, "5", 3, probe=probe)
    assert (layer.tag, channel.tag) == ("deepdream/5", "deepdream/5/3")
    before = activations(network, probe.images, "5")
    for panel, measure in (
        (layer, lambda maps: maps.square().sum(dim=(1, 2, 3)).sqrt()),
        (channel, lambda maps: maps[:, 3].mean(dim=(1, 2))),
    ):
        options = {"channel": 3} if panel is channel else {}
        dreams = deep_dream(network, probe.images, layer="5", mean=MEAN, std=STD, **options)
        pairs = torch.stack([measure(before), measure(activations(network, dreams, "5"))], dim=1).tolist()
        for caption, (low, high) in zip(panel.captions, pairs, strict=True):
            assert high > low
            assert caption[-1].text == (f"{low:.2g} → {high:.2g}" if options else f"×{high / low:.2f}")


@pytest.mark.parametrize("maximum", [1, 255])
def test_data_of_any_range_may_use_all_colours(maximum):
    """From black to white, also where no picture of the probe is as dark or as bright."""
    pictures = 0.4 + 0.2 * torch.rand(2, 3, 16, 16)
    probe = Probe(pictures * maximum, mean=0, std=1)
    values = drawn(small_network(), probe=probe, method_options={"learning_rate": 0.3}).values
    assert (values.min(), values.max()) == (0, 1)


# The layer.


@pytest.mark.parametrize(
    ("network", "layer"),
    [
        (torchvision.models.resnet18(), "layer3"),
        (small_network(), "5"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "0"),
    ],
    ids=["of four", "of two", "of one"],
)
def test_the_default_is_a_late_layer(network, layer):
    assert drawn(network, probe=make_probe(64), method_options={"steps": 1}).tag == f"deepdream/{layer}"


def test_the_default_is_stayed_with_after_a_resume(tmp_path, monkeypatch):
    first, second = DeepDreamLogger(), DeepDreamLogger()
    run = trainer(tmp_path, [first], max_epochs=1)
    run.fit(Lit(), loader(), loader())
    run.save_checkpoint(tmp_path / "saved.ckpt")
    monkeypatch.setattr("lightning_viz.callbacks.deep_dream.layers_over_depth", lambda *_: ["network.0"])
    go_on = trainer(tmp_path, [second], max_epochs=2)
    go_on.fit(Lit(), loader(), loader(), ckpt_path=str(tmp_path / "saved.ckpt"))
    tags = ["deepdream/network.5", "deepdream/network.5/history"]
    assert [Events(tmp_path / f"run/version_{version}").image_tags for version in (0, 1)] == [tags, tags]


def test_layers_and_channels_stand_side_by_side(tmp_path):
    callbacks = [DeepDreamLogger("network.2"), DeepDreamLogger("network.5"), DeepDreamLogger("network.5", 1)]
    trainer(tmp_path, callbacks, max_epochs=1).fit(Lit(), loader(), loader())
    tags = Events(tmp_path / "run/version_0").image_tags
    assert [tag for tag in tags if not tag.endswith("/history")] == [
        "deepdream/network.2", "deepdream/network.5", "deepdream/network.5/1"
    ]  # fmt: skip


# What cannot be meant, or be shown.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": ["layer3"]}, TypeError, r"layer=\['layer3'\] is list; give a dotted name"),
        ({"channel": -1}, ValueError, "channel=-1 is too small"),
        ({"channel": "loud"}, TypeError, "channel='loud'"),
        ({"method_options": {"iterations": 3}}, ValueError, r"\['iterations'\], and deep_dream takes .*'steps'"),
        ({"method_options": {"mean": 0.5}}, ValueError, r"\['mean'\]"),
    ],
)
def test_arguments_that_cannot_be_meant(options, error, message):
    with pytest.raises(error, match=message):
        DeepDreamLogger(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "layer9"}, "layer='layer9' is not in Lit"),
        ({"layer": "network.5", "channel": 8}, "channel=8 is outside the 8 channels"),
        ({"channel": 8}, "channel=8 is outside the 8 channels"),
        ({"method_options": {"steps": -1}}, "steps=-1 makes no dream"),
        ({"method_options": {"octaves": 0}}, "octaves=0 makes no dream"),
    ],
)
def test_what_does_not_fit_is_said_before_the_first_step(options, message, tmp_path):
    module = Lit()
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, [DeepDreamLogger(**options)]).fit(module, loader(), loader())
    assert not module.losses


def test_a_network_without_maps_is_said_and_trains_on(tmp_path, our_warnings):
    module = Lit(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)))
    trainer(tmp_path, [DeepDreamLogger()]).fit(module, loader(), loader())
    (warning,) = our_warnings()
    assert "no layer with a height and a width" in warning
    assert len(module.losses) == 8


def test_a_network_that_is_not_finite_is_marked():
    network = small_network()
    network[3].weight.data[2] = torch.nan
    panel = drawn(network, "5")
    assert [caption[-1].text for caption in panel.captions] == ["not finite"] * 3
    assert panel.values.isnan().all()


def test_a_dead_layer_leaves_the_pictures(tmp_path):
    network, probe = small_network(), Probe(dataset().tensors[0][:2])
    with torch.no_grad():
        network[4].weight.fill_(0)
        network[4].bias.fill_(-1)
    panel = drawn(network, "5", probe=probe, method_options={"octaves": 1})
    assert (panel.painter(panel.values.numpy()) == probe.pictures).all()
    assert [caption[-1].text for caption in panel.captions] == ["0 → 0"] * 2
