import copy
import pickle
from collections import Counter

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from google.protobuf import text_format
from pytorch_lightning.utilities import CombinedLoader
from sklearn.neighbors import NearestNeighbors
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, TensorDataset

from lightning_viz import EmbeddingProjectorLogger, Probe
from lightning_viz.callbacks import _embedding_scalars
from lightning_viz.callbacks._tracked_samples import TRACKED
from lightning_viz.runtime.artifacts import Embedding, Scatter

from ..support import CLASSES, Backwards, Events, Lit, Stream, dataset, loader, small_network, trainer
from .context import by_tag, data_of, draw, make_context, record, scalars

IMAGES, LABELS = dataset().tensors
PROBE = Probe(IMAGES[:4], LABELS[:4])
POINTS = "9"  # the default layer of `small_network`


def logger(**options):
    return EmbeddingProjectorLogger(on_error="raise", **options)


def snapshots(folder, name="projector"):
    """What TensorBoard's Projector reads: tensor by name, and the rows of the last metadata."""
    (run,) = [path for path in (folder / "run/version_0").iterdir() if path.name.rpartition("-")[0] == name]
    config = text_format.Parse((run / "projector_config.pbtxt").read_text("utf-8"), ProjectorConfig())
    tensors = {
        entry.tensor_name: np.fromfile(run / entry.tensor_path, np.float32).reshape(entry.tensor_shape)
        for entry in config.embeddings
    }
    return tensors, [line.split("\t") for line in (run / config.embeddings[-1].metadata_path).read_text().splitlines()]


def features(network, images=IMAGES):
    with torch.no_grad():
        return network.eval()[:9](images)


def perturb(network):
    """As a training step would."""
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn_like(weight))


class Drawings:
    """Successive drawings of one callback, each of a recorded loop or of samples read by index."""

    def __init__(self, callback=None, network=None, probe=PROBE, **options):
        self.callback = callback or logger(**options)
        self.network = small_network() if network is None else network
        self.probe, self.step, self.items = probe, 0, []

    def draw(self, *loaders, recorded=True, **options):
        """Of these loaders, by tag; of the default data without any."""
        data = data_of(*(loaders or (loader(),)))
        recording = record(self.callback, self.network, data, self.step) if recorded else None
        self.items = draw(
            self.callback, self.network, self.probe,
            **{"data": data, "_recording": recording, "global_step": self.step, **options},
        )  # fmt: skip
        self.step += 1
        return by_tag(self.items)

    @property
    def scalars(self):
        return scalars(self.items)

    @property
    def embedding(self):
        (found,) = [one for one in self.items if isinstance(one, Embedding)]
        return found

    @property
    def scatter(self):
        (found,) = [one for one in self.items if isinstance(one, Scatter)]
        return found


def stream():
    return DataLoader(Stream(), batch_size=6)


# One run of two epochs, and a third after a resume.


