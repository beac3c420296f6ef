import pytest
import torch
from torch import nn

from lightning_viz import ActivationLogger, Probe
from lightning_viz.methods import activations, choose_channels

from ..support import Events, Lit, dataset, loader, small_network, trainer
from .context import by_tag, count_forwards, data_of, draw, make_context, record, scalars, texts

PROBE = Probe(dataset().tensors[0][:5], torch.arange(5) % 4)


def drawn(network, *arguments, callback=None, **options):
    """Sheets by tag."""
    return by_tag(draw(callback or ActivationLogger(*arguments, **options), network, PROBE))


def sheet(network, layer, **options):
    return drawn(network, layer, **options)[f"activations/{layer}"]


class Killed(Lit):
    """The second channel of the last ReLU is dead, and has no gradient to come alive again."""

    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.network[4].weight[1], self.network[4].bias[1] = 0, -1


# What is shown.


def test_the_film_shows_each_channel_at_the_picture_that_activates_it_most():
    network = small_network()
    film = sheet(network, "5", max_channels=3).film
    maps = activations(network, PROBE.images, "5")
    channels = choose_channels(maps, 3).tolist()
    pictures = [int(maps[:, channel].amax(dim=(1, 2)).argmax()) for channel in channels]
    assert torch.equal(film.values, maps[pictures, channels])
    assert (film.pictures == PROBE.pictures[pictures]).all()
    assert texts(film.labels) == [
        [f"channel {channel}", str(int(PROBE.labels[picture]))]
        for channel, picture in zip(channels, pictures, strict=True)
    ]


def test_a_row_for_each_picture_and_a_column_for_each_channel():
    network = small_network()
    tiles = sheet(network, "5", channels=[6, 0])
    maps = activations(network, PROBE.images, "5")[:, [6, 0]]
    assert tiles.headings == ["picture", "channel 6", "channel 0"]
    assert sum(tiles.spans) == 3
    cells = tiles.cells()
    assert len(cells) == 15
    words = [cell.caption[0].text for cell in cells]
    for row in range(5):
        assert words[3 * row] == str(int(PROBE.labels[row]))
        for column in range(2):
            top = float(maps[row, column].max())
            assert words[3 * row + 1 + column] == (f"max {top:.2g}" if top > 0 else "all zero")


def test_each_column_has_its_own_scale():
    tiles = sheet(small_network(), "5", channels=[3, 4])
    columns = [[cell.pictures[0] for cell in tiles.cells()[column::3]] for column in (1, 2)]
    strongest = tiles.painter.bar[-1]
    for column in columns:
        assert any((tile == strongest).all(axis=-1).any() for tile in column)


@pytest.mark.parametrize(("layer", "signed"), [("5", False), ("4", False), ("3", True)])
def test_layers_with_negative_activations_are_shown_in_two_colours(layer, signed):
    tiles = sheet(small_network(), layer)
    assert tiles.painter.signed == tiles.film.painter.signed == signed
    assert tiles.ends[0] == ("-largest" if signed else "0")
    assert tiles.film.captions[0][0].text.startswith("max") != signed


def test_a_film_strip_keeps_two_colours_when_nothing_is_negative_any_more():
    network, callback = small_network(), ActivationLogger("3")
    assert drawn(network, callback=callback)["activations/3"].film.painter.signed
    network[3].bias.data += 100
    assert drawn(network, callback=callback)["activations/3"].film.painter.signed


@pytest.mark.parametrize("channels", ["active", "varying"])
def test_channels_are_chosen_once(channels):
    network, callback = small_network(), ActivationLogger("5", channels, 2)
    expected = choose_channels(activations(network, PROBE.images, "5"), 2, channels).tolist()
    first = drawn(network, callback=callback)["activations/5"]
    assert first.headings[1:] == [f"channel {channel}" for channel in expected]
    with torch.no_grad():
        network[4].weight[expected] = 0
        network[4].bias[expected] = -1
    later = drawn(network, callback=callback)["activations/5"]
    assert later.headings == first.headings
    assert {cell.caption[0].text for cell in later.cells()[1::3]} == {"all zero"}


def test_by_default_layers_over_the_depth_are_shown():
    assert set(drawn(small_network())) == {"activations/1", "activations/4"}


def test_all_layers_together_cost_one_forward_pass():
    network, callback = small_network(), ActivationLogger(["2", "3", "5"])
    draw(callback, network, PROBE)
    ctx = make_context(network, PROBE, callback)
    _ = ctx.captions  # shared by all callbacks
    forwards = count_forwards(network)
    list(callback.draw(ctx))
    assert forwards == [5]


