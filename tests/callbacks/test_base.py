"""What the base class does for all callbacks with what users have: loggers, data, models, precisions."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateFinder
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from pytorch_lightning.utilities import CombinedLoader
from torch import nn
from torch.utils.data import IterableDataset

from lightning_viz import FilterLogger, GradCAMLogger, Panel, Probe, SaliencyLogger, VizCallback, viz_callbacks
from lightning_viz.render import SignedPixels
from lightning_viz.runtime import writer as log
from lightning_viz.runtime.session import session_of
from lightning_viz.sinks import Queue

from ..support import CLASSES, SUITE, Events, Lit, dataset, loader, small_network, trainer


class Plain(VizCallback):
    """Draws the probe's images and says what it was given."""

    def draw(self, network, probe):
        self.seen = network, probe
        yield Panel("plain/images", probe.images, SignedPixels())


def fit(folder, callback, module=None, train=None, validation=None, **options):
    """Fit for an epoch; the tags drawn."""
    run = trainer(folder, [callback] if isinstance(callback, pl.Callback) else callback, **{"max_epochs": 1, **options})
    run.fit(module or Lit(), train or loader(), validation or loader())
    return Events(folder / "run/version_0").image_tags


PLAIN = ["plain/images", "plain/images/history"]


# Loggers.


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"logger": False}, "no logger"),
        ({"fast_dev_run": True}, "fast_dev_run"),
    ],
    ids=["no logger", "fast_dev_run"],
)
def test_where_nothing_can_be_drawn_one_warning_says_so_and_the_run_goes_on(options, words, tmp_path, our_warnings):
    module = Lit()
    trainer(tmp_path, viz_callbacks(), max_epochs=1, **options).fit(module, loader(), loader())
    (warning,) = our_warnings()
    assert words in warning
    assert module.losses


def test_a_tensorboard_logger_beside_another_is_found(tmp_path):
    loggers = [CSVLogger(tmp_path), TensorBoardLogger(tmp_path, name="run")]
    assert fit(tmp_path, Plain(), logger=loggers) == PLAIN


def test_the_sanity_check_draws_nothing(tmp_path):
    class Stop(pl.Callback):
        def on_sanity_check_end(self, trainer, pl_module):
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fit(tmp_path, [Plain(), Stop()])
    assert Events(tmp_path / "run/version_0").image_tags == []


def test_a_learning_rate_finder_is_not_drawn(tmp_path):
    class Tunable(Lit):
        lr = 0.01

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), self.lr)

    run = trainer(tmp_path, [LearningRateFinder(num_training_steps=6), Plain()], default_root_dir=tmp_path)
    run.fit(Tunable(), loader(), loader())
    assert Events(tmp_path / "run/version_0").image_steps("plain/images") == [0, 3, 7]


def test_a_second_fit_of_a_trainer_goes_on(tmp_path):
    run, module = trainer(tmp_path, [Plain()], max_epochs=1), Lit()
    run.fit(module, loader(), loader())
    run.fit_loop.max_epochs = 2
    run.fit(module, loader(), loader())
    run.validate(module, loader(), verbose=False)
    # Sorted: the three event files of one second are read in the order of their names.
    assert sorted(Events(tmp_path / "run/version_0").image_steps("plain/images")) == [0, 3, 7, 8]


# The probe.


def test_all_callbacks_share_one_class_balanced_probe(tmp_path):
    one, two = Plain(max_images=4, tag="one"), Plain(max_images=8, tag="two")
    fit(tmp_path, [one, two])
    assert torch.equal(one.seen[1].images, two.seen[1].images[:4])
    assert sorted(one.seen[1].labels.tolist()) == [0, 1, 2, 3]
    assert "validation data" in one.seen[1].note


def test_a_probe_of_ones_own_is_used_as_it_is(tmp_path):
    images = torch.rand(3, 3, 12, 12)
    callback = Plain(probe=Probe(images))
    fit(tmp_path, callback)
    assert torch.equal(callback.seen[1].images, images)


def test_without_validation_data_training_data_are_shown_and_it_says_so_once(tmp_path, our_warnings):
    one, two = Plain(tag="one"), Plain(tag="two")
    run = trainer(tmp_path, [one, two], max_epochs=1)
    run.fit(Lit(), loader())
    (warning,) = our_warnings()
    assert "no validation data" in warning
    assert "probe=" in warning
    assert "training data" in one.seen[1].note
    assert Events(tmp_path / "run/version_0").image_steps("one/images") == [0, 3]


