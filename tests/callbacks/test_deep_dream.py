import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock

from lightning_viz import DeepDreamLogger, Probe
from lightning_viz.methods import activations, deep_dream

from ..support import Events, Lit, dataset, loader, small_network, trainer
from .context import by_tag, draw, make_context, texts

MEAN, STD = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3)
QUICK = {"steps": 2, "octaves": 1}


def make_probe(size=16):
    pictures = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(value)[:, None, None] for value in (MEAN, STD))
    return Probe((pictures - mean) / std, torch.arange(3), mean=MEAN, std=STD)


def drawn(network, *arguments, probe=None, **options):
    """The panel."""
    (panel,) = draw(DeepDreamLogger(*arguments, **options), network, probe or make_probe())
    return panel


# What is shown.


def test_the_sum_stands_below_the_pictures_that_increase_it():
    network, probe = small_network().eval(), make_probe()
    panel = drawn(network, "5", objective="sum", probe=probe)
    changed = deep_dream(network, probe.images, layer="5", objective="sum", mean=MEAN, std=STD)
    sums = [activations(network, one, "5").sum(dim=(1, 2, 3)) for one in (probe.images, changed)]
    assert [caption[-1].text for caption in panel.captions] == [
        f"{before:.2g} → {after:.2g}" for before, after in zip(*(one.tolist() for one in sums), strict=True)
    ]
    assert "the sum of its activations before and after" in panel.notes[0]


def test_the_changed_pictures_are_shown_denormalised():
    network, probe = small_network().eval(), make_probe()
    panel = drawn(network, "2", probe=probe, method_options={"steps": 3})
    changed = deep_dream(network, probe.images, layer="2", steps=3, mean=MEAN, std=STD)
    tiles = panel.painter(panel.values.numpy())
    assert np.abs(tiles.astype(int) - probe.to_pixels(changed)).max() <= 1
    assert np.abs(tiles.astype(int) - probe.pictures).max() > 20
    assert (panel.beside == probe.pictures).all()


def test_no_steps_show_the_pictures():
    probe = make_probe()
    panel = drawn(small_network(), probe=probe, method_options={"steps": 0})
    assert (panel.painter(panel.values.numpy()) == probe.pictures).all()
    assert [caption[-1].text for caption in panel.captions] == ["×1.00"] * 3


@pytest.mark.parametrize("channel", [None, 3], ids=["layer", "channel"])
def test_captions_say_by_how_much_it_grew(channel):
    network, probe = small_network().eval(), make_probe()
    panel = drawn(network, "5", channel, probe=probe)

    def measure(images):
        maps = activations(network, images, "5")
        return maps[:, channel].mean(dim=(1, 2)) if channel else maps.square().sum(dim=(1, 2, 3)).sqrt()

    changed = deep_dream(network, probe.images, layer="5", channel=channel, mean=MEAN, std=STD)
    pairs = zip(measure(probe.images).tolist(), measure(changed).tolist(), strict=True)
    assert panel.tag == ("deepdream/5/3" if channel else "deepdream/5")
    for caption, (low, high) in zip(panel.captions, pairs, strict=True):
        assert high > low
        assert caption[-1].text == (f"{low:.2g} → {high:.2g}" if channel else f"×{high / low:.2f}")


