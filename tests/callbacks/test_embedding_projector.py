import copy
import pickle

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from google.protobuf import text_format
from lightning_viz.callbacks._features import FOLLOWED
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import CombinedLoader
from sklearn.neighbors import KNeighborsClassifier
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler, TensorDataset

from lightning_viz import EmbeddingProjectorLogger, Probe
from lightning_viz.callbacks import embedding_projector as embedding

from ..support import CLASSES, Events, Lit, dataset, loader, small_network, trainer

NETWORK = nn.Sequential(nn.Flatten(), nn.Linear(432, 16), nn.ReLU(), nn.Linear(16, CLASSES))  # no dropout


def logger(**options):
    return EmbeddingProjectorLogger(on_error="raise", **options)


def fitted(folder, callback, module=None, data=None, **options):
    """A run of two epochs with this callback, and its events."""
    run = trainer(folder, [callback], **options)
    module = Lit() if module is None else module
    run.fit(module, loader(), loader() if data is None else data)
    return module, Events(folder / "run/version_0")


def snapshots(folder, name="projector"):
    """What TensorBoard's Projector reads: tensor by name, and the rows of the last table."""
    (run,) = [path for path in (folder / "run/version_0").iterdir() if path.name.rpartition("-")[0] == name]
    config = text_format.Parse((run / "projector_config.pbtxt").read_text("utf-8"), ProjectorConfig())
    tensors = {
        entry.tensor_name: np.fromfile(run / entry.tensor_path, np.float32).reshape(entry.tensor_shape)
        for entry in config.embeddings
    }
    return tensors, [line.split("\t") for line in (run / config.embeddings[-1].metadata_path).read_text().splitlines()]


def features(module, images):
    with torch.no_grad():
        return module.eval().network[:9](images)


class Counting(Lit):
    """Counts the pictures that its network sees."""

    def __init__(self):
        super().__init__()
        self.seen = 0
        self.network.register_forward_pre_hook(lambda _m, inputs: setattr(self, "seen", self.seen + len(inputs[0])))


# What is harvested.


def test_the_features_are_those_of_the_validation_data(tmp_path):
    module, _ = fitted(tmp_path, logger(max_points=100))
    tensors, table = snapshots(tmp_path)
    assert list(tensors)[-2:] == ["step 000007 · network.9", "step 000007 · network.9, principal components"]
    assert tensors["step 000007 · network.9"] == pytest.approx(features(module, dataset().tensors[0]).numpy(), rel=1e-4)
    scores = module.network(dataset().tensors[0])
    losses = nn.functional.cross_entropy(scores, dataset().tensors[1], reduction="none").tolist()
    assert table[0] == ["index", "class", "predicted", "correct", "loss"]
    for row, (index, (_, label)) in zip(table[1:], enumerate(dataset()), strict=True):
        predicted = int(scores[index].argmax())
        assert row[:4] == [str(index), str(int(label)), str(predicted), str(predicted == int(label))]
        assert float(row[4]) == pytest.approx(losses[index], rel=1e-3)


def test_the_loop_has_no_forward_pass_more(tmp_path):
    """Beyond a picture to find the layers, and the probe's own."""

    class Between(pl.Callback):
        seen = ()

        def on_validation_batch_start(self, trainer, pl_module, *args):
            self.before = pl_module.seen

        def on_validation_batch_end(self, trainer, pl_module, *args):
            self.seen = (*self.seen, pl_module.seen - self.before)

    between, module = Between(), Counting()
    run = trainer(tmp_path, [logger(), between], max_epochs=2)
    run.fit(module, loader(), loader())
    assert between.seen == (6,) * (2 + 4 + 4)


@pytest.mark.parametrize(
    ("options", "run", "harvested"),
    [
        ({}, {}, True),
        ({}, {"num_sanity_val_steps": -1}, True),
        ({"every_n_train_steps": 4}, {}, False),
        ({}, {"val_check_interval": 3}, False),
        ({}, {"check_val_every_n_epoch": 3}, False),
    ],
    ids=["every epoch", "full sanity check", "in steps", "validation before the end", "no validation yet"],
)
def test_what_the_loop_did_not_see_at_this_step_is_read_and_run(options, run, harvested, tmp_path, monkeypatch):
    origins = []
    draw = EmbeddingProjectorLogger.draw

    def spy(self, network, probe):
        origins.append({step: words for step, (_, words) in self._samples.items()}[0])
        yield from draw(self, network, probe)

    monkeypatch.setattr(EmbeddingProjectorLogger, "draw", spy)
    module, _ = fitted(tmp_path, logger(**options), **run)
    assert ("the loop itself" in origins[-1]) == harvested
    assert ("the loop itself" in origins[0]) == (run == {"num_sanity_val_steps": -1})
    tensors, _ = snapshots(tmp_path)
    assert list(tensors.values())[-2] == pytest.approx(features(module, dataset().tensors[0]).numpy(), rel=1e-4)


