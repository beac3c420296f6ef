import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_viz import ActivationLogger, Probe
from lightning_viz.methods import activations, choose_channels
from lightning_viz.runtime.artifacts import Film, Tiles

from ..support import Events, Lit, dataset, loader, small_network, trainer

PROBE = Probe(dataset().tensors[0][:5], torch.arange(5) % 4)


def drawn(network, *arguments, callback=None, probe=PROBE, **options):
    """Sheets and film strips by tag, drawn as the guard would have it."""
    callback = callback or ActivationLogger(*arguments, **options)
    network.eval()
    callback.begin(network, probe)
    items = list(callback.draw(network, probe))
    return {(type(item), item.tag): item for item in items}


def sheet_and_film(network, layer, **options):
    items = drawn(network, layer, **options)
    return items[Tiles, f"activations/{layer}"], items[Film, f"activations/{layer}"]


class Killed(Lit):
    """The second channel of the last ReLU is dead, and has no gradient to come alive again."""

    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.network[4].weight[1], self.network[4].bias[1] = 0, -1


# What is shown.


def test_the_maps_are_those_of_the_layer_at_the_picture_that_each_channel_answers_most():
    network = small_network()
    _, film = sheet_and_film(network, "5", max_channels=3)
    maps = activations(network, PROBE.images, "5")
    channels = choose_channels(maps, 3).tolist()
    pictures = [int(maps[:, channel].amax(dim=(1, 2)).argmax()) for channel in channels]
    assert torch.equal(film.values, maps[pictures, channels])
    assert (film.pictures == PROBE.pictures[pictures]).all()
    assert [[line.text for line in label] for label in film.labels] == [
        [f"channel {channel}", str(int(PROBE.labels[picture]))]
        for channel, picture in zip(channels, pictures, strict=True)
    ]


def test_a_row_for_each_picture_and_a_column_for_each_channel():
    network = small_network()
    tiles, _ = sheet_and_film(network, "5", channels=[6, 0])
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
    network = small_network().eval()
    tiles, _ = sheet_and_film(network, "5", channels=[3, 4])
    columns = [[cell.pictures[0] for cell in tiles.cells()[column::3]] for column in (1, 2)]
    strongest = tiles.painter.bar[-1]
    for column in columns:
        assert any((tile == strongest).all(axis=-1).any() for tile in column)


@pytest.mark.parametrize(("layer", "signed"), [("5", False), ("4", True)])
def test_layers_with_negative_activations_are_shown_in_two_colours(layer, signed):
    tiles, film = sheet_and_film(small_network(), layer)
    assert tiles.painter.signed == film.painter.signed == signed
    assert tiles.ends[0] == ("-largest" if signed else "0")
    assert film.captions[0][0].text.startswith("max") != signed


def test_a_film_strip_keeps_two_colours_when_nothing_is_negative_any_more():
    network, callback = small_network(), ActivationLogger("4")
    assert drawn(network, callback=callback)[Film, "activations/4"].painter.signed
    network[4].bias.data += 100
    assert drawn(network, callback=callback)[Film, "activations/4"].painter.signed


@pytest.mark.parametrize("channels", ["active", "varying"])
def test_channels_are_chosen_once(channels):
    network, callback = small_network(), ActivationLogger("5", channels, 2)
    expected = choose_channels(activations(network, PROBE.images, "5"), 2, channels).tolist()
    first = drawn(network, callback=callback)[Tiles, "activations/5"]
    assert first.headings[1:] == [f"channel {channel}" for channel in expected]
    with torch.no_grad():
        network[4].weight[expected] = 0
        network[4].bias[expected] = -1
    later = drawn(network, callback=callback)[Tiles, "activations/5"]
    assert later.headings == first.headings
    assert {cell.caption[0].text for cell in later.cells()[1::3]} == {"all zero"}


def test_by_default_layers_over_the_depth_are_shown():
    assert {tag for _, tag in drawn(small_network())} == {"activations/2", "activations/5"}


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
        (nn.Sequential(nn.Conv2d(3, 2048, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), "2", "one place"),
        (small_network(), "9", "4 of 4 channels; one place"),
        (Odd(), "block", "8 of 8 channels; 4×4 places"),
        (Odd(), "relu", "runs 2 times"),
    ],
    ids=["2048 channels", "1×1 maps", "vectors", "transformer block", "runs twice"],
)
def test_whatever_a_layer_returns_is_shown(network, layer, note):
    tiles, film = sheet_and_film(network, layer)
    assert any(note in line for line in tiles.notes)
    assert len(tiles.cells()) == 5 * sum(tiles.spans)
    assert film.values.isfinite().all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": "never"}, "layer='never' did not run"),
        ({"layers": "attention"}, "layer='attention' did not run, or returns no tensor"),
        ({"layers": "patches", "channels": [0, 8]}, "'patches' has 8 channels and none of index 8; give indices of 0 to 7"),
        ({"channels": [99]}, "channels and none of index 99"),
    ],
)  # fmt: skip
def test_what_cannot_be_shown_is_said_before_the_first_step(options, message, tmp_path):
    module = Lit(Odd())
    with pytest.raises(ValueError, match=message):
        trainer(tmp_path, [ActivationLogger(**options)]).fit(module, loader(), loader())
    assert not module.losses


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"channels": "loud"}, ValueError, "channels='loud'"),
        ({"channels": []}, ValueError, r"channels=\[\]"),
        ({"channels": [-1]}, ValueError, "channels=-1"),
        ({"channels": [1.5]}, TypeError, "channels=1.5"),
        ({"max_channels": 0}, ValueError, "max_channels=0"),
        ({"layers": 3}, TypeError, "layers=3"),
    ],
)
def test_arguments_that_cannot_be_meant(options, error, message):
    with pytest.raises(error, match=message):
        ActivationLogger(**options)


