import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from lightning_viz import Probe, TopPatchesLogger
from lightning_viz.callbacks._patch_sheet import PatchExtractor
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.runtime.schedule import Schedule

from ..support import CLASSES, Events, Lit, Stream, dataset, loader, small_network, trainer
from .context import count_forwards, data_of, draw, make_context, record, scalars

PROBE = Probe(*(tensor[:4] for tensor in dataset().tensors))


class Spied(TopPatchesLogger):
    """Keeps what each sheet is made of: by drawing and layer, the top samples and the images."""

    def __init__(self, **options):
        super().__init__(on_error="raise", **options)
        self.drawings = []

    def draw(self, ctx):
        self.drawings.append({})
        yield from super().draw(ctx)

    def _sheet(self, ctx, layer, top, images, origin, shuffled):
        self.drawings[-1][layer] = top, images, origin
        yield from super()._sheet(ctx, layer, top, images, origin, shuffled)


def drawn(callback, network, data, recorded=True, probe=PROBE, step=0, **options):
    """What one drawing makes of a recorded loop, or of samples read by index: by layer; and what it yields."""
    data = data_of(data)
    recording = record(callback, network, data, step) if recorded else None
    items = draw(callback, network, probe, data=data, _recording=recording, global_step=step, **options)
    return callback.drawings[-1], items


def brute_force(maps, count=6):
    """Of maps (N, U, h, w) the largest values of each unit, (U, count)."""
    return maps.flatten(2).amax(dim=2).T.sort(descending=True).values[:, :count]


# What is drawn is what a brute-force pass finds.


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "read by index"])
def test_the_patches_are_those_of_a_brute_force_pass(recorded):
    network, (images, labels) = small_network().eval(), dataset().tensors
    found, _ = drawn(Spied(layers="3", units=list(range(8))), network, loader(batch_size=7), recorded)
    top, kept, origin = found["3"]
    with torch.no_grad():
        maps = network[:4](images)
    torch.testing.assert_close(top.top.values, brute_force(maps))
    assert torch.equal(top.top.labels, labels[top.top.positions])
    for unit in range(8):
        for n, row, column in zip(top.top.positions[unit], top.top.rows[unit], top.top.columns[unit], strict=True):
            assert maps[n, unit, row, column] == pytest.approx(float(maps[n, unit].max()), abs=1e-6)
    assert all(torch.equal(image, images[position]) for position, image in kept.items())
    how = "recorded in the validation loop" if recorded else "read by index for this drawing"
    assert origin == ["units given", f"24 of the validation data, {how}"]


def test_a_row_for_each_unit_and_a_scalar_for_the_layer():
    callback = Spied(layers="3", units=[5, 2], patches=3)
    found, (grid, purity, shuffled) = drawn(callback, small_network(), loader())
    top, *_ = found["3"]
    assert (grid.tag, purity.tag, shuffled.tag) == ("patches/3", "patches/3/purity", "patches/3/purity_shuffled")
    assert f"purity {purity.value:.2f}; {shuffled.value:.2f} with the labels shuffled" in grid.notes
    cells = grid.cells()
    assert len(cells) == 2 * (1 + 3)
    assert [cell.caption[0].text for cell in cells[::4]] == ["unit 5", "unit 2"]
    _, counts, labelled = top.above_mean.majority
    assert purity.value == pytest.approx(float(counts.sum() / labelled.sum()))


# Which units.


def stripes():
    """Templates (4, 8, 8) of four directions."""
    rows, columns = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    return torch.stack([rows, columns, rows + columns, rows - columns]) // 2 % 2 * 2.0 - 1


def planted(count=120, side=24):
    """Noise with stripes somewhere: images, the direction as the class, and where they are, (N, H, W)."""
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.randn(count, 1, side, side, generator=generator)
    classes = torch.randint(4, (count,), generator=generator)
    corners = torch.randint(0, side - 7, (count, 2), generator=generator).tolist()
    inside = torch.zeros(count, side, side, dtype=torch.bool)
    for image, place, label, (top, left) in zip(images, inside, classes, corners, strict=True):
        image[0, top : top + 8, left : left + 8] += stripes()[label]
        place[top : top + 8, left : left + 8] = True
    return images, classes, inside


