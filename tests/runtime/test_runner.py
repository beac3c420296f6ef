"""The rules of one callback in one run, on a stub: the contract holds every callback to these rules."""

import gc
import weakref

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateFinder, ModelCheckpoint
from pytorch_lightning.loggers import TensorBoardLogger

from lightning_viz import VizCallback
from lightning_viz.runtime.runner import CallbackRunner

from ..stub import TAGS, Stub, data, fit, tiny
from ..support import Events, loader, trainer


class Stopping(pl.Callback):
    """Ends the run in the third epoch, one way or another."""

    def __init__(self, error):
        self.error = error

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.current_epoch == 2:
            if self.error is not None:
                raise self.error
            trainer.should_stop = True


@pytest.mark.parametrize(
    ("error", "raised", "steps"),
    [
        (None, None, [0, 3, 7, 8]),
        (RuntimeError("loss exploded"), RuntimeError, [0, 3, 7]),
        (KeyboardInterrupt(), SystemExit, [0, 3, 7]),
    ],
    ids=["early stop", "exception", "Ctrl-C"],
)
def test_what_was_drawn_is_on_disk(error, raised, steps, tmp_path):
    run = trainer(tmp_path, [Stub(), Stopping(error)], max_epochs=5)
    if raised is None:
        run.fit(tiny(), *data())
    else:
        with pytest.raises(raised):
            run.fit(tiny(), *data())
    events = Events(tmp_path / "run/version_0")
    assert events.image_tags == TAGS
    for tag in TAGS:
        assert events.image_steps(tag) == steps
    assert events.scalar_steps("stub/draws") == steps


class Keeping(pl.Callback):
    """The weights after each optimizer step, by the step."""

    def __init__(self):
        self.weights = {}

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.weights[trainer.global_step - 1] = pl_module.network[0].weight.detach().clone()


@pytest.mark.parametrize("options", [{}, {"every_n_train_steps": 1}, {"every_n_train_steps": 2}])
@pytest.mark.parametrize("accumulated", [1, 2])
def test_the_weights_drawn_are_those_after_the_step_that_it_names(options, accumulated, tmp_path):
    """With accumulated gradients not those of a batch before."""
    drawn, keeping = {}, Keeping()
    stub = Stub(
        lambda ctx: drawn.update({ctx.step: ctx.network.network[0].weight.detach().clone()}),
        log_at_start=False,
        on_error="raise",
        **options,
    )
    fit(tmp_path, stub, keeping, accumulate_grad_batches=accumulated, max_epochs=2)
    assert len(drawn) >= 2
    assert all(torch.equal(weights, keeping.weights[step]) for step, weights in drawn.items())


def test_the_pictures_are_the_same_at_each_drawing_and_in_the_same_order(tmp_path):
    seen = []
    stub = Stub(lambda ctx: seen.append((ctx.probe.images.tolist(), ctx.probe.labels.tolist())), on_error="raise")
    fit(tmp_path, stub, max_epochs=3)
    assert len(seen) == 4
    assert all(one == seen[0] for one in seen)


def test_a_resumed_run_goes_on_where_it_was(tmp_path):
    first, second = Stub(), Stub()
    saving = ModelCheckpoint(tmp_path, filename="saved")
    before = fit(tmp_path, first, saving, max_epochs=2, enable_checkpointing=True)
    run = trainer(tmp_path, [second], max_epochs=4)
    run.fit(tiny(), *data(), ckpt_path=str(tmp_path / "saved.ckpt"))
    after = Events(tmp_path / "run/version_1")
    assert before.image_tags == after.image_tags == TAGS
    for tag in TAGS:
        assert before.image_steps(tag) + after.image_steps(tag) == [0, 3, 7, 11, 15]
    assert after.scalars("stub/draws") == [4, 5]
    (frames,) = second.runner.state.films.values()
    assert [frame.step for frame in frames] == [0, 3, 7, 11, 15]


@pytest.mark.parametrize(("verb", "tags"), [("validate", TAGS), ("test", ["test/stub/images"])])
def test_evaluation_draws_once(verb, tags, tmp_path):
    run = trainer(tmp_path, [Stub(on_error="raise")])
    getattr(run, verb)(tiny(), data()[1], verbose=False)
    events = Events(tmp_path / "run/version_0")
    assert events.image_tags == tags
    assert all(events.image_steps(tag) == [0] for tag in tags)


def test_two_of_a_kind_stand_side_by_side(tmp_path):
    events = fit(tmp_path, Stub(tag="one"), Stub(tag="two"))
    assert {tag.partition("/")[0] for tag in events.image_tags} == {"one", "two"}
    assert all(events.image_steps(tag) == [0, 3] for tag in events.image_tags)


def test_a_second_run_starts_again(tmp_path):
    """The same callback in another trainer: no steps, films or failures of the first run."""
    one = Stub(RuntimeError("no paint left"))
    fit(tmp_path, one)
    one.error = None
    for _ in range(2):
        events = fit(tmp_path, one)
        assert all(events.image_steps(tag) == [0, 3] for tag in TAGS)
        assert events.scalars("stub/draws") == [1, 2]
        assert [len(frames) for frames in one.runner.state.films.values()] == [2]


