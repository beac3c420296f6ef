import numpy as np
import pytest
import pytorch_lightning as pl
import torch
import torchvision
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
)

from lightning_viz import Probe, TopPatchesLogger
from lightning_viz.callbacks._patch_sheet import Cutter, _cut
from lightning_viz.collect.recorder import Seen
from lightning_viz.collect.top_activations import Answers, Winners
from lightning_viz.collect.top_samples import Top
from lightning_viz.methods.model.batching import Portions

from ..support import CLASSES, Events, Lit, dataset, loader, small_network, trainer


@pytest.fixture
def found(monkeypatch):
    """What each drawing was made of, by layer."""
    drawings = []
    draw = TopPatchesLogger.draw

    def spy(self, network, probe):
        drawings.append({one.layer: one for one in self._found})
        yield from draw(self, network, probe)

    monkeypatch.setattr(TopPatchesLogger, "draw", spy)
    return drawings


def logger(**options):
    return TopPatchesLogger(on_error="raise", **options)


def brute_force(values, labels, count):
    """Of activations (N, U) the largest, by (value, position) of Python's own sort: [[(position, value, label)]] by unit."""
    return [
        [(n, column[n], labels[n]) for n in sorted(range(len(column)), key=lambda n: (-column[n], n))[:count]]
        for column in values.T.tolist()
    ]


def listed(top):
    """The same of what was harvested."""
    units = zip(top.positions.tolist(), top.values.tolist(), top.labels.tolist(), strict=True)
    return [list(zip(*unit, strict=True)) for unit in units]


# The harvest is a brute-force pass.


@pytest.mark.parametrize(
    "options", [{"batch_size": 7}, {"batch_size": 5, "num_workers": 2}, {"batch_size": 24}], ids=str
)
def test_the_winners_are_those_of_a_brute_force_pass(options, found, tmp_path):
    data, module = dataset(24), Lit()
    trainer(tmp_path, [logger(layers="3", units=list(range(8)))]).validate(
        module, loader(data, **options), verbose=False
    )
    with torch.no_grad():
        maps = module.eval().network[:4](data.tensors[0])
    (drawing,) = found
    top = drawing["network.3"].answers.top
    assert [[one[0] for one in unit] for unit in listed(top)] == [
        [one[0] for one in unit] for unit in brute_force(maps.amax(dim=(2, 3)), data.tensors[1].tolist(), 6)
    ]
    for unit in range(8):
        for n, row, column in zip(top.positions[unit], top.rows[unit], top.columns[unit], strict=True):
            assert maps[n, unit, row, column] == maps[n, unit].max()
    torch.testing.assert_close(top.values, maps.amax(dim=(2, 3)).T.sort(descending=True).values[:, :6])
    for position, image in drawing["network.3"].images.items():
        assert torch.equal(image, data.tensors[0][position])


@pytest.mark.parametrize("keep_images", [False, True])
def test_ties_go_to_the_first_in_the_data_in_any_order(keep_images):
    """A thousand samples of which many are equal, shuffled, in two processes of uneven batches, one sample repeated."""
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 5, (1000, 3), generator=generator).float()
    labels = torch.randint(0, 4, (1000,), generator=generator)
    images = torch.arange(1000.0).reshape(-1, 1, 1, 1)
    order = torch.randperm(1000, generator=generator)
    shares = []
    for part in (order[:400], order[400:]):
        winners = Winners(6, lambda network, images: ["0"], keep_images=keep_images)
        winners.taps(nn.Sequential(nn.Identity()), images)
        for rows in [*part.split(37), part[:1]]:
            peaks = winners._peaks("0", nn.Identity(), values[rows], images[rows])
            places = rows.numpy() if len(rows) > 1 else np.array([-1])
            winners.take(Seen(images[rows], labels[rows], None, {"0": peaks}, places))
        shares.append(winners.share())
    winners.merge(shares)
    answers = winners.answers["0"]
    assert listed(answers.top) == brute_force(values, labels.tolist(), 6)
    torch.testing.assert_close(answers.mean, values.double().mean(dim=0))
    if keep_images:
        assert {n: float(image) for n, image in winners.images.items()} == {
            n: n for n in answers.top.positions.flatten().tolist()
        }