def test_a_shuffled_loader_is_read_by_index(tmp_path):
    module, _ = fitted(tmp_path, logger(), data=loader(shuffle=True))
    tensors, table = snapshots(tmp_path)
    assert [row[0] for row in table[1:]] == list(map(str, range(24)))
    assert list(tensors.values())[-2] == pytest.approx(features(module, dataset().tensors[0]).numpy(), rel=1e-4)


class Backwards:
    """A sampler of one's own: the loop's first sample is the last of the data."""

    def __iter__(self):
        return iter(range(23, -1, -1))

    def __len__(self):
        return 24


def test_an_order_of_ones_own_changes_no_number(tmp_path):
    """The start is read by index: what is compared with it must be the same samples."""
    in_order, backwards = (
        fitted(tmp_path / name, logger(), Lit(copy.deepcopy(NETWORK)), loader(**options))[1]
        for name, options in (("in order", {}), ("backwards", {"sampler": Backwards()}))
    )
    tag = "embedding/network.3/cka_with_start"
    assert in_order.scalars(tag)[1] < 0.99
    assert backwards.scalars(tag) == pytest.approx(in_order.scalars(tag), rel=1e-4)
    _, table = snapshots(tmp_path / "backwards")
    assert [row[1] for row in table[1:]] == [str(index % CLASSES) for index in range(24)]


@pytest.mark.parametrize("batches", [BatchSampler(SequentialSampler(range(24)), 6, False), [[0, 1, 2], [3, 4, 5]]])
def test_the_start_of_a_batch_sampler_is_as_large_as_the_rest(batches, tmp_path):
    fitted(tmp_path, logger(), data=DataLoader(dataset(), batch_sampler=batches))
    assert [len(points) for points in snapshots(tmp_path)[0].values()] == [24] * 6


def test_without_validation_data_it_shows_training_data(tmp_path, our_warnings):
    trainer(tmp_path, [logger()]).fit(Lit(), loader())
    assert len(next(iter(snapshots(tmp_path)[0].values()))) == 24
    assert any("training pictures" in warning for warning in our_warnings())


class Stream(IterableDataset):
    def __iter__(self):
        return iter(dataset())


def test_a_stream_is_harvested(tmp_path):
    fitted(tmp_path, logger(), data=DataLoader(Stream(), batch_size=6))
    assert [len(points) for points in snapshots(tmp_path)[0].values()] == [12, 12, 24, 24, 24, 24]


def test_a_stream_that_was_not_seen_is_waited_for(tmp_path, our_warnings):
    fitted(tmp_path, logger(), data=DataLoader(Stream(), batch_size=6), num_sanity_val_steps=0)
    assert [len(points) for points in snapshots(tmp_path)[0].values()] == [24, 24, 24, 24]
    (warning,) = [
        warning for warning in our_warnings() if "has no samples for EmbeddingProjectorLogger at step 0" in warning
    ]
    assert "a stream" in warning


def test_data_that_the_loop_combines_are_harvested(tmp_path):
    class Combined(Lit):
        def validation_step(self, batch, batch_idx):
            self(batch["one"][0])

    data = CombinedLoader({"one": loader(), "other": loader()}, "max_size")
    fitted(tmp_path, logger(unpack=lambda batch: batch["one"]), Combined(), data)
    assert [len(points) for points in snapshots(tmp_path)[0].values()] == [12, 12, 24, 24, 24, 24]


def test_the_same_samples_at_every_snapshot(tmp_path):
    callback = logger(max_points=10)
    fitted(tmp_path, callback)
    _, table = snapshots(tmp_path)
    again = logger(max_points=10)
    fitted(tmp_path / "again", again)
    assert [row[0] for row in table] == [row[0] for row in snapshots(tmp_path / "again")[1]]
    assert len(table) == 11


def test_limited_batches_limit_what_is_read(tmp_path):
    fitted(tmp_path, logger(every_n_train_steps=4), limit_val_batches=2)
    assert [row[0] for row in snapshots(tmp_path)[1][1:]] == list(map(str, range(12)))