class Run:
    def __init__(self, folder):
        self.callback, self.module = logger(max_points=100, neighbours=3, per_class=True), Lit()
        run = trainer(folder, [self.callback])
        run.fit(self.module, loader(), loader())
        run.save_checkpoint(folder / "saved.ckpt")
        self.network = copy.deepcopy(self.module.network)
        self.events, (self.tensors, self.metadata) = Events(folder / "run/version_0"), snapshots(folder)
        again = pl.loggers.TensorBoardLogger(folder, name="run", version=0)
        later = trainer(folder, [logger(max_points=100, neighbours=3)], max_epochs=3, logger=again)
        later.fit(Lit(), loader(), loader(), ckpt_path=str(folder / "saved.ckpt"))
        self.resumed, (self.resumed_tensors, _) = Events(folder / "run/version_0"), snapshots(folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(0)
    return Run(tmp_path_factory.mktemp("run"))


def test_the_features_are_those_of_the_validation_data(run):
    names = list(run.tensors)[-2:]
    assert names == ["step 000007 · network.9", "step 000007 · network.9, principal components"]
    assert run.tensors[names[0]] == pytest.approx(features(run.network).numpy(), rel=1e-4)


def test_the_metadata_say_class_prediction_and_loss(run):
    scores = run.network.eval()(IMAGES)
    losses = nn.functional.cross_entropy(scores, LABELS, reduction="none").tolist()
    assert run.metadata[0] == ["index", "class", "predicted", "correct", "loss"]
    for row, (index, label) in zip(run.metadata[1:], enumerate(LABELS.tolist()), strict=True):
        predicted = int(scores[index].argmax())
        assert row[:4] == [str(index), str(label), str(predicted), str(predicted == label)]
        assert float(row[4]) == pytest.approx(losses[index], rel=1e-3)


@pytest.mark.parametrize("tag", ["network.9", "pixels"])
def test_the_accuracy_is_scikit_learns(tag, run):
    points, correct = (IMAGES.flatten(1) if tag == "pixels" else features(run.network)).double(), []
    for one in range(len(points)):
        others = [other for other in range(len(points)) if other != one]
        search = NearestNeighbors(n_neighbors=3).fit(points[others])
        nearest_first = LABELS[others][search.kneighbors(points[one : one + 1])[1][0]].tolist()
        correct.append(Counter(nearest_first).most_common(1)[0][0] == int(LABELS[one]))  # of equal counts the first
    assert run.events.scalars(f"embedding/{tag}/knn_accuracy")[-1] == pytest.approx(np.mean(correct))
    assert run.events.scalars(f"embedding/{tag}/knn_accuracy_ceiling")[-1] == 1
    assert 0 < run.events.scalars(f"embedding/{tag}/knn_accuracy_chance")[-1] < 0.6
    for label in range(CLASSES):
        mean = np.mean(np.array(correct)[label == LABELS])
        assert run.events.scalars(f"embedding/{tag}/knn_accuracy/{label}")[-1] == pytest.approx(mean)


@pytest.mark.parametrize(
    ("tag", "steps"),
    [
        ("pixels/knn_accuracy", [0, 3, 7]),
        ("network.9/cka_with_start", [0, 3, 7]),
        ("network.9/neighbours_kept", [3, 7]),
        ("network.9/explained_variance", [0, 3, 7]),
        ("network.9/effective_dimension", [0, 3, 7]),
    ],
)
def test_scalars_are_logged_at_each_drawing(tag, steps, run):
    assert run.events.scalar_steps(f"embedding/{tag}") == steps


def test_pictures_are_logged_at_each_drawing(run):
    tags = ["pca", "pca/history", "neighbours"]
    assert set(run.events.image_tags) == {f"embedding/network.9/{tag}" for tag in tags}
    assert all(run.events.image_steps(tag) == [0, 3, 7] for tag in run.events.image_tags)


def test_a_callback_can_be_pickled_after_a_run(run):
    pickle.dumps(run.callback)


@pytest.mark.parametrize("name", ["cka_with_start", "neighbours_kept"])
def test_comparisons_go_on_after_a_resume(name, run):
    tag = f"embedding/network.9/{name}"
    # TensorBoard's reader lists event files of the same second by name, not in the order of their steps.
    by_step = dict(zip(run.resumed.scalar_steps(tag), run.resumed.scalars(tag), strict=True))
    assert max(by_step) == 11
    assert 0 < by_step[11] < 0.999


def test_a_resume_into_the_same_folder_keeps_the_snapshots(run):
    names = [name.split(" · ")[0] for name in run.resumed_tensors][::2]
    assert names == [f"step {step:06d}" for step in (0, 3, 7, 11)]


# Other runs.


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_a_finished_model(verb, tmp_path):
    run = trainer(tmp_path, [logger(max_images=4)])
    getattr(run, verb)(Lit(), loader(), verbose=False)
    prefix, name = ("", "projector") if verb == "validate" else ("test/", "test-projector")
    assert f"{prefix}embedding/network.9/pca" in Events(tmp_path / "run/version_0").image_tags
    assert len(snapshots(tmp_path, name)[0]["step 000000 · network.9"]) == 24
    tags = Events(tmp_path / "run/version_0").scalar_tags
    assert f"{prefix}embedding/network.9/effective_dimension" in tags
    assert f"{prefix}embedding/network.9/cka_with_start" not in tags  # nothing was compared


def test_without_validation_data_it_shows_training_data(tmp_path, our_warnings):
    trainer(tmp_path, [logger()], max_steps=1, max_epochs=1).fit(Lit(), loader())
    assert len(next(iter(snapshots(tmp_path)[0].values()))) == 24
    assert any("training pictures" in warning for warning in our_warnings())


class Combined(Lit):
    def validation_step(self, batch, batch_idx):
        self(batch["one"][0])


@pytest.mark.parametrize("kind", ["stream", "combined"])
def test_data_that_cannot_be_read_are_those_of_the_sanity_check_at_first(kind, tmp_path):
    if kind == "stream":
        module, data, options = Lit(), stream(), {}
    else:
        data = CombinedLoader({"one": loader(), "other": loader()}, "max_size")
        module, options = Combined(), {"unpack": lambda batch: batch["one"]}
    trainer(tmp_path, [logger(**options)], max_epochs=1).fit(module, loader(), data)
    assert [len(points) for points in snapshots(tmp_path)[0].values()] == [12, 12, 24, 24]


def test_limited_batches_limit_what_is_read(tmp_path):
    run = trainer(tmp_path, [logger(every_n_train_steps=4, log_at_start=False)], max_epochs=1, limit_val_batches=2)
    run.fit(Lit(), loader(), loader())
    assert [row[0] for row in snapshots(tmp_path)[1][1:]] == list(map(str, range(12)))


# Recorded, or read by index.


@pytest.mark.parametrize(
    ("change", "recorded"),
    [({}, True), ({"complete": False}, False), ({"global_step": 7}, False), ({"error": RuntimeError()}, False)],
    ids=["complete loop", "part of a loop", "other weights", "error"],
)
def test_samples_that_no_complete_loop_recorded_at_this_step_are_read(change, recorded):
    drawings = Drawings()
    data = data_of(loader())
    recording = record(drawings.callback, drawings.network, data, 0)
    vars(recording).update(change)
    drawings.draw(loader(), recorded=False, _recording=recording)
    how = "recorded in the validation loop" if recorded else "read by index for this drawing"
    assert drawings.scatter.notes[1] == f"24 of the validation data, {how}"
    assert drawings.embedding.points[POINTS] == pytest.approx(features(drawings.network).numpy(), rel=1e-4)


@pytest.mark.parametrize(
    "data",
    [
        loader(shuffle=True),
        loader(sampler=Backwards()),
        DataLoader(dataset(), batch_sampler=BatchSampler(SequentialSampler(range(24)), 6, False)),
        DataLoader(dataset(), batch_sampler=[[0, 1, 2], [3, 4, 5]]),
    ],
    ids=["shuffled", "custom sampler", "batch sampler", "custom batches"],
)
def test_the_samples_are_in_the_order_of_the_data(data):
    drawings = Drawings()
    for recorded in (False, True):
        drawings.draw(data, recorded=recorded)
        assert drawings.embedding.metadata["index"] == list(map(str, range(24)))
        assert drawings.embedding.metadata["class"] == [str(index % CLASSES) for index in range(24)]
        assert drawings.embedding.points[POINTS] == pytest.approx(features(drawings.network).numpy(), rel=1e-4)


def test_a_custom_order_changes_no_number():
    """The start is read by index: what is compared with it must be the same samples."""
    numbers = []
    for options in ({}, {"sampler": Backwards()}):
        torch.manual_seed(0)
        drawings = Drawings()
        drawings.draw(loader(**options), recorded=False)
        perturb(drawings.network)
        drawings.draw(loader(**options))
        numbers.append(drawings.scalars)
    assert numbers[0][f"embedding/{POINTS}/cka_with_start"] < 0.99
    assert numbers[1] == pytest.approx(numbers[0], rel=1e-4)


def test_a_stream_is_recorded():
    drawings = Drawings()
    drawings.draw(stream())
    assert drawings.embedding.points[POINTS] == pytest.approx(features(drawings.network).numpy(), rel=1e-4)


def test_a_stream_that_was_not_recorded_is_reported():
    warnings, drawings = [], Drawings()
    assert drawings.draw(stream(), recorded=False, warn=lambda text, cause: warnings.append(text)) == {}
    (warning,) = warnings
    assert "no validation loop has been recorded yet, and the data are a stream" in warning


def test_the_same_samples_are_chosen_each_time():
    chosen = []
    for _ in range(2):
        drawings = Drawings(max_points=10)
        for recorded in (False, True):
            drawings.draw(recorded=recorded)
            chosen.append(drawings.embedding.metadata["index"])
    assert len(chosen[0]) == 10
    assert all(one == chosen[0] for one in chosen)


def test_a_layer_by_name_is_averaged_over_positions():
    network = small_network()
    drawings = Drawings(network=network, layers=("3", "9"))
    found = drawings.draw()
    with torch.no_grad():
        expected = network[:4](IMAGES).mean(dim=(2, 3))
    assert drawings.embedding.points["3"] == pytest.approx(expected.numpy(), rel=1e-3, abs=1e-6)
    assert drawings.embedding.points["9"] == pytest.approx(network(IMAGES).detach().numpy(), rel=1e-3, abs=1e-6)
    assert {"embedding/3/pca", "embedding/9/pca"} <= set(found)


def test_several_loaders_have_a_projector_each():
    other = TensorDataset(IMAGES / 2, LABELS)
    drawings = Drawings(dataloaders=[0, 1])
    found = drawings.draw(loader(), loader(other))
    assert {f"embedding/{POINTS}/dataloader_{number}/pca" for number in (0, 1)} <= set(found)
    points = found["projector-dataloader_1"].points[POINTS]
    assert points == pytest.approx(features(drawings.network, other.tensors[0]).numpy(), rel=1e-4)


def test_a_loader_that_is_not_there():
    with pytest.raises(ValueError, match=r"dataloaders=\[3\]: there are 1 validation loaders and none of index 3"):
        Drawings(dataloaders=[3]).draw()


# What is computed.


def test_a_network_that_does_not_learn_stays_where_it_is():
    network = nn.Sequential(nn.Flatten(), nn.Linear(432, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    drawings, points = Drawings(network=network), []
    for recorded in (False, True, True):
        drawings.draw(recorded=recorded)
        points.append(drawings.embedding.points["3, principal components"].numpy())
        assert drawings.scalars["embedding/3/cka_with_start"] == pytest.approx(1, abs=1e-4)
    assert drawings.scalars["embedding/3/neighbours_kept"] == 1
    assert points[0] == pytest.approx(points[1], abs=1e-5)
    assert points[1] == pytest.approx(points[2], abs=1e-5)


def test_test_data_are_compared_with_nothing():
    """Not with validation data, whose positions may be the same, nor with an earlier test run: there is no start."""
    drawings = Drawings()
    drawings.draw()
    kept = {**drawings.callback.runner.state.spaces}
    for _ in range(2):
        drawings.draw(loader(TensorDataset(1 - IMAGES, LABELS)), split="test")
        names = {tag.rpartition("/")[2] for tag in drawings.scalars}
        assert "knn_accuracy" in names
        assert not names & {"cka_with_start", "neighbours_kept"}
        assert "principal components" in drawings.scatter.notes
    assert drawings.callback.runner.state.spaces == kept


def test_features_that_are_first_seen_after_the_start_are_not_those_at_the_start():
    drawings = Drawings()
    drawings.step = 3
    drawings.draw()
    assert f"embedding/{POINTS}/cka_with_start" not in drawings.scalars
    drawings.draw()
    assert drawings.scalars[f"embedding/{POINTS}/cka_with_start"] == pytest.approx(1, abs=1e-3)


def test_pictures_that_stay_vote_once(monkeypatch):
    voted, vote = [], _embedding_scalars.leave_one_out

    def counting(points, labels, k):
        voted.append(points.shape[1:])
        return vote(points, labels, k)

    monkeypatch.setattr(_embedding_scalars, "leave_one_out", counting)
    drawings = Drawings()
    for _ in range(3):
        drawings.draw()
        assert "embedding/pixels/knn_accuracy" in drawings.scalars
    assert voted.count((3, 12, 12)) == 1
    assert voted.count((8,)) == 3


def test_the_passes_are_those_of_the_samples_read_and_the_probe():
    callback, network = logger(max_points=10), small_network()
    ctx = make_context(network, PROBE, callback, data=data_of(loader()))
    list(callback.draw(ctx))  # it finds the layer, once
    counts = []
    network.register_forward_pre_hook(lambda module, inputs: counts.append(len(inputs[0])))
    _ = ctx.captions
    counts.clear()
    list(callback.draw(ctx))
    sanity = 1  # image, to find the modules that return the scores
    assert (sum(counts) - sanity) / 3 == pytest.approx(callback.estimated_passes(network, PROBE.images))


# Unusual input.


def head_of(count):
    return loader(TensorDataset(IMAGES[:count], LABELS[:count]))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_fewer_points_than_neighbours(count):
    drawings = Drawings(neighbours=5)
    found = drawings.draw(head_of(count))
    assert f"embedding/{POINTS}/pca" in found
    assert (f"embedding/{POINTS}/knn_accuracy" in drawings.scalars) == (count > 1)


def test_one_class_only():
    drawings = Drawings()
    drawings.draw(loader(TensorDataset(IMAGES, torch.zeros(24, dtype=torch.long))))
    assert drawings.scalars[f"embedding/{POINTS}/knn_accuracy"] == 1


@pytest.mark.parametrize("layers", [None, "7"])
def test_constant_features(layers):
    network = small_network()
    network[8].register_forward_hook(lambda module, inputs, output: output * 0 + 1)
    network[7].register_forward_hook(lambda module, inputs, output: output * 0 + 1)
    drawings = Drawings(network=network, layers=layers)
    drawings.draw()
    tag = f"embedding/{layers or POINTS}"
    assert drawings.scalars[f"{tag}/cka_with_start"] == drawings.scalars[f"{tag}/effective_dimension"] == 0


def test_features_that_are_not_finite_are_left_out_and_counted():
    images = IMAGES.clone()
    images[5], images[7] = torch.nan, torch.inf
    drawings = Drawings()
    for recorded in (False, True):
        drawings.draw(loader(TensorDataset(images, LABELS)), recorded=recorded)
        assert drawings.scalars["embedding/not_finite"] == 2
        assert drawings.embedding.metadata["index"] == [str(i) for i in range(24) if i not in (5, 7)]
        assert "2 more left out, whose features are not finite" in drawings.scatter.notes[1]


def test_a_sample_that_is_not_finite_once_restarts_nothing():
    images, drawings, counts, similar = IMAGES.clone(), Drawings(), [], []
    images[5] = torch.nan
    for index in range(5):
        drawings.draw(loader(TensorDataset(images if index == 2 else IMAGES, LABELS)))
        counts.append(drawings.scalars.get("embedding/not_finite"))
        similar.append(drawings.scalars[f"embedding/{POINTS}/cka_with_start"])
        assert drawings.scatter.restart_film == (index == 0)
        assert drawings.scatter.film.isnan().any(dim=1).nonzero()[:, 0].tolist() == ([5] if index == 2 else [])
        perturb(drawings.network)
    assert counts == [None, None, 1, None, None]
    assert similar[0] == pytest.approx(1, abs=1e-3)
    assert max(similar[1:]) < 0.99


def test_features_of_which_none_is_finite_are_reported():
    drawings, warnings = Drawings(), []
    found = drawings.draw(loader(TensorDataset(torch.full_like(IMAGES, torch.nan), LABELS)), warn=warnings.append)
    assert list(found) == ["embedding/not_finite"]
    assert drawings.scalars == {"embedding/not_finite": 24}
    assert warnings == [
        f"lightning_viz cannot embed the features of {POINTS}: all are NaN or infinite; look at the loss"
    ]


def test_a_picture_of_the_probe_without_finite_features_is_left_out():
    images = IMAGES[:3].clone()
    images[1] = torch.nan
    grid = Drawings(probe=Probe(images), neighbours=2).draw()[f"embedding/{POINTS}/neighbours"]
    assert len(grid.cells()) == 2 * (1 + 2 + 2)


def test_the_query_is_excluded_from_its_neighbours():
    drawings = Drawings(neighbours=24)
    grid = drawings.draw()[f"embedding/{POINTS}/neighbours"]
    assert grid.headings == ("picture", "nearest by features", "nearest by pixels, at 12×12")
    assert grid.spans == [1, 23, 23]  # of 24, none is the query
    assert all(query not in neighbours for query, neighbours in shown(grid))


def test_a_picture_that_is_not_among_the_data_has_all_of_them_as_neighbours():
    grid = Drawings(neighbours=24, probe=Probe(1 - IMAGES[:4])).draw()[f"embedding/{POINTS}/neighbours"]
    assert grid.spans == [1, 24, 24]


def shown(grid):
    """Each picture of the probe, and its neighbours, pixel by pixel."""
    pixels = [cell.pictures[0].tobytes() for cell in grid.cells()]
    rows = [pixels[start : start + sum(grid.spans)] for start in range(0, len(pixels), sum(grid.spans))]
    return [(query, neighbours) for query, *neighbours in rows]


def test_classes_of_one_name_are_told_apart():
    probe = Probe(IMAGES[:4], LABELS[:4], class_names=["cat", "cat", "", "caf\udce9"])  # a folder's name in Latin-1
    drawings = Drawings(per_class=True, probe=probe)
    drawings.draw()
    tags = {tag for tag in drawings.scalars if tag.startswith("embedding/pixels/knn_accuracy/")}
    assert {tag.rpartition("/")[2] for tag in tags} == {"cat (0)", "cat (1)", "(2)", "caf?"}


def test_one_unlabelled_sample_has_no_vote_and_is_neither_correct_nor_wrong():
    labels = LABELS.clone()
    labels[3] = -100
    drawings, expected = Drawings(neighbours=3), Drawings(neighbours=3)
    expected.network = drawings.network
    drawings.draw(loader(TensorDataset(IMAGES, labels)))
    others = [index for index in range(24) if index != 3]
    expected.draw(loader(TensorDataset(IMAGES[others], LABELS[others])))
    metadata = drawings.embedding.metadata
    assert [metadata[name][3] for name in ("class", "correct")] == ["unknown", "unknown"]
    assert "unknown" not in {metadata[name][index] for name in ("class", "correct") for index in others}
    for tag in (f"embedding/{POINTS}/knn_accuracy", "embedding/pixels/knn_accuracy"):
        assert drawings.scalars[tag] == pytest.approx(expected.scalars[tag])


def test_pictures_without_labels():
    drawings = Drawings()
    drawings.draw(loader([{"image": image} for image in IMAGES]))
    assert not [tag for tag in drawings.scalars if "accuracy" in tag]
    assert list(drawings.embedding.metadata) == ["index", "predicted"]
    assert drawings.scatter.labels is None


def test_a_network_without_a_linear_layer():
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    assert "embedding/2/pca" in Drawings(network=nn.Sequential(*layers)).draw()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_points": 100_001}, ValueError, "max_points=100001 is more than TensorBoard's Projector shows"),
        ({"max_points": 0}, ValueError, "max_points=0"),
        ({"neighbours": 0}, ValueError, "neighbours=0"),
        ({"class_balanced": "yes"}, TypeError, "class_balanced='yes'"),
        ({"dataloaders": [-1]}, ValueError, "dataloaders=-1"),
        ({"layers": 3}, TypeError, "layers=3"),
    ],
)
def test_invalid_arguments(options, error, message):
    with pytest.raises(error, match=message):
        EmbeddingProjectorLogger(**options)


def test_dataloaders_may_be_any_sequence():
    assert EmbeddingProjectorLogger(dataloaders=range(2)).dataloaders == [0, 1]


def test_a_layer_that_does_not_run_ends_the_run_at_once(tmp_path):
    class Scored(Lit):
        def __init__(self):
            super().__init__()
            self.criterion = nn.CrossEntropyLoss()

    with pytest.raises(ValueError, match="layers='criterion' did not run"):
        trainer(tmp_path, [EmbeddingProjectorLogger(layers="criterion")]).fit(Scored(), loader(), loader())


def test_what_is_tracked_is_among_what_is_kept():
    assert EmbeddingProjectorLogger().max_points >= TRACKED


def test_the_networks_accuracy_of_each_class():
    drawings, network = Drawings(per_class=True), small_network().eval()
    drawings.network = network
    found = drawings.draw()
    with torch.no_grad():
        correct = network(IMAGES).argmax(dim=1) == LABELS
    for label in range(CLASSES):
        expected = float(correct[label == LABELS].double().mean())
        assert drawings.scalars[f"embedding/class_accuracy/{label}"] == pytest.approx(expected)
    notes = found[f"embedding/{POINTS}/pca"].notes
    assert f"the network's accuracy {float(correct.double().mean()):.2f} of {len(LABELS)} samples" in notes
    assert len([one for one in notes if one.startswith("lowest: ")]) == 1
