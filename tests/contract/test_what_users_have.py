"""The whole suite with the models, batches, precisions and loggers that users have."""

import copy
import pickle

import pytest
import torch
from pytorch_lightning.loggers import CSVLogger, TensorBoardLogger
from torch import nn

from lightning_viz import ClassSynthesisLogger, Probe

from ..stub import TAGS, Stub, data, fit, tiny
from ..support import CLASSES, SUITE, Events, Lit, dataset, loader, quick_suite, small_network, trainer


def drawn(folder, module=None, given=None, callbacks=None, **options):
    """The first parts of the tags that the suite draws under, in a fit of one epoch."""
    suite = quick_suite(max_overhead=None, max_images=4, history=2, on_error="raise")
    events = fit(folder, *(callbacks or suite), module=module or Lit(), given=given, **options)
    return {tag.partition("/")[0] for tag in events.image_tags}


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


@pytest.mark.parametrize("wrap", [lambda x: (x, None), lambda x: {"logits": x}], ids=["tuple", "dict"])
def test_outputs_as_models_return_them(wrap, tmp_path):
    assert drawn(tmp_path, WrappedLit(Wrapped(wrap))) == SUITE


def test_a_callable_target_takes_any_output(tmp_path):
    class Scores(WrappedLit):
        def training_step(self, batch, batch_idx):
            return Lit.training_step(self, batch, batch_idx)

        def forward(self, images):
            return self.network(images)["scores"] if self.training else self.network(images)

    target = lambda output: output["scores"][:, 1]  # noqa: E731
    callbacks = quick_suite(target=target, max_overhead=None, on_error="raise", max_images=4)
    callbacks = [one for one in callbacks if not isinstance(one, ClassSynthesisLogger)]
    callbacks.append(ClassSynthesisLogger(target=target, steps=1, warm_steps=1, on_error="raise"))  # of no classes
    assert drawn(tmp_path, Scores(Wrapped(lambda x: {"scores": x})), callbacks=callbacks) == SUITE


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "64-true"])
def test_precisions(precision, tmp_path):
    assert drawn(tmp_path, precision=precision) == SUITE


@pytest.mark.parametrize("inference_mode", [True, False])
def test_evaluation_with_and_without_inference_mode(inference_mode, tmp_path):
    suite = quick_suite(max_overhead=None, max_images=4, on_error="raise")
    run = trainer(tmp_path, suite, inference_mode=inference_mode)
    run.validate(Lit(), loader(), verbose=False)
    assert {tag.partition("/")[0] for tag in Events(tmp_path / "run/version_0").image_tags} == SUITE


def test_a_grey_network(tmp_path):
    grey = dataset(8, channels=1, size=28)
    assert drawn(tmp_path, Lit(small_network(channels=1)), (loader(grey), loader(grey))) == SUITE


def test_nan_weights_are_drawn_as_such(tmp_path):
    module = Lit()
    nn.init.constant_(module.network[0].weight, torch.nan)
    assert drawn(tmp_path, module) == SUITE - {"embedding"}  # which has no place for them, and says so


def test_a_network_without_convolution_is_warned_of_and_the_rest_is_drawn(tmp_path, our_warnings):
    module = Lit(nn.Sequential(nn.Flatten(), nn.Linear(3 * 144, CLASSES)))
    suite = quick_suite(max_overhead=None)
    assert drawn(tmp_path, module, callbacks=suite) == {"embedding", "saliency", "synthesis"}
    assert 1 <= len(our_warnings()) <= 5  # of those that need filters or feature maps: each cause is named once
    assert sum(one.runner.disabled for one in suite) == 5


def test_what_forward_logs_is_of_the_training_data_alone(tmp_path):
    class Logging(Lit):
        def forward(self, images):
            self.log("mean", images.mean(), on_step=True, on_epoch=True)
            return super().forward(images)

    values = []
    bright = Probe(torch.full((2, 3, 12, 12), 1e6))
    for callbacks in ([], quick_suite(max_overhead=None, on_error="raise", probe=bright)):
        torch.manual_seed(0)
        run = trainer(tmp_path, callbacks, max_epochs=1, limit_val_batches=0)
        run.fit(Logging(), data()[0])
        values.append(run.callback_metrics["mean_epoch"])
    assert values[0] == values[1]


def test_they_can_be_copied_and_pickled_before_and_after_a_run(case, tmp_path):
    callback = case.make()
    for _ in range(2):
        copied, pickled = copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))
        assert copied.max_images == pickled.max_images == 8
        assert copied.runner.state.last_steps == pickled.runner.state.last_steps == callback.runner.state.last_steps
        if callback.runner.state.last_steps:
            break
        fit(tmp_path, callback, module=Lit(), limit_val_batches=1)
    assert callback.runner.state.last_steps == {"validation": 3}


# Batches.


class Dict(Lit):
    def training_step(self, batch, batch_idx):
        return super().training_step((batch["image"], batch["label"]), batch_idx)

    def validation_step(self, batch, batch_idx):
        pass


def test_dict_batches(tmp_path):
    dicts = loader([{"image": image, "label": label} for image, label in dataset()])
    stub = Stub()
    fit(tmp_path, stub, module=Dict(tiny().network), given=(dicts, dicts))
    assert sorted(stub.ctx.probe.labels[:4].tolist()) == [0, 1, 2, 3]


def test_custom_batches_are_unpacked(tmp_path):
    class Odd(Lit):
        def training_step(self, batch, batch_idx):
            return super().training_step((batch["picture"], batch["kind"]), batch_idx)

        def validation_step(self, batch, batch_idx):
            pass

    odd = loader([{"picture": image, "kind": label} for image, label in dataset()])
    stub = Stub(unpack=lambda batch: (batch["picture"], batch["kind"]))
    assert fit(tmp_path, stub, module=Odd(tiny().network), given=(odd, odd)).image_tags == TAGS


# Loggers.


def test_a_tensorboard_logger_beside_another_is_found(tmp_path):
    loggers = [CSVLogger(tmp_path), TensorBoardLogger(tmp_path, name="run")]
    trainer(tmp_path, [Stub()], max_epochs=1, logger=loggers).fit(tiny(), *data())
    assert Events(tmp_path / "run/version_0").image_tags == TAGS