def test_a_layer_by_name_is_averaged_over_its_places(tmp_path):
    module, events = fitted(tmp_path, logger(layers=["network.3", "9"]))
    tensors, _ = snapshots(tmp_path)
    with torch.no_grad():
        expected = module.eval().network[:4](dataset().tensors[0]).mean(dim=(2, 3))
    assert tensors["step 000007 · network.3"] == pytest.approx(expected.numpy(), rel=1e-3, abs=1e-6)
    assert {tag.split("/")[1] for tag in events.image_tags} == {"network.3", "network.9"}


def test_several_loaders(tmp_path):
    other = TensorDataset(dataset().tensors[0] / 2, dataset().tensors[1])

    class Two(Lit):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            self.network(batch[0])

    module, events = fitted(tmp_path, logger(dataloaders=[0, 1]), Two(), [loader(), loader(other)])
    assert {"embedding/network.9/dataloader_0/pca", "embedding/network.9/dataloader_1/pca"} <= set(events.image_tags)
    tensors, _ = snapshots(tmp_path, "projector-dataloader_1")
    assert list(tensors.values())[-2] == pytest.approx(features(module, other.tensors[0]).numpy(), rel=1e-4)


def test_a_loader_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"dataloaders=\[3\]: there are 1 validation loaders"):
        fitted(tmp_path, logger(dataloaders=[3]))


# What is made of it.


def test_the_accuracy_is_scikit_learns(tmp_path):
    module, events = fitted(tmp_path, logger(neighbours=3, per_class=True))
    images, labels = dataset().tensors
    for tag, points in (("network.9", features(module, images)), ("pixels", images.flatten(1))):
        correct = []
        for one in range(len(points)):
            others = [other for other in range(len(points)) if other != one]
            found = (
                KNeighborsClassifier(3)
                .fit(points[others].double(), labels[others])
                .predict(points[one : one + 1].double())
            )
            correct.append(found[0] == int(labels[one]))
        assert events.scalars(f"embedding/{tag}/knn_accuracy")[-1] == pytest.approx(np.mean(correct))
        for label in range(CLASSES):
            mean = np.mean(np.array(correct)[labels == label])
            assert events.scalars(f"embedding/{tag}/knn_accuracy/{label}")[-1] == pytest.approx(mean)


def test_a_network_that_does_not_learn_stays_where_it_is(tmp_path):
    class Idle(Lit):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.0)

    network = nn.Sequential(nn.Flatten(), nn.Linear(432, 16), nn.ReLU(), nn.Linear(16, CLASSES))
    _, events = fitted(tmp_path, logger(), Idle(network))
    points = list(snapshots(tmp_path)[0].values())
    assert points[1] == pytest.approx(points[3], abs=1e-5)
    assert points[3] == pytest.approx(points[5], abs=1e-5)
    assert events.scalars("embedding/network.3/cka_with_start") == pytest.approx([1, 1, 1], abs=1e-4)
    assert events.scalars("embedding/network.3/neighbours_kept") == [1, 1]


def test_what_is_remembered_survives_a_resume(tmp_path):
    saving = ModelCheckpoint(tmp_path, filename="saved")
    first, second, whole = logger(), logger(), logger()
    pl.seed_everything(0, verbose=False)
    module = Lit()
    state = {name: value.clone() for name, value in module.state_dict().items()}
    trainer(tmp_path, [first, saving], enable_checkpointing=True, max_epochs=1).fit(module, loader(), loader())
    trainer(tmp_path, [second], max_epochs=2).fit(Lit(), loader(), loader(), ckpt_path=str(tmp_path / "saved.ckpt"))
    pl.seed_everything(0, verbose=False)
    module.load_state_dict(state)
    trainer(tmp_path / "whole", [whole], max_epochs=2).fit(module, loader(), loader())
    resumed, straight = Events(tmp_path / "run/version_1"), Events(tmp_path / "whole/run/version_0")
    for name in ("cka_with_start", "neighbours_kept"):
        tag = f"embedding/network.9/{name}"
        assert 0 < resumed.scalars(tag)[-1] < 0.999
        assert resumed.scalar_steps(tag) == [7]
    assert straight.scalar_steps("embedding/network.9/cka_with_start") == [0, 3, 7]