class Stream(IterableDataset):
    def __iter__(self):
        yield from dataset()


@pytest.mark.parametrize("kind", ["train only", "both"])
def test_streams_are_shown_from_the_first_batch(kind, tmp_path):
    callback = Plain(max_images=4)
    run = trainer(tmp_path, [callback], max_epochs=1)
    run.fit(Lit(), loader(Stream()), loader(Stream()) if kind == "both" else None)
    assert torch.equal(callback.seen[1].images, dataset().tensors[0][:4])


def levels(level, count=24):
    return torch.utils.data.TensorDataset(torch.full((count, 3, 12, 12), level), torch.arange(count) % CLASSES)


class Levels(IterableDataset):
    def __iter__(self):
        yield from levels(0.9)


def by_batches(data):
    return torch.utils.data.BatchSampler(torch.utils.data.SequentialSampler(data), 4, drop_last=False)


@pytest.mark.parametrize(
    ("validation", "options", "level", "name"),
    [
        (torch.utils.data.DataLoader(Levels(), 6), {}, 0.9, "validation"),
        (torch.utils.data.DataLoader(Levels(), 6), {"num_sanity_val_steps": 0}, 0.1, "training"),
        (torch.utils.data.DataLoader(levels(0.9), batch_sampler=by_batches(levels(0.9))), {}, 0.9, "validation"),
        (loader(levels(0.9)), {"num_sanity_val_steps": 0}, 0.9, "validation"),
        (loader(levels(0.9)), {"num_sanity_val_steps": 0, "check_val_every_n_epoch": 2}, 0.1, "training"),
        ([loader(levels(0.9)), loader(levels(0.5))], {}, 0.9, "validation"),
    ],
    ids=["stream", "stream, no sanity check", "batch sampler", "no sanity check", "not yet loaded", "two loaders"],
)
def test_the_pictures_are_of_the_data_that_it_says(validation, options, level, name, tmp_path):
    class Either(Lit):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            pass

    callback = Plain(max_images=4)
    trainer(tmp_path, [callback], max_epochs=2, **options).fit(Either(), loader(levels(0.1)), validation)
    assert callback.seen[1].images.unique().item() == pytest.approx(level)
    assert f"pictures of the {name} data" in callback.seen[1].note


def test_a_sampler_of_a_part_is_respected(tmp_path):
    data = torch.utils.data.ConcatDataset([levels(0.1), levels(0.9)])
    samplers = [torch.utils.data.SubsetRandomSampler(range(start, start + 24)) for start in (0, 24)]
    callback = Plain()
    trainer(tmp_path, [callback], max_epochs=1).fit(Lit(), *(loader(data, sampler=sampler) for sampler in samplers))
    assert callback.seen[1].images.unique().item() == pytest.approx(0.9)


@pytest.mark.parametrize("sanity", [0, 2])
def test_augmentation_on_the_device_knows_that_it_is_not_training(sanity, tmp_path):
    class Augmenting(Lit):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return (batch[0] / 2, batch[1]) if self.trainer.training else batch

    callback = Plain()
    fit(tmp_path, callback, Augmenting(), loader(levels(0.1)), loader(levels(0.9)), num_sanity_val_steps=sanity)
    assert callback.seen[1].images.unique().item() == pytest.approx(0.9)


class WorkersOnly(torch.utils.data.Dataset):
    def __len__(self):
        return 24

    def __getitem__(self, index):
        assert torch.utils.data.get_worker_info().dataset is not None
        return dataset()[index]


def test_a_dataset_for_workers_only_is_shown_from_the_batch(tmp_path):
    data = loader(WorkersOnly(), num_workers=1)
    assert fit(tmp_path, Plain(), None, data, data) == PLAIN


def test_data_that_the_loop_combines_are_shown_from_the_batch(tmp_path):
    class Combined(Lit):
        def validation_step(self, batch, batch_idx):
            self(batch["one"][0])

    data = CombinedLoader({"one": loader(), "other": loader()}, "max_size")
    callback = Plain(unpack=lambda batch: batch["one"], on_error="raise")
    trainer(tmp_path, [callback], max_epochs=1).fit(Combined(), loader(), data)
    assert callback.seen[1].images.shape == (6, 3, 12, 12)


def test_unlabelled_pictures_are_shown(tmp_path):
    data = torch.utils.data.TensorDataset(torch.rand(8, 3, 12, 12), torch.full((8,), -1))
    callback = Plain()
    fit(tmp_path, callback, None, None, loader(data), limit_val_batches=0)
    trainer(tmp_path, [callback]).validate(Unscored(), loader(data), verbose=False)
    assert callback.seen[1].labels is None