def test_the_estimated_passes_are_those_of_the_first_drawing():
    network, callback = small_network(), ActivationLogger(["2", "5"])
    forwards = count_forwards(network)
    draw(callback, network, PROBE)
    assert sum(forwards) / 3 == callback.estimated_passes(network, PROBE.images)


# What layers there are.


class Odd(nn.Module):
    """A transformer's block, a layer that runs twice, one that never runs, one that returns a tuple."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 8, 3, stride=3)
        self.never = nn.Conv2d(3, 8, 1)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.relu = nn.ReLU()
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        tokens = self.block(self.relu(self.patches(images)).flatten(2).transpose(1, 2))
        tokens, _ = self.attention(tokens, tokens, tokens)
        return self.head(self.relu(tokens))[:, 0]


@pytest.mark.parametrize(
    ("network", "layer", "note"),
    [
        (nn.Sequential(nn.Conv2d(3, 2048, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "1", "8 of 2048"),
        (nn.Sequential(nn.Conv2d(3, 2048, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "2", "one position"),
        (small_network(), "9", "4 of 4 channels; one position"),
        (Odd(), "block", "8 of 8 channels; 4×4 positions"),
        (Odd(), "relu", "runs 2 times"),
    ],
    ids=["2048 channels", "1×1 maps", "vectors", "transformer block", "runs twice"],
)
def test_whatever_a_layer_returns_is_shown(network, layer, note):
    tiles = sheet(network, layer)
    assert any(note in line for line in tiles.notes)
    assert len(tiles.cells()) == 5 * sum(tiles.spans)
    assert tiles.film.values.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "never"}, "^layers='never' did not run"),
        ({"layers": "attention"}, "^layers='attention' did not run, or returns no tensor"),
        ({"layers": "patches", "channels": [0, 8]}, "'patches' has 8 channels and none of index 8; give indices of 0 to 7"),
        ({"channels": [99]}, "channels and none of index 99"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_an_error_before_the_first_drawing(options, message):
    callback = ActivationLogger(**options)
    with pytest.raises(ValueError, match=message):
        callback.check_images(make_context(Odd(), PROBE, callback))


def test_before_the_first_step_the_run_ends_with_the_error(tmp_path):
    module = Lit(Odd())
    with pytest.raises(ValueError, match="never' did not run"):
        trainer(tmp_path, [ActivationLogger("never")]).fit(module, loader(), loader())
    assert not module.losses


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"channels": "loud"}, ValueError, "channels='loud' is unknown; choose 'active' or 'varying', or give a list"),
        ({"channels": []}, TypeError, r"channels=\[\]"),
        ({"channels": [-1]}, ValueError, "channels=-1"),
        ({"channels": [1.5]}, TypeError, "channels=1.5"),
        ({"max_channels": 0}, ValueError, "max_channels=0"),
        ({"layers": 3}, TypeError, "layers=3"),
    ],
)
def test_invalid_arguments(options, error, message):
    with pytest.raises(error, match=message):
        ActivationLogger(**options)


@pytest.mark.parametrize("channels", [(6, 0), range(6, -1, -6)], ids=["tuple", "range"])
def test_channels_may_be_any_sequence(channels):
    assert ActivationLogger(channels=channels).channels == [6, 0]


def test_a_network_without_maps_is_reported_and_trains_on(tmp_path, our_warnings):
    module = Lit(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)))
    trainer(tmp_path, [ActivationLogger()], max_epochs=1).fit(module, loader(), loader())
    (warning,) = our_warnings()
    assert "no layer with a height and a width" in warning
    assert len(module.losses) == 4


def test_activations_that_are_not_finite_are_marked():
    network = small_network()
    network[3].bias.data[2] = torch.nan
    tiles = sheet(network, "3", channels=[2, 1])
    assert [cell.caption[0].text for cell in tiles.cells()[1::3]] == ["not finite"] * 5
    assert tiles.film.values[1].isfinite().all()


# What is counted.


def test_the_scalars_are_those_of_the_validation_data():
    network = Killed().network
    callback, data = ActivationLogger("5"), data_of(loader())
    recording = record(callback, network, data)
    items = draw(callback, network, PROBE, data=data, _recording=recording)
    with torch.no_grad():
        maps = network[:6](dataset().tensors[0])
    dead, found = float((maps.amax(dim=(0, 2, 3)) == 0).float().mean()), scalars(items)
    assert dead >= 1 / 8
    assert found["activations/5/dead"] == pytest.approx(dead)
    assert found["activations/5/sparsity"] == pytest.approx(float((maps == 0).float().mean()))
    count = int(dead * 8)
    assert by_tag(items)["activations/5"].notes[0].startswith(f"{count} of 8 channels dead, ")


def test_scalars_of_other_weights_are_not_logged():
    network = small_network()
    callback, data = ActivationLogger("5"), data_of(loader())
    recording = record(callback, network, data, global_step=3)
    assert scalars(draw(callback, network, PROBE, data=data, _recording=recording, global_step=4)) == {}


@pytest.mark.parametrize(
    ("options", "run", "steps"),
    [
        ({}, {"num_sanity_val_steps": -1}, [0, 3, 7]),
        ({"every_n_epochs": 2}, {}, [7]),
        ({}, {"val_check_interval": 3}, []),
        ({}, {"check_val_every_n_epoch": 2}, [7]),
        ({"every_n_train_steps": 4}, {}, []),
    ],
    ids=["full sanity check", "every 2 epochs", "validation before the end", "every 2nd", "in steps"],
)
def test_they_are_logged_where_a_complete_loop_ended_at_this_step(options, run, steps, tmp_path):
    callback = ActivationLogger("network.5", max_channels=1, max_images=1, history=0, on_error="raise", **options)
    trainer(tmp_path, [callback], **run).fit(Lit(), loader(), loader())
    events = Events(tmp_path / "run/version_0")
    assert events.image_tags == ["activations/network.5"]
    logged = [tag for tag in events.scalar_tags if tag.startswith("activations")]
    assert len(logged) == (2 if steps else 0)
    for tag in logged:
        assert events.scalar_steps(tag) == steps


@pytest.mark.parametrize(("verb", "prefix"), [("validate", ""), ("test", "test/")])
def test_they_are_logged_of_other_loops(verb, prefix, tmp_path):
    run = trainer(tmp_path, [ActivationLogger("network.5", every_n_train_steps=5)])
    getattr(run, verb)(Killed(), loader(), verbose=False)
    assert Events(tmp_path / "run/version_0").scalar_steps(f"{prefix}activations/network.5/dead") == [0]


# What survives a resume.


def resume(folder, second):
    """With `second`, from a checkpoint of one epoch."""
    second.on_error = "raise"
    trainer(folder, [second]).fit(Lit(), loader(), loader(), ckpt_path=str(folder / "saved.ckpt"))
    return Events(folder / "run/version_1")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run of one epoch with its checkpoint, its callback and its events."""
    folder, first = tmp_path_factory.mktemp("run"), ActivationLogger(on_error="raise")
    run = trainer(folder, [first], max_epochs=1)
    run.fit(Lit(), loader(), loader())
    run.save_checkpoint(folder / "saved.ckpt")
    return folder, first.runner.state, Events(folder / "run/version_0")