def test_a_resume_into_the_same_folder_keeps_the_snapshots(tmp_path):
    saving = ModelCheckpoint(tmp_path, filename="saved")
    trainer(tmp_path, [logger(), saving], enable_checkpointing=True).fit(Lit(), loader(), loader())
    again = pl.loggers.TensorBoardLogger(tmp_path, name="run", version=0)
    run = trainer(tmp_path, [logger()], max_epochs=3, logger=again)
    run.fit(Lit(), loader(), loader(), ckpt_path=str(tmp_path / "saved.ckpt"))
    names = list(snapshots(tmp_path)[0])
    assert [name.split(" · ")[0] for name in names[::2]] == [f"step {step:06d}" for step in (0, 3, 7, 11)]


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_a_finished_model(verb, tmp_path):
    module = Counting()
    run = trainer(tmp_path, [logger(max_images=4)])
    getattr(run, verb)(module, loader(), verbose=False)
    prefix, name = ("", "projector") if verb == "validate" else ("test/", "test-projector")
    assert f"{prefix}embedding/network.9/pca" in Events(tmp_path / "run/version_0").image_tags
    assert len(snapshots(tmp_path, name)[0]["step 000000 · network.9"]) == 24


def test_test_data_are_not_compared_with_validation_data(tmp_path):
    """Their positions may be the same."""
    module, run = Lit(), trainer(tmp_path, [logger()])
    run.fit(module, loader(), loader())
    run.test(module, loader(TensorDataset(1 - dataset().tensors[0], dataset().tensors[1])), verbose=False)
    events = Events(tmp_path / "run/version_0")
    assert events.scalars("test/embedding/network.9/cka_with_start") == pytest.approx([1], abs=1e-3)
    assert "test/embedding/network.9/neighbours_kept" not in events.scalar_tags


def test_pictures_that_stay_vote_once(tmp_path, monkeypatch):
    voted = []
    vote = embedding.leave_one_out

    def counting(points, labels, k):
        voted.append(points.shape[1:])
        return vote(points, labels, k)

    monkeypatch.setattr(embedding, "leave_one_out", counting)
    _, events = fitted(tmp_path, logger())
    assert voted.count((3, 12, 12)) == 1
    assert voted.count((8,)) == 3
    assert len(events.scalars("embedding/pixels/knn_accuracy")) == 3


def test_a_callback_can_be_pickled_after_a_run(tmp_path):
    callback = logger()
    fitted(tmp_path, callback, max_epochs=1)
    pickle.dumps(callback)


# Bad input.


def test_fewer_points_than_neighbours(tmp_path):
    few = TensorDataset(*(tensor[:3] for tensor in dataset().tensors))
    _, events = fitted(tmp_path, logger(neighbours=5), data=loader(few))
    assert len(events.scalars("embedding/network.9/knn_accuracy")) == 3


@pytest.mark.parametrize("count", [1, 2])
def test_hardly_any_points(count, tmp_path):
    few = TensorDataset(*(tensor[:count] for tensor in dataset().tensors))
    _, events = fitted(tmp_path, logger(), data=loader(few))
    assert "embedding/network.9/pca" in events.image_tags


def test_one_class_only(tmp_path):
    one = TensorDataset(dataset().tensors[0], torch.zeros(24, dtype=torch.long))
    _, events = fitted(tmp_path, logger(), data=loader(one))
    assert events.scalars("embedding/network.9/knn_accuracy") == [1, 1, 1]


def test_constant_features(tmp_path):
    class Constant(Lit):
        def __init__(self):
            network = small_network()
            network[9].register_forward_pre_hook(lambda _m, inputs: (inputs[0] * 0 + 1,))
            super().__init__(network)

    _, events = fitted(tmp_path, logger(layers="network.7"), Constant())
    _, events = fitted(tmp_path / "head", logger(), Constant())
    assert events.scalars("embedding/network.9/cka_with_start") == [0, 0, 0]
    assert events.scalars("embedding/network.9/effective_dimension") == [0, 0, 0]


def test_features_that_are_not_finite_are_left_out_and_said(tmp_path, monkeypatch):
    images, labels = (tensor.clone() for tensor in dataset().tensors)
    images[5], images[7] = torch.nan, torch.inf
    callback = logger(probe=Probe(dataset().tensors[0][:4], labels[:4]))
    notes = []
    scatter = EmbeddingProjectorLogger._scatter
    monkeypatch.setattr(EmbeddingProjectorLogger, "_scatter", lambda *args: (notes.append(args[-1]), scatter(*args))[1])
    _, events = fitted(tmp_path, callback, data=loader(TensorDataset(images, labels)))
    assert events.scalars("embedding/not_finite") == [2, 2, 2]
    assert [row[0] for row in snapshots(tmp_path)[1][1:]] == [str(i) for i in range(24) if i not in (5, 7)]
    assert "2 more left out, whose features are not finite" in notes[-1][0]