DETECTORS = [2, 5, 7, 10]  # channels; the others look at the brightest pixel


@pytest.fixture(scope="module")
def detected():
    """What is drawn of a network with a detector for each direction, among other channels."""
    network = nn.Sequential(nn.Conv2d(1, 12, 8, padding=3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with torch.no_grad():
        network[0].weight.zero_()
        for channel in range(12):
            network[0].weight[channel, 0, channel % 8, channel // 2] = 1
        network[0].weight[DETECTORS] = stripes()[:, None] / 64
    images, classes, inside = planted()
    probe = Probe(images[:4], classes[:4])
    callback = Spied(layers="1", max_units=4)
    found, items = drawn(callback, network, DataLoader(TensorDataset(images, classes), 32), probe=probe)
    return network, images, inside, *found["1"][:2], scalars(items)


def test_the_units_that_detect_a_class_are_chosen(detected):
    top, found = detected[3], detected[5]
    assert set(top.channels) == set(DETECTORS)
    assert top.top.purity.tolist() == [1] * 4
    assert found["patches/1/purity"] == 1


def test_the_patches_are_where_the_shapes_are(detected):
    network, images, inside, top, kept, _ = detected
    field = PatchExtractor(FeatureMaps(network, "1"), kept, {}, AutoBatch()).receptive_field(images)
    shares = [
        inside[n, max(upper, 0) : lower, max(left, 0) : right].float().sum() / 64
        for unit in range(4)
        for n, row, column in zip(*(getattr(top.top, name)[unit].tolist() for name in ("positions", "rows", "columns")), strict=True)
        for upper, left, lower, right in [field.box(row, column)]
    ]  # fmt: skip
    assert np.mean(shares) > 0.95  # of the shape is in the patch


def test_units_are_chosen_again_until_the_first_training_step_and_then_stay():
    callback, network, chosen = Spied(layers="5", max_units=2, patches=2), small_network(), []
    for step in (0, 0, 4, 8):
        torch.manual_seed(step)
        found, _ = drawn(callback, network, loader(), step=step)
        top, images, (choice, _) = found["5"]
        chosen.append((top.channels, choice))
        if step == 8:
            assert len(images) <= 2 * 2
        network[3].reset_parameters()
    assert [choice.rpartition("chosen ")[2] for _, choice in chosen] == [
        "now", "now", "now and kept", "at the first drawing after a training step"
    ]  # fmt: skip
    assert chosen[2][0] == chosen[3][0] == callback.runner.state.units["5"]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """The drawings of a run and of the one that goes on from it with other data, and the events of both."""
    folder = tmp_path_factory.mktemp("run")
    first, second = Spied(max_units=2, patches=2), Spied(max_units=2, patches=2)
    run = trainer(folder, [first])
    run.fit(Lit(), loader(), loader())
    run.save_checkpoint(folder / "saved.ckpt")
    torch.manual_seed(1)
    later = trainer(folder, [second], max_epochs=4)
    later.fit(Lit(), loader(), loader(dataset(13)), ckpt_path=str(folder / "saved.ckpt"))
    events = [Events(folder / f"run/version_{version}") for version in (0, 1)]
    return first.drawings, second.drawings, events


def test_units_stay_after_a_resume(resumed):
    first, second, _ = resumed
    channels = [{layer: one[0].channels for layer, one in drawing.items()} for drawing in (*first, *second)]
    assert len(channels) == 3 + 2
    assert all(each == channels[1] for each in channels[1:])


def test_once_the_units_are_known_only_their_images_are_kept(resumed):
    first, second, _ = resumed
    assert all(len(one[1]) <= 2 * 2 * len(drawing) for drawing in (first[2], *second) for one in drawing.values())


def test_a_sheet_and_the_purity_are_logged(resumed):
    _, _, (events, later) = resumed
    layers = ["network.1", "network.4"]
    assert events.image_tags == [f"patches/{layer}" for layer in layers]
    for layer in layers:
        assert events.image_steps(f"patches/{layer}") == events.scalar_steps(f"patches/{layer}/purity") == [0, 3, 7]
        assert later.scalar_steps(f"patches/{layer}/purity") == [11, 15]


# Layers of all kinds.


@pytest.mark.parametrize("layer", ["7", "9", "8"])
def test_a_layer_of_one_position_shows_whole_pictures(layer):
    found, (grid, *_) = drawn(Spied(layers=layer), small_network(), loader())
    top, *_ = found[layer]
    assert top.top.rows.max() == top.top.columns.max() == 0
    assert any("receptive field: the whole picture" in note for note in grid.notes)


def test_a_transformers_blocks():
    network = torchvision.models.VisionTransformer(16, 4, 4, 2, 8, 16, num_classes=CLASSES)
    data = dataset(8, size=16)
    found, items = drawn(Spied(), network, loader(data), probe=Probe(data.tensors[0][:2]))
    assert len(found) == 2
    for top, *_ in found.values():
        assert top.top.rows.max() < 4
        assert top.top.columns.max() < 4
    assert len(items) == 6


class Twice(nn.Module):
    """One ReLU that runs twice."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.relu = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 3), nn.ReLU()
        self.head = nn.Linear(5, CLASSES)

    def forward(self, images):
        return self.head(self.relu(self.two(self.relu(self.one(images)))).mean(dim=(2, 3)))


def test_of_a_layer_that_runs_twice_the_last_run_counts():
    network = Twice().eval()
    found, _ = drawn(Spied(layers="relu", units=[0, 1, 2, 3, 4]), network, loader())
    with torch.no_grad():
        maps = network.relu(network.two(network.relu(network.one(dataset().tensors[0]))))
    torch.testing.assert_close(found["relu"][0].top.values, brute_force(maps))


def test_units_that_are_not_there_end_the_run_at_once(tmp_path):
    module = Lit()
    with pytest.raises(ValueError, match=r"units=\[7, 8\] are not all among the 8 channels of layers='network\.3'"):
        trainer(tmp_path, [TopPatchesLogger(layers="3", units=[7, 8])]).fit(module, loader(), loader())
    assert not module.losses


# Data of all kinds.


def test_without_labels_there_is_no_purity():
    data = loader([{"image": image} for image, _ in dataset()])
    found, items = drawn(Spied(), small_network(), data)
    assert len(found) == len(items) == 2
    assert scalars(items) == {}


def test_unlabelled_samples_do_not_count_for_purity():
    labels = dataset().tensors[1].clone()
    labels[::2] = -1
    found, items = drawn(Spied(layers="3"), small_network(), loader(TensorDataset(dataset().tensors[0], labels)))
    top, *_ = found["3"]
    labelled = top.top.labels[top.above_mean.positions >= 0]
    assert set(labelled.unique().tolist()) <= {-1, 1, 3}
    assert 0.5 <= scalars(items)["patches/3/purity"] <= 1


def test_a_stream_keeps_its_images():
    found, _ = drawn(Spied(), small_network(), DataLoader(Stream(), batch_size=6))
    for top, images, _ in found.values():
        for position in top.top.positions.flatten().tolist():
            assert torch.equal(images[position], dataset().tensors[0][position])


@pytest.mark.parametrize(
    "data",
    [loader(shuffle=True), DataLoader(dataset(), batch_sampler=BatchSampler(RandomSampler(dataset()), 6, False))],
    ids=["sampler", "batch sampler"],
)
def test_a_shuffled_loader_shows_the_images_of_its_loop(data):
    network = small_network().eval()
    found, _ = drawn(Spied(layers="3"), network, data)
    top, kept, _ = found["3"]
    with torch.no_grad():
        for unit, channel in enumerate(top.channels):
            images = torch.stack([kept[n] for n in top.top.positions[unit].tolist()])
            torch.testing.assert_close(network[:4](images)[:, channel].amax(dim=(1, 2)), top.top.values[unit])


def test_before_the_first_loop_only_the_samplers_part_is_read():
    part = [20, 3, 22, 5, 9, 14]
    found, _ = drawn(Spied(), small_network(), loader(sampler=SubsetRandomSampler(part)), recorded=False)
    for top, *_ in found.values():
        assert set(top.top.positions.flatten().tolist()) <= {*part, -1}


@pytest.mark.parametrize(
    ("schedule", "remedy"),
    [
        (Schedule(), "it draws at the end of the next epoch that has a validation loop"),
        (Schedule(every_n_train_steps=2), r"draw at the end of epochs (every_n_epochs) instead of steps"),
    ],
    ids=["by epoch", "in steps"],
)
def test_a_stream_that_was_not_recorded_is_reported(schedule, remedy):
    callback, warnings, data = Spied(), [], DataLoader(Stream(), batch_size=6)
    options = {"warn": lambda text, cause: warnings.append(text), "schedule": schedule}
    _, items = drawn(callback, small_network(), data, recorded=False, **options)
    assert items == []
    (warning,) = warnings
    assert "lightning_viz has no samples of the validation data to look at: no validation loop" in warning
    assert "and the data are a stream" in warning
    assert warning.endswith(remedy)


def test_what_was_recorded_with_other_weights_is_drawn_where_there_is_nothing_else():
    callback, network, data = Spied(), small_network(), data_of(DataLoader(Stream(), batch_size=6))
    recording = record(callback, network, data, global_step=3)
    draw(callback, network, PROBE, data=data, _recording=recording, global_step=4)
    origins = [origin for _, _, (_, origin) in callback.drawings[-1].values()]
    assert origins == ["24 of the validation data, those recorded so far"] * 2


def test_a_network_that_is_not_finite_is_drawn_and_marked():
    network = small_network()
    nn.init.constant_(network[0].weight, torch.nan)
    _, (grid,) = drawn(Spied(layers="3"), network, loader())
    cells = grid.cells()
    assert [cell.caption[1].text for cell in cells[::7]] == ["not finite"] * 8
    assert not any(cell.pictures for cell in cells)


# The pictures.


def extractor(network, layer):
    return PatchExtractor(FeatureMaps(network, layer), dict(enumerate(dataset().tensors[0])), {}, AutoBatch())


def test_outside_the_patch_the_gradient_is_zero():
    images, made = dataset().tensors[0], extractor(small_network().eval(), "3")
    positions = torch.tensor([[0, 0], [2, 3], [5, 5]])
    gradients = made._gradients(images[:3], 4, positions, slice(None))
    assert made.guided
    assert gradients.abs().sum() > 0
    for gradient, position in zip(gradients, positions.tolist(), strict=True):
        top, left, bottom, right = made.receptive_field(images).box(*position)
        patch = gradient[:, max(top, 0) : bottom, max(left, 0) : right]
        assert torch.equal(patch.abs().sum(), gradient.abs().sum())


def test_without_relu_the_gradient_is_plain_and_the_note_says_so():
    images, made = dataset().tensors[0], extractor(nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU()), "1")
    assert made._gradients(images[:1], 0, torch.tensor([[1, 1]]), slice(None)).abs().sum() > 0
    assert not made.guided
    assert "gradient (no ReLU before the layer to guide it) of the unit" in made.describe(images)[0]


def test_the_receptive_field_is_found_once_for_a_run():
    callback, network, cache = Spied(layers="3", units=[0]), small_network(), {}
    drawn(callback, network, loader(), cache=cache)
    assert list(cache) == [("3", 12, 12)]
    ctx = make_context(network, PROBE, callback, data=data_of(loader()), cache=cache)
    forwards = count_forwards(network)
    list(callback.draw(ctx))
    without = sum(forwards)
    cache.clear()
    list(callback.draw(ctx))
    assert sum(forwards) - without > without + 10


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"units": []}, TypeError, r"units=\[\]"),
        ({"units": [-1]}, ValueError, "units=-1"),
        ({"max_units": 0}, ValueError, "max_units=0"),
        ({"patches": 0}, ValueError, "patches=0"),
        ({"layers": 3}, TypeError, "layers=3"),
    ],
)
def test_invalid_arguments(options, error, message):
    with pytest.raises(error, match=message):
        TopPatchesLogger(**options)


def test_units_and_layers_may_be_any_sequence():
    callback = TopPatchesLogger(layers=("a", "b"), units=range(2))
    assert (callback.layers, callback.units) == (["a", "b"], [0, 1])