def test_the_loop_has_no_forward_pass_more(tmp_path):
    class Between(pl.Callback):
        seen = ()

        def on_validation_batch_start(self, trainer, pl_module, *args):
            self.before = pl_module.calls

        def on_validation_batch_end(self, trainer, pl_module, *args):
            self.seen = (*self.seen, pl_module.calls - self.before)

    module, between = Lit(), Between()
    module.calls = 0
    module.network[0].register_forward_hook(lambda *_: setattr(module, "calls", module.calls + 1))
    trainer(tmp_path, [logger(), between]).fit(module, loader(), loader())
    assert between.seen == (1,) * (2 + 4 + 4)


# Which units.


def test_planted_shapes_are_found(trained, held_out, found, tmp_path):
    images, classes, places = held_out
    callback = logger(layers="7", max_units=10)
    data = DataLoader(TensorDataset(images, classes), 32)
    trainer(tmp_path, [callback]).validate(Lit(trained), data, verbose=False)
    (drawing,) = found
    answers = drawing["network.7"].answers
    assert len(answers.channels) == 10
    assert answers.top.purity.mean() > 0.9
    assert Events(tmp_path / "run/version_0").scalars("patches/network.7/purity")[0] > 0.9
    cutter = Cutter(trained, "7", drawing["network.7"].images, {}, Portions())
    field = cutter.field(images)
    inside = [
        places[n, max(top, 0) : bottom, max(left, 0) : right].float().sum() / 64
        for unit in range(10)
        for n, row, column in zip(*(getattr(answers.top, name)[unit].tolist() for name in ("positions", "rows", "columns")), strict=True)
        for top, left, bottom, right in [field.box(row, column)]
    ]  # fmt: skip
    assert np.mean(inside) > 0.8  # of the shape is in the patch


def test_pure_units_come_first_and_dead_ones_never():
    values = torch.tensor([[9.0, 9, 9], [5, 5, 5], [3, 3, 3], [0, 0, 0], [9, 0, 0]])
    labels = torch.tensor([[0, 0, 1], [2, 2, 2], [1, 1, 1], [0, 0, 0], [1, 1, 1]])
    positions = torch.arange(3).expand(5, 3)
    top = Top(values, positions, positions, positions, labels)
    mean, square = torch.tensor([1.0, 1, 1, 0, 0.1]), torch.tensor([4.0, 4, 4, 0, 1])
    answers = Answers(
        [10, 11, 12, 13, 14], top, torch.stack([torch.full((5,), 100.0), 100 * mean, 100 * square]).double()
    )
    assert answers.at(answers.most_selective(4)).channels == [11, 12, 10]
    assert answers.silent.tolist() == [False, False, False, True, False]
    assert (answers.shown.positions >= 0).sum(dim=1).tolist() == [3, 3, 3, 0, 1]


def test_units_stay_from_the_first_training_step_on_and_after_a_resume(found, tmp_path):
    saving = ModelCheckpoint(tmp_path, filename="saved")
    options = {"max_units": 2, "patches": 2}
    trainer(tmp_path, [logger(**options), saving], enable_checkpointing=True).fit(Lit(), loader(), loader())
    torch.manual_seed(1)
    resumed = trainer(tmp_path, [logger(**options)], max_epochs=5)
    resumed.fit(Lit(), loader(), loader(dataset(13)), ckpt_path=str(tmp_path / "saved.ckpt"))
    channels = [{layer: one.answers.channels for layer, one in drawing.items()} for drawing in found]
    assert len(channels) == 3 + 3
    assert all(each == channels[1] for each in channels[1:])
    assert all(len(one.images) <= 2 * 2 * len(drawing) for drawing in found[2:] for one in drawing.values())


# Layers of all kinds.


@pytest.mark.parametrize("layer", ["network.7", "network.9", "network.8"])
def test_a_layer_of_one_place_shows_whole_pictures(layer, found, tmp_path):
    trainer(tmp_path, [logger(layers=layer)]).validate(Lit(), loader(), verbose=False)
    (drawing,) = found
    one = drawing[layer]
    assert one.answers.top.rows.max() == one.answers.top.columns.max() == 0
    assert f"patches/{layer}" in Events(tmp_path / "run/version_0").image_tags