class Unscored(Lit):
    def validation_step(self, batch, batch_idx):
        pass


def test_films_of_other_pictures_are_not_gone_on_with(tmp_path, our_warnings):
    """A split without a seed: after the resume other pictures are validated on."""
    run = trainer(tmp_path, [Plain()], max_epochs=1)
    run.fit(Lit(), loader(), loader(levels(0.9)))
    run.save_checkpoint(tmp_path / "saved.ckpt")
    callback = Plain()
    again = trainer(tmp_path, [callback], max_epochs=2)
    again.fit(Lit(), loader(), loader(levels(0.5)), ckpt_path=str(tmp_path / "saved.ckpt"))
    assert [frame.step for frame in callback._memory.films["plain/images"]] == [7]
    assert "film strips anew" in our_warnings()[0]


def test_another_module_in_the_same_trainer_starts_anew(tmp_path):
    callback = FilterLogger(on_error="raise")
    run = trainer(tmp_path, [callback], max_epochs=1)
    run.fit(Lit(), loader(), loader())
    run.fit_loop.max_epochs = 2
    run.fit(Lit(nn.Sequential(nn.Conv2d(3, 4, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten())), loader(), loader())
    assert callback._memory.kept["network.0"].shape == (4, 3, 5, 5)


def test_what_forward_logs_is_of_the_training_data_alone(tmp_path):
    class Logging(Lit):
        def forward(self, images):
            self.log("mean", images.mean(), on_step=True, on_epoch=True)
            return super().forward(images)

    values = []
    for callbacks in (
        [],
        viz_callbacks(max_overhead=None, on_error="raise", probe=Probe(torch.full((2, 3, 12, 12), 1e6))),
    ):
        torch.manual_seed(0)
        run = trainer(tmp_path, callbacks, max_epochs=1, limit_val_batches=0)
        run.fit(Logging(), loader())
        values.append(run.callback_metrics["mean_epoch"])
    assert values[0] == values[1]


@pytest.mark.parametrize("inner", [True, False], ids=["network", "module"])
def test_compiled_models_are_drawn_as_they_were_written(inner, tmp_path):
    module = Lit(torch.compile(small_network(), backend="eager")) if inner else torch.compile(Lit(), backend="eager")
    run = trainer(tmp_path, viz_callbacks(max_overhead=None, on_error="raise"), max_epochs=1)
    run.fit(module, loader(), loader())
    tags = Events(tmp_path / "run/version_0").image_tags
    assert {"filters/network.0", "gradcam/network.6", "saliency/gradient"} <= set(tags)


def test_a_disk_that_fails_at_the_end_is_warned_of(tmp_path, monkeypatch, our_warnings):
    def fail(self):
        raise OSError("No space left on device")

    monkeypatch.setattr(Queue, "flush", fail)
    module = Lit()
    fit(tmp_path, [Plain(tag="one"), Plain(tag="two")], module)
    (warning,) = our_warnings()
    assert "OSError: No space left on device" in warning
    assert len(module.losses) == 4


def test_a_failure_keeps_nothing_alive(tmp_path):
    alive = []

    class Failing(Plain):
        def draw(self, network, probe):
            output = network(probe.images)
            alive.append(weakref.ref(output))
            raise RuntimeError("no paint left")
            yield

    fit(tmp_path, Failing())
    gc.collect()
    assert alive[0]() is None


def test_values_are_copied_when_they_are_yielded(tmp_path, monkeypatch):
    """What is drawn is the weight of that step, whenever it is painted."""
    seen = []
    monkeypatch.setattr(
        log, "paint_sheet", lambda panel, maps, *rest: seen.append(maps[0]) or np.zeros((4, 4, 3), np.uint8)
    )

    class Weights(Plain):
        def draw(self, network, probe):
            yield Panel("plain/weights", network.network[0].weight, SignedPixels(), labels=[()] * 6, captions=[()] * 6)

    module = Lit()
    fit(tmp_path, Weights(history=0), module)
    assert not np.shares_memory(seen[-1], module.network[0].weight.detach().numpy())


def test_the_users_batch_transfer_is_respected(tmp_path):
    class Doubling(Lit):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return batch[0] * 2, batch[1]

    callback = Plain()
    fit(tmp_path, callback, Doubling())
    assert callback.seen[1].images.max() > 1


def test_class_names_and_normalisation_come_from_the_data(tmp_path):
    class Named(pl.LightningDataModule):
        class_names = ["ant", "bee", "cat", "dog"]

        def train_dataloader(self):
            return loader()

        val_dataloader = train_dataloader

    callback = Plain()
    trainer(tmp_path, [callback], max_epochs=1).fit(Lit(), Named())
    assert callback.seen[1].name(2) == "cat"


# Wrong arguments fail before the first step.


def never_trained(folder, callback, message, module=None, train=None, error=ValueError):
    module = module or Lit()
    with pytest.raises(error, match=message):
        fit(folder, callback, module, train)
    assert module.losses == []


@pytest.mark.parametrize("kind", [GradCAMLogger, FilterLogger])
def test_an_unknown_layer(kind, tmp_path):
    never_trained(
        tmp_path, kind(layers=["network.0", "network.99"]), r"layer='network.99' is not in Lit; closest: 'net"
    )


def test_a_layer_without_filters(tmp_path):
    never_trained(tmp_path, FilterLogger("network.9"), "layer='network.9' is Linear")


@pytest.mark.parametrize("kind", [Plain, SaliencyLogger, GradCAMLogger])
def test_a_model_that_is_none_of_images(kind, tmp_path):
    module = Lit(nn.Sequential(nn.Linear(10, CLASSES)))
    data = torch.utils.data.TensorDataset(torch.rand(8, 10), torch.arange(8) % CLASSES)
    with pytest.raises(ValueError, match=r"\(8, 10\).* where images \(B, C, H, W\)"):
        trainer(tmp_path, [kind()]).fit(module, loader(data), loader(data))
    assert module.losses == []


def test_a_probe_of_wrong_shape(tmp_path):
    message = r"probe images of the shape \(1, 12, 12\) do not go through Lit.*give pictures of the shape"
    never_trained(tmp_path, Plain(probe=Probe(torch.rand(2, 1, 12, 12))), message)


def test_class_names_fewer_than_the_models_classes(tmp_path):
    probe = Probe(torch.rand(2, 3, 12, 12), torch.tensor([0, 1]), ["ant", "bee"])
    never_trained(tmp_path, Plain(probe=probe), "class_names has 2 names, and the model 4 classes")


@pytest.mark.parametrize(
    ("target", "message"), [(99, "target=.*outside the model's 4 classes"), ([0, 1, 2], "does not fit 8 images")]
)
def test_a_target_that_does_not_fit(target, message, tmp_path):
    never_trained(tmp_path, SaliencyLogger(target=target), message)


def test_a_layer_without_places(tmp_path):
    never_trained(tmp_path, GradCAMLogger("network.9"), r"\(8, 4\) has no height and width")


def test_a_network_without_convolution_is_said_and_goes_on(tmp_path, our_warnings):
    module = Lit(nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, CLASSES)))
    assert {tag.partition("/")[0] for tag in fit(tmp_path, viz_callbacks(max_overhead=None), module)} == {
        "embedding",
        "saliency",
        "synthesis",
    }
    assert len(our_warnings()) == 5  # of those that need filters or feature maps: each says what it misses