def test_a_sheet_a_film_strip_and_two_scalars_are_logged_for_each_layer(saved):
    _, _, events = saved
    layers = ["network.1", "network.4"]
    assert events.image_tags == [f"activations/{layer}{suffix}" for layer in layers for suffix in ("", "/history")]
    logged = {tag for tag in events.scalar_tags if tag.startswith("activations/")}
    assert logged == {f"activations/{layer}/{name}" for layer in layers for name in ("dead", "sparsity")}
    assert {tuple(events.scalar_steps(tag)) for tag in logged} == {(3,)}
    assert {tuple(events.image_steps(tag)) for tag in events.image_tags} == {(0, 3)}


def test_layers_channels_and_pictures_are_the_same_after_a_resume(saved):
    folder, before, _ = saved
    second = ActivationLogger()
    resume(folder, second)
    after = second.runner.state
    assert list(before.channels) == ["network.1", "network.4"]
    assert (before.channels, before.film_pictures) == (after.channels, after.film_pictures)
    assert {len(frames) for frames in after.films.values()} == {3}


def test_other_channels_given_before_a_resume_restart_the_film_strip(saved):
    folder, *_ = saved
    second = ActivationLogger(channels=[1])
    resume(folder, second)
    assert {len(frames) for frames in second.runner.state.films.values()} == {1}
    assert {frames[0].values.shape[0] for frames in second.runner.state.films.values()} == {1}