def test_predictions_are_those_of_the_original_pictures():
    network, probe = small_network(), make_probe()
    panel = drawn(network, probe=probe, method_options=QUICK)
    expected = make_context(network, probe).captions
    assert [caption[:-1] for caption in panel.captions] == list(expected)
    assert "predictions are of the original pictures" in panel.notes


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
        (ResNet(BasicBlock, [1, 1, 1, 1], num_classes=4), "layer3"),
        (small_network(), "4"),
        (nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "0"),
    ],
    ids=["of four", "of two", "of one"],
)
def test_the_default_is_a_late_layer(network, layer):
    panel = drawn(network, probe=make_probe(48), method_options={"steps": 0, "octaves": 1})
    assert panel.tag == f"deepdream/{layer}"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run of a default and two given layers, with its checkpoint."""
    folder, options = tmp_path_factory.mktemp("run"), {"method_options": QUICK, "on_error": "raise"}
    callbacks = [
        DeepDreamLogger(**options),
        DeepDreamLogger("network.2", **options),
        DeepDreamLogger("5", 1, **options),
    ]
    run = trainer(folder, callbacks, max_epochs=1)
    run.fit(Lit(), loader(), loader())
    run.save_checkpoint(folder / "saved.ckpt")
    return folder


def test_layers_and_channels_have_panels_beside_each_other(saved):
    tags = Events(saved / "run/version_0").image_tags
    assert [tag for tag in tags if not tag.endswith("/history")] == [
        "deepdream/network.4", "deepdream/network.2", "deepdream/network.5/1"
    ]  # fmt: skip


def test_the_default_stays_after_a_resume(saved, monkeypatch):
    monkeypatch.setattr("lightning_viz.callbacks.deep_dream.layers_over_depth", lambda *_: ["network.0"])
    run = trainer(saved, [DeepDreamLogger(method_options=QUICK, on_error="raise")], max_epochs=2)
    run.fit(Lit(), loader(), loader(), ckpt_path=str(saved / "saved.ckpt"))
    tags = ["deepdream/network.4", "deepdream/network.4/history"]
    assert Events(saved / "run/version_1").image_tags == tags


# What is invalid, or cannot be shown.


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"layer": ["layer3"]}, TypeError, r"layer=\['layer3'\] is list; give a dotted name"),
        ({"channel": -1}, ValueError, "channel=-1 is too small"),
        ({"channel": "loud"}, TypeError, "channel='loud'"),
        ({"method_options": {"iterations": 3}}, ValueError, r"\['iterations'\], and deep_dream has no such option; .*'steps'"),
        ({"method_options": {"mean": 0.5}}, ValueError, r"\['mean'\]"),
    ],
)  # fmt: skip
def test_invalid_arguments(options, error, message):
    with pytest.raises(error, match=message):
        DeepDreamLogger(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "5", "channel": 8}, "channel=8 is outside the 8 channels"),
        ({"channel": 8}, "channel=8 is outside the 8 channels"),
        ({"method_options": {"steps": -1}}, "steps=-1 is out of range; give 0 or more"),
        ({"method_options": {"octaves": 0}}, "octaves=0 is out of range; give 1 or more"),
    ],
)
def test_what_does_not_fit_is_an_error_before_the_first_drawing(options, message):
    callback = DeepDreamLogger(**options)
    with pytest.raises(ValueError, match=message):
        callback.check_images(make_context(small_network(), make_probe(), callback))


def test_before_the_first_step_the_run_ends_with_the_error(tmp_path):
    module = Lit()
    with pytest.raises(ValueError, match=r"channel=8 is outside the 8 channels of layer='network\.5'"):
        trainer(tmp_path, [DeepDreamLogger("network.5", 8)]).fit(module, loader(), loader())
    assert not module.losses


def test_a_network_without_maps_is_reported_and_trains_on(tmp_path, our_warnings):
    module = Lit(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)))
    trainer(tmp_path, [DeepDreamLogger()], max_epochs=1).fit(module, loader(), loader())
    (warning,) = our_warnings()
    assert "no layer with a height and a width" in warning
    assert len(module.losses) == 4


def test_a_network_that_is_not_finite_is_marked():
    network = small_network()
    network[3].weight.data[2] = torch.nan
    panel = drawn(network, "5", method_options=QUICK)
    assert [caption[-1].text for caption in panel.captions] == ["not finite"] * 3
    assert panel.values.isnan().all()


def test_a_dead_layer_leaves_the_pictures():
    network, probe = small_network(), Probe(dataset().tensors[0][:2])
    with torch.no_grad():
        network[4].weight.fill_(0)
        network[4].bias.fill_(-1)
    panel = drawn(network, "5", probe=probe, method_options={"octaves": 1})
    assert (panel.painter(panel.values.numpy()) == probe.pictures).all()
    assert [caption[-1] for caption in texts(panel.captions)] == ["0 → 0"] * 2


@pytest.mark.parametrize("options", [{}, {"octaves": 1}, {"octaves": 2, "steps": 3}], ids=str)
def test_the_estimated_passes_are_those_made(options):
    """A smaller octave counts by its area; the few forward passes beside the ascent are not estimated."""
    network, probe, made = small_network(), make_probe(48), []

    def count(module, inputs, output):
        if output.requires_grad:
            share = inputs[0][:, 0].numel() / 48**2
            output.register_hook(lambda gradient: made.append(share))

    network[0].register_forward_hook(count)
    callback = DeepDreamLogger("5", method_options=options or None)
    assert set(by_tag(draw(callback, network, probe))) == {"deepdream/5"}
    assert sum(made) == pytest.approx(callback.estimated_passes(network, probe.images), rel=0.05)