def test_target_label_without_labels(tmp_path):
    callback = SaliencyLogger(target="label", probe=Probe(torch.rand(2, 3, 12, 12)))
    never_trained(tmp_path, callback, "target='label' needs labels")


# Models and batches as users have them.


def test_target_label_explains_the_true_class(tmp_path):
    callback = SaliencyLogger(target="label")
    fit(tmp_path, callback)
    probe = callback._memory.probes["fit"]
    assert torch.equal(callback.explained(probe), probe.labels)


class Dict(Lit):
    def training_step(self, batch, batch_idx):
        return super().training_step((batch["image"], batch["label"]), batch_idx)

    def validation_step(self, batch, batch_idx):
        pass


def test_dict_batches(tmp_path):
    data = [{"image": image, "label": label} for image, label in dataset()]
    callback = Plain()
    fit(tmp_path, callback, Dict(), loader(data), loader(data))
    assert sorted(callback.seen[1].labels[:4].tolist()) == [0, 1, 2, 3]


def test_batches_of_ones_own_are_unpacked(tmp_path):
    class Odd(Lit):
        def training_step(self, batch, batch_idx):
            return super().training_step((batch["picture"], batch["kind"]), batch_idx)

        def validation_step(self, batch, batch_idx):
            pass

    data = [{"picture": image, "kind": label} for image, label in dataset()]
    callback = Plain(unpack=lambda batch: (batch["picture"], batch["kind"]))
    assert fit(tmp_path, callback, Odd(), loader(data), loader(data)) == PLAIN