def test_a_sample_that_is_not_finite_for_once_moves_no_start(tmp_path):
    class Once(Lit):
        def forward(self, images):
            if self.trainer.current_epoch == 1 and not self.trainer.training:
                images = images.where(images != dataset().tensors[0][5], torch.nan)
            return super().forward(images)

    callback = logger(probe=Probe(dataset().tensors[0][:4]))
    _, events = fitted(tmp_path, callback, Once(), max_epochs=4)
    assert events.scalars("embedding/not_finite") == [1]
    similar = events.scalars("embedding/network.9/cka_with_start")
    assert similar[0] == pytest.approx(1, abs=1e-3)
    assert max(similar[1:]) < 0.99
    assert events.image_steps("embedding/network.9/pca/history") == [0, 3, 7, 11, 15]
    assert len(callback._memory.films["embedding/network.9/pca"]) == 5


def test_nothing_but_nan_is_said(tmp_path, our_warnings):
    images = TensorDataset(torch.full((24, 3, 12, 12), torch.nan), dataset().tensors[1])
    _, events = fitted(tmp_path, logger(probe=Probe(dataset().tensors[0][:4])), data=loader(images))
    assert any("not finite for 24 of 24 samples" in warning for warning in our_warnings())
    assert events.scalars("embedding/not_finite") == [24, 24, 24]
    assert events.image_tags == []


def test_a_picture_of_the_probe_without_finite_features_is_left_out(tmp_path):
    images = dataset().tensors[0][:3].clone()
    images[1] = torch.nan
    _, events = fitted(tmp_path, logger(probe=Probe(images)))
    assert len(events.image_steps("embedding/network.9/neighbours")) == 3


def test_classes_of_one_name_are_told_apart(tmp_path):
    class Named(TensorDataset):
        classes = ("cat", "cat", "", "caf\udce9")  # a folder's name in Latin-1

    _, events = fitted(tmp_path, logger(per_class=True), data=loader(Named(*dataset().tensors)))
    tags = {tag for tag in events.scalar_tags if tag.startswith("embedding/pixels/knn_accuracy/")}
    assert {tag.rpartition("/")[2] for tag in tags} == {"cat (0)", "cat (1)", "(2)", "caf?"}
    assert all(len(events.scalars(tag)) == 3 for tag in tags)


def test_what_is_unlabelled_is_neither_right_nor_wrong(tmp_path):
    labels = dataset().tensors[1].clone()
    labels[3] = -1

    class Ignoring(Lit):
        def validation_step(self, batch, batch_idx):
            self(batch[0])

    fitted(tmp_path, logger(), Ignoring(), loader(TensorDataset(dataset().tensors[0], labels)))
    _, table = snapshots(tmp_path)
    assert [table[4][1], table[4][3]] == ["unknown", "unknown"]
    assert {row[3] for row in table[1:]} <= {"unknown", "True", "False"}


def test_pictures_without_labels(tmp_path):
    class Unlabelled(Lit):
        def validation_step(self, batch, batch_idx):
            self(batch["image"])

    data = loader([{"image": image} for image, _ in dataset()])
    _, events = fitted(tmp_path, logger(), Unlabelled(), data)
    assert not [tag for tag in events.scalar_tags if "accuracy" in tag]
    assert snapshots(tmp_path)[1][0] == ["index", "predicted"]


def test_a_network_without_a_linear_layer(tmp_path):
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, CLASSES, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    _, events = fitted(tmp_path, logger(), Lit(network))
    assert "embedding/network.2/pca" in events.image_tags


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_points": 100_001}, ValueError, "max_points=100001 is more than TensorBoard's Projector takes"),
        ({"max_points": 0}, ValueError, "max_points=0"),
        ({"neighbours": 0}, ValueError, "neighbours=0"),
        ({"class_balanced": "yes"}, TypeError, "class_balanced='yes'"),
        ({"dataloaders": [-1]}, ValueError, "dataloaders=-1"),
        ({"layers": 3}, TypeError, "layers=3"),
    ],
)
def test_wrong_arguments(options, error, message):
    with pytest.raises(error, match=message):
        EmbeddingProjectorLogger(**options)


def test_a_layer_that_does_not_run_fails_at_once(tmp_path):
    class Scored(Lit):
        def __init__(self):
            super().__init__()
            self.criterion = nn.CrossEntropyLoss()

    with pytest.raises(ValueError, match="layer='criterion' did not run"):
        fitted(tmp_path, EmbeddingProjectorLogger(layers="criterion"), Scored())


def test_an_unknown_layer_fails_at_once(tmp_path):
    with pytest.raises(ValueError, match="layer='nine' is not in Lit"):
        fitted(tmp_path, EmbeddingProjectorLogger(layers="nine"))


def test_what_is_followed_is_among_what_is_kept():
    assert EmbeddingProjectorLogger().max_points >= FOLLOWED