def test_a_network_without_maps_is_said_and_trains_on(tmp_path, our_warnings):
    module = Lit(nn.Sequential(nn.Flatten(), nn.Linear(432, 4)))
    trainer(tmp_path, [ActivationLogger()]).fit(module, loader(), loader())
    (warning,) = our_warnings()
    assert "no layer with a height and a width" in warning
    assert len(module.losses) == 8


def test_activations_that_are_not_finite_are_marked():
    network = small_network()
    network[3].bias.data[2] = torch.nan
    tiles, film = sheet_and_film(network, "3", channels=[2, 1])
    assert [cell.caption[0].text for cell in tiles.cells()[1::3]] == ["not finite"] * 5
    assert film.values[1].isfinite().all()


# What is counted.


def fitted(folder, module, options=None, **run):
    callback = ActivationLogger("network.5", on_error="raise", **(options or {}))
    trainer(folder, [callback], **run).fit(module, loader(), loader())
    return Events(folder / "run/version_0")


def test_the_scalars_are_those_of_the_validation_data(tmp_path):
    module = Killed()
    events = fitted(tmp_path, module)
    with torch.no_grad():
        maps = module.eval().network[:6](dataset().tensors[0])
    dead = float((maps.amax(dim=(0, 2, 3)) == 0).float().mean())
    assert dead >= 1 / 8
    assert events.scalars("activations/network.5/dead")[-1] == pytest.approx(dead)
    assert events.scalars("activations/network.5/sparsity")[-1] == pytest.approx(float((maps == 0).float().mean()))


@pytest.mark.parametrize(
    ("options", "run", "steps"),
    [
        ({}, {}, [3, 7]),
        ({}, {"num_sanity_val_steps": -1}, [0, 3, 7]),
        ({"every_n_epochs": 2}, {}, [7]),
        ({}, {"val_check_interval": 3}, []),
        ({}, {"check_val_every_n_epoch": 2}, [7]),
        ({"every_n_train_steps": 4}, {}, []),
    ],
    ids=["every epoch", "full sanity check", "every 2 epochs", "validation before the end", "every 2nd", "in steps"],
)
def test_they_are_logged_where_a_whole_loop_ended_at_this_step(options, run, steps, tmp_path):
    events = fitted(tmp_path, Lit(), options, **run)
    assert len(events.image_tags) == 2
    logged = [tag for tag in events.scalar_tags if tag.startswith("activations")]
    assert len(logged) == (2 if steps else 0)
    for tag in logged:
        assert events.scalar_steps(tag) == steps


@pytest.mark.parametrize(("verb", "prefix"), [("validate", ""), ("test", "test/")])
def test_they_are_logged_of_other_loops(verb, prefix, tmp_path):
    run = trainer(tmp_path, [ActivationLogger("network.5", every_n_train_steps=5)])
    getattr(run, verb)(Killed(), loader(), verbose=False)
    assert Events(tmp_path / "run/version_0").scalar_steps(f"{prefix}activations/network.5/dead") == [0]


def test_the_loop_has_no_forward_pass_more(tmp_path):
    seen = []

    class Between(pl.Callback):
        def on_validation_batch_start(self, trainer, pl_module, *args):
            seen.append(0)
            self.hook = pl_module.network.register_forward_pre_hook(lambda _m, inputs: self.add(len(inputs[0])))

        def add(self, count):
            seen[-1] += count

        def on_validation_batch_end(self, *args):
            self.hook.remove()

    run = trainer(tmp_path, [ActivationLogger(), Between()], max_epochs=1)
    run.fit(Lit(), loader(), loader())
    assert seen == [6] * (2 + 4)


# What survives a resume.


def resumed(folder, first, second):
    run = trainer(folder, [first])
    run.fit(Lit(), loader(), loader())
    run.save_checkpoint(folder / "saved.ckpt")
    go_on = trainer(folder, [second], max_epochs=3)
    go_on.fit(Lit(), loader(), loader(), ckpt_path=str(folder / "saved.ckpt"))


def test_layers_channels_and_pictures_are_the_same_after_a_resume(tmp_path):
    first, second = ActivationLogger(), ActivationLogger()
    resumed(tmp_path, first, second)
    before, after = first._memory.kept, second._memory.kept
    assert list(before) == list(after)
    assert {"channels/network.2", "channels/network.5", "pictures/network.5"} < set(before)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def test_other_channels_given_before_a_resume_start_the_film_strip_anew(tmp_path):
    second = ActivationLogger(channels=[1], on_error="raise")
    resumed(tmp_path, ActivationLogger(channels=[2, 3]), second)
    assert {len(frames) for frames in second._memory.films.values()} == {1}
    assert {frames[0].values.shape[0] for frames in second._memory.films.values()} == {1}