class Headless(pl.LightningModule):
    """No forward: the network is called in the steps."""

    def __init__(self):
        super().__init__()
        self.losses = []
        self.model = small_network()
        self.accuracy = nn.Identity()

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def test_a_module_without_forward_is_called_through_its_network(tmp_path):
    callback = Plain()
    module = Headless()
    fit(tmp_path, callback, module)
    assert callback.seen[0] is module.model


def test_a_module_with_two_networks_asks_for_forward(tmp_path):
    module = Headless()
    module.teacher = small_network()
    never_trained(
        tmp_path, Plain(), r"no forward\(\) and 2 submodules with weights \(model, teacher\).*forward=", module
    )
    assert fit(tmp_path / "again", [Plain(forward=lambda module, images: module.teacher(images))], module)


def test_forward_of_ones_own_keeps_layer_names(tmp_path):
    callback = GradCAMLogger(
        "network.5", forward=lambda module, images: {"scores": module(images)}["scores"], on_error="raise"
    )
    assert "gradcam/network.5" in fit(tmp_path, callback)


class Wrapped(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.inner, self.wrap = small_network(), wrap

    def forward(self, images):
        return self.wrap(self.inner(images))


class WrappedLit(Lit):
    def training_step(self, batch, batch_idx):
        output = self(batch[0])
        output = output["logits"] if isinstance(output, dict) else output[0]
        return nn.functional.cross_entropy(output, batch[1])

    def validation_step(self, batch, batch_idx):
        pass


def test_a_callable_target_makes_something_of_any_output(tmp_path):
    class Scores(WrappedLit):
        def training_step(self, batch, batch_idx):
            return Lit.training_step(self, batch, batch_idx)

        def forward(self, images):
            return self.network(images)["scores"] if self.training else self.network(images)

    target = lambda output: output["scores"][:, 1]  # noqa: E731
    callbacks = viz_callbacks(target=target, max_overhead=None, on_error="raise")
    tags = fit(tmp_path, callbacks, Scores(Wrapped(lambda x: {"scores": x})))
    assert {tag.partition("/")[0] for tag in tags} == SUITE


@pytest.mark.parametrize("wrap", [lambda x: (x, None), lambda x: {"logits": x}], ids=["tuple", "dict"])
def test_outputs_as_models_return_them(wrap, tmp_path):
    tags = fit(tmp_path, viz_callbacks(max_overhead=None, on_error="raise"), WrappedLit(Wrapped(wrap)))
    assert {tag.partition("/")[0] for tag in tags} == SUITE


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_precisions(precision, tmp_path):
    tags = fit(tmp_path, viz_callbacks(max_overhead=None, on_error="raise"), precision=precision)
    assert {tag.partition("/")[0] for tag in tags} == SUITE


@pytest.mark.parametrize("inference_mode", [True, False])
def test_evaluation_with_and_without_inference_mode(inference_mode, tmp_path):
    run = trainer(tmp_path, viz_callbacks(max_overhead=None, on_error="raise"), inference_mode=inference_mode)
    run.validate(Lit(), loader(), verbose=False)
    assert Events(tmp_path / "run/version_0").image_tags


def test_a_grey_network(tmp_path):
    data = dataset(channels=1, size=28)
    module = Lit(small_network(channels=1))
    assert fit(tmp_path, viz_callbacks(max_overhead=None, on_error="raise"), module, loader(data), loader(data))


def test_nan_weights_are_drawn_as_such(tmp_path):
    module = Lit()
    nn.init.constant_(module.network[0].weight, torch.nan)
    tags = fit(tmp_path, viz_callbacks(max_overhead=None, on_error="raise"), module)
    assert {tag.partition("/")[0] for tag in tags} == SUITE - {"embedding"}  # which has no place for them, and says so


def test_callbacks_can_be_copied_and_pickled_before_and_after_a_run(tmp_path):
    for callback in viz_callbacks(max_overhead=None):
        fit(tmp_path / type(callback).__name__, callback)
        assert copy.deepcopy(callback)._memory.last_steps == {"fit": 3}
        assert pickle.loads(pickle.dumps(callback)).max_images == 8


def test_sessions_go_with_their_trainers():
    run = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    assert session_of(run) is session_of(run)