def test_a_second_fit_of_a_trainer_goes_on(tmp_path):
    run, module = trainer(tmp_path, [Stub()], max_epochs=1), tiny()
    run.fit(module, *data())
    run.fit_loop.max_epochs = 2
    run.fit(module, *data())
    run.validate(module, data()[1], verbose=False)
    # Sorted: the three event files of one second are read in the order of their names.
    assert sorted(Events(tmp_path / "run/version_0").image_steps("stub/images")) == [0, 3, 7, 8]


def test_what_is_computed_once_for_a_run_is_computed_again_in_the_next(tmp_path):
    """Its data may have another size."""
    found = []
    stub = Stub(lambda ctx: found.append(ctx.cache.setdefault("size", ctx.probe.images.shape[-1])), on_error="raise")
    run, module = trainer(tmp_path, [stub], max_epochs=1), tiny()
    for epochs, size in enumerate([12, 16], 1):
        run.fit_loop.max_epochs = epochs
        run.fit(module, *data(size))
    assert found == [12, 12, 16]


def test_another_module_in_the_same_trainer_starts_again(tmp_path):
    stub = Stub(on_error="raise")
    run = trainer(tmp_path, [stub], max_epochs=1)
    run.fit(tiny(), *data())
    first = stub.runner
    run.fit_loop.max_epochs = 2
    other = tiny()
    run.fit(other, *data())
    assert stub.runner is not first
    assert [[frame.step for frame in frames] for frames in stub.runner.state.films.values()] == [[4, 7]]
    assert stub.ctx.network is other


def test_history_0_draws_no_film_strip(tmp_path):
    assert fit(tmp_path, Stub(history=0)).image_tags == TAGS[:1]


def test_the_sanity_check_draws_nothing(tmp_path):
    class Stop(pl.Callback):
        def on_sanity_check_end(self, trainer, pl_module):
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fit(tmp_path, Stub(), Stop())
    assert Events(tmp_path / "run/version_0").image_tags == []


def test_a_learning_rate_finder_is_not_drawn(tmp_path):
    class Tunable(type(tiny())):
        lr = 0.01

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), self.lr)

    finder = LearningRateFinder(num_training_steps=6)
    events = fit(tmp_path, finder, Stub(), module=Tunable(tiny().network), default_root_dir=tmp_path)
    assert events.image_steps("stub/images") == [0, 3]


def test_a_failure_keeps_nothing_alive(tmp_path):
    alive = []

    def fail(ctx):
        output = ctx.network(ctx.probe.images)
        alive.append(weakref.ref(output))
        raise RuntimeError("no paint left")

    fit(tmp_path, Stub(fail))
    gc.collect()
    assert alive[0]() is None


def test_a_module_that_was_trained_before_is_not_held(tmp_path):
    stub, run, first = Stub(), trainer(tmp_path, max_epochs=1), tiny()
    run.callbacks.append(stub)
    gone = weakref.ref(first)
    run.fit(first, *data())
    del first
    run.fit_loop.max_epochs = 2
    run.fit(tiny(), *data())
    gc.collect()
    assert stub.runner.recording is None
    assert gone() is None


def test_without_a_trainer_it_says_what_is_missing():
    with pytest.raises(RuntimeError, match="Stub is not attached to a trainer; fit, validate or test first"):
        _ = Stub().runner.session


def test_a_callback_has_a_runner_from_the_start():
    stub = Stub()
    assert isinstance(stub, VizCallback)
    assert isinstance(stub.runner, CallbackRunner)
    assert stub.state_dict()["last_steps"] == {}


@pytest.mark.parametrize(
    ("options", "words"), [({"logger": False}, "no logger"), ({"fast_dev_run": True}, "fast_dev_run")]
)
def test_where_nothing_can_be_drawn_one_warning_says_so_and_the_run_goes_on(options, words, tmp_path, our_warnings):
    module, stubs = tiny(), [Stub(tag="one"), Stub(tag="two")]
    trainer(tmp_path, stubs, max_epochs=1, **options).fit(module, *data())
    (warning,) = our_warnings()
    assert words in warning
    assert module.losses
    assert [one.steps for one in stubs] == [[], []]


def test_a_barebones_trainer_is_not_advised_to_take_a_logger_which_it_forbids(tmp_path, our_warnings):
    stub, options = Stub(), {"accelerator": "cpu", "max_epochs": 1, "default_root_dir": tmp_path}
    pl.Trainer(barebones=True, callbacks=[stub], **options).fit(tiny(), *data())
    (warning,) = our_warnings()
    assert warning == (
        "lightning_viz draws nothing: Trainer(barebones=True) allows no logger; leave barebones=True out to see pictures"
    )
    with pytest.raises(ValueError, match="barebones"):
        pl.Trainer(barebones=True, logger=TensorBoardLogger(tmp_path))


def test_a_network_whose_probe_is_of_another_size_than_its_batches(tmp_path):
    """`max_images` of one: the batch of the probe is smaller than those of training."""
    stub = Stub(max_images=1, on_error="raise")
    assert fit(tmp_path, stub, given=(loader(), loader())).image_tags == TAGS
    assert len(stub.ctx.probe) == 1