def test_a_transformers_blocks(found, tmp_path):
    network = torchvision.models.VisionTransformer(16, 4, 4, 2, 8, 16, num_classes=CLASSES)
    trainer(tmp_path, [logger()]).validate(Lit(network), loader(dataset(8, size=16)), verbose=False)
    (drawing,) = found
    assert len(drawing) == 2
    for one in drawing.values():
        assert one.answers.top.rows.max() < 4
        assert one.answers.top.columns.max() < 4
    assert len(Events(tmp_path / "run/version_0").image_tags) == 2


class Twice(nn.Module):
    """One ReLU that runs twice, and a module that never does."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.relu = nn.Conv2d(3, 5, 3), nn.Conv2d(5, 5, 3), nn.ReLU()
        self.head, self.idle = nn.Linear(5, CLASSES), nn.Conv2d(5, 5, 3)

    def forward(self, images):
        return self.head(self.relu(self.two(self.relu(self.one(images)))).mean(dim=(2, 3)))


def test_a_layer_that_runs_twice_is_read_at_the_last(found, tmp_path):
    module, images = Lit(Twice()), dataset().tensors[0]
    trainer(tmp_path, [logger(layers="relu", units=[0, 1, 2, 3, 4])]).validate(module, loader(), verbose=False)
    network = module.network
    with torch.no_grad():
        peaks = network.relu(network.two(network.relu(network.one(images)))).amax(dim=(2, 3))
    top = found[0]["network.relu"].answers.top
    torch.testing.assert_close(top.values, peaks.T.sort(descending=True).values[:, :6])


def test_a_module_that_never_runs_fails_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"layer='network\.idle' did not run"):
        trainer(tmp_path, [logger(layers="idle")]).fit(Lit(Twice()), loader(), loader())


def test_units_that_are_not_there_fail_at_once(tmp_path):
    with pytest.raises(ValueError, match=r"units=\[7, 8\] are not all among the 8 channels of layer='network.3'"):
        trainer(tmp_path, [logger(layers="3", units=[7, 8])]).fit(Lit(), loader(), loader())


@pytest.mark.parametrize("keep_images", [False, True])
def test_memory_is_bounded_with_2048_channels(keep_images, monkeypatch):
    """Of 3,000 pictures no more stay than fit, and no activation but those of winners."""
    monkeypatch.setattr("lightning_viz.collect.top_activations.MEMORY", 100 * 3 * 8 * 8 * 4)
    winners = Winners(5, lambda network, images: ["0"], keep_images=keep_images)
    winners.taps(nn.Sequential(nn.Identity()), torch.rand(1, 3, 8, 8))
    generator = torch.Generator().manual_seed(0)
    for start in range(0, 3000, 100):
        images = torch.rand(100, 3, 8, 8, generator=generator)
        peaks = winners._peaks("0", nn.Identity(), torch.rand(100, 2048, 2, 2, generator=generator), images)
        winners.take(Seen(images, None, None, {"0": peaks}, np.arange(start, start + 100)))
        assert len(winners.images) <= 100
        assert sum(one.values.shape[1] for one in winners._tops["0"]) <= 5 + 256
    assert len(winners.answers["0"].channels) == (20 if keep_images else 2048)
    assert bool(winners.images) == keep_images


# Data of all kinds.


def test_without_labels_there_is_no_purity(found, tmp_path):
    class Unlabelled(Lit):
        def validation_step(self, batch, batch_idx):
            self(batch["image"])

    data = loader([{"image": image} for image, _ in dataset()])
    trainer(tmp_path, [logger()]).fit(Unlabelled(), loader(), data)
    events = Events(tmp_path / "run/version_0")
    assert len(found) == 3
    assert not [tag for tag in events.scalar_tags if "purity" in tag]
    assert events.image_tags


class Stream(IterableDataset):
    def __iter__(self):
        return iter(dataset())


def test_a_stream_keeps_its_pictures(found, tmp_path):
    trainer(tmp_path, [logger()]).fit(Lit(), loader(), DataLoader(Stream(), batch_size=6))
    assert len(found) == 3
    for drawing in found:
        for one in drawing.values():
            for position in one.answers.top.positions.flatten().tolist():
                assert torch.equal(one.images[position], dataset().tensors[0][position])


@pytest.mark.parametrize("by", ["sampler", "batch sampler"])
def test_a_shuffled_loader_shows_the_pictures_that_it_saw(by, found, tmp_path):
    module, data = Lit(), loader(shuffle=True)
    if by == "batch sampler":
        data = DataLoader(dataset(), batch_sampler=BatchSampler(RandomSampler(dataset()), 6, False))
    trainer(tmp_path, [logger(layers="3")]).validate(module, data, verbose=False)
    one = found[0]["network.3"]
    with torch.no_grad():
        for unit, channel in enumerate(one.answers.channels):
            images = torch.stack([one.images[n] for n in one.answers.top.positions[unit].tolist()])
            peaks = module.eval().network[:4](images)[:, channel].amax(dim=(1, 2))
            torch.testing.assert_close(peaks, one.answers.top.values[unit])


def test_before_the_first_loop_only_the_part_is_read_that_the_sampler_shows(found, tmp_path):
    part = [20, 3, 22, 5, 9, 14]
    run = trainer(tmp_path, [logger()], num_sanity_val_steps=0)
    run.fit(Lit(), loader(), loader(sampler=SubsetRandomSampler(part)))
    for one in found[0].values():
        assert set(one.answers.top.positions.flatten().tolist()) <= {*part, -1}


def test_a_stream_that_was_not_seen_is_waited_for(found, tmp_path, our_warnings):
    run = trainer(tmp_path, [logger()], num_sanity_val_steps=0)
    run.fit(Lit(), loader(), DataLoader(Stream(), batch_size=6))
    assert any("has no patches for TopPatchesLogger at step 0" in warning for warning in our_warnings())
    assert [len(drawing) for drawing in found] == [0, len(found[1]), len(found[1])]


def test_a_network_that_is_not_finite_is_drawn_and_says_so(found, tmp_path, monkeypatch):
    words = []
    rows = Cutter.rows
    monkeypatch.setattr(Cutter, "rows", lambda *args: (words.extend(made := rows(*args)), made)[1])
    module = Lit()
    nn.init.constant_(module.network[0].weight, torch.nan)
    run = trainer(tmp_path, [logger(layers="3", probe=Probe(dataset().tensors[0]))])
    run.validate(module, loader(), verbose=False)
    assert len(words) == 8
    assert {row.words[1].text for row in words} == {"not finite"}
    assert not any(row.pairs for row in words)
    assert Events(tmp_path / "run/version_0").image_tags == ["patches/network.3"]


# The pictures.


def test_beyond_the_patch_the_gradient_is_zero():
    torch.manual_seed(0)
    network, images = small_network().eval(), dataset().tensors[0]
    cutter = Cutter(network, "3", dict(enumerate(images)), {}, Portions())
    places = torch.tensor([[0, 0], [2, 3], [5, 5]])
    gradients = cutter._gradients(images[:3], 4, places)
    assert cutter.guided
    assert gradients.abs().sum() > 0
    for gradient, place in zip(gradients, places.tolist(), strict=True):
        top, left, bottom, right = cutter.field(images).box(*place)
        patch = gradient[:, max(top, 0) : bottom, max(left, 0) : right]
        assert torch.equal(patch.abs().sum(), gradient.abs().sum())


def test_without_relu_the_plain_gradient_is_drawn():
    network, images = nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU()), dataset().tensors[0]
    cutter = Cutter(network, "1", dict(enumerate(images)), {}, Portions())
    assert cutter._gradients(images[:1], 0, torch.tensor([[1, 1]])).abs().sum() > 0
    assert not cutter.guided


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 1, 2, 3), [[1, 2], [5, 6]]),
        ((-1, 0, 1, 2), [[9, 9], [0, 1]]),
        ((2, 3, 4, 5), [[11, 9], [9, 9]]),
        ((-5, -5, 9, 9), [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]),
        ((-7, 0, 2, 9), [[9, 9, 9, 9], [0, 1, 2, 3], [4, 5, 6, 7]]),
    ],
    ids=["inside", "above", "corner", "all", "much above"],
)
def test_a_box_is_cut_where_it_is(box, expected):
    assert _cut(np.arange(12).reshape(3, 4, 1), box, 9)[..., 0].tolist() == expected


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
def test_wrong_arguments(options, error, message):
    with pytest.raises(error, match=message):
        TopPatchesLogger(**options)
