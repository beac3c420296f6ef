"""What the callbacks of one trainer share, done once for all of them."""

import contextlib
import gc
import weakref

import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from lightning_viz.collect.accumulator import HookPoint
from lightning_viz.collect.recorder import ForwardRecorder
from lightning_viz.runtime import session as session_module
from lightning_viz.runtime.session import VizSession, session_of
from lightning_viz.sinks.sink_queue import SinkQueue

from ..stub import BATCHES, Stub, data, fit, tiny, tiny_network
from ..support import Events, Lit, Notes, loader, quick_suite, trainer


class Passes(nn.Sequential):
    """Counts the forward passes of batches of this many images."""

    def __init__(self):
        super().__init__(*tiny_network())
        self.notes = Notes()

    def forward(self, images):
        self.notes.entries.append((len(images), self.training))
        return super().forward(images)

    def count(self, size):
        """In evaluation mode."""
        return self.notes.entries.count((size, False))


class Means:
    """An accumulator of the mean activation of each batch."""

    def __init__(self):
        self.seen = []

    def hook_points(self, network, images):
        return {"conv": HookPoint(network.network[0], lambda activation, images: activation.mean())}

    def update(self, batch):
        self.seen.append(batch.values["conv"].item())

    def state(self):
        return self.seen

    def merge_state(self, states):
        self.seen = sum(states, [])

    def compute(self):
        return self.seen


def recording(**options):
    return Stub(accumulators=lambda: [Means()], on_error="raise", **options)


# The session.


def test_a_trainer_has_one_session_made_once(tmp_path, monkeypatch):
    made = []
    init = VizSession.__init__
    monkeypatch.setattr(VizSession, "__init__", lambda self: made.append(self) or init(self))
    run = trainer(tmp_path, [Stub(tag="one"), Stub(tag="two")], max_epochs=2)
    run.fit(tiny(), *data())
    assert made == [session_of(run)]
    other = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    assert session_of(other) is session_of(other) is not session_of(run)


def test_the_first_callback_leads(tmp_path):
    one, two = Stub(tag="one"), Stub(tag="two")
    run = trainer(tmp_path, [one, two], max_epochs=1)
    session = session_of(run)
    assert session.leads(run, one)
    assert not session.leads(run, two)
    run.fit(tiny(), *data())
    assert session.runners(run) == [one.runner, two.runner]


def test_a_budget_belongs_to_one_fit(tmp_path):
    run, module = trainer(tmp_path, [Stub(tag="one"), Stub(tag="two")], max_epochs=1), tiny()
    run.fit(module, *data())
    first = session_of(run).budget
    run.validate(module, data()[1], verbose=False)
    assert session_of(run).budget is first
    run.fit_loop.max_epochs = 2
    run.fit(module, *data())
    assert session_of(run).budget is not first


def test_a_disk_that_fails_at_the_end_is_warned_of_once(tmp_path, monkeypatch, our_warnings):
    def fail(self):
        raise OSError("No space left on device")

    monkeypatch.setattr(SinkQueue, "flush", fail)
    module = tiny()
    fit(tmp_path, Stub(tag="one"), Stub(tag="two"), module=module)
    (warning,) = our_warnings()
    assert "OSError: No space left on device" in warning
    assert len(module.losses) == BATCHES


# One recorder for all callbacks.


@pytest.fixture
def recorders(monkeypatch):
    """Those that were opened."""
    opened = []
    init = ForwardRecorder.__init__

    def spy(self, *args, **options):
        opened.append(self)
        init(self, *args, **options)

    monkeypatch.setattr(ForwardRecorder, "__init__", spy)
    return opened


def test_one_recorder_feeds_the_accumulators_of_all_callbacks(tmp_path, recorders):
    stubs = [recording(tag=tag) for tag in ("one", "two", "three")]
    network = Passes()
    fit(tmp_path, *stubs, module=Lit(network))
    assert len(recorders) == 2  # of the sanity check, and of the epoch
    assert [len(one.recordings) for one in recorders] == [3, 3]
    assert network.count(2) == 2 + BATCHES, "the loops' own passes, and no more"
    (_, first), *others = (one.found for one in stubs)
    assert len(first[0]) == BATCHES
    assert all(found[1] == first for found in others)


def test_callbacks_with_a_forward_of_their_own_have_a_recorder_of_their_own(tmp_path, recorders):
    forward = lambda module, images: module(images)  # noqa: E731
    stubs = [recording(tag="one"), recording(tag="two", forward=forward), recording(tag="three", forward=forward)]
    fit(tmp_path, *stubs, num_sanity_val_steps=0)
    assert sorted(len(one.recordings) for one in recorders) == [1, 2]


def test_nothing_is_recorded_where_nobody_listens(tmp_path, recorders):
    fit(tmp_path, Stub(tag="one"), Stub(tag="two"))
    assert recorders == []


@pytest.mark.parametrize("compiled", [False, True])
def test_a_compiled_model_alone_runs_each_validation_batch_once_more_for_all(compiled, tmp_path, monkeypatch):
    """Its own passes skip the hooks."""
    monkeypatch.setattr(session_module, "is_compiled", lambda module: compiled)
    network, stubs = Passes(), [recording(tag=tag) for tag in ("one", "two", "three")]
    fit(tmp_path, *stubs, module=Lit(network), num_sanity_val_steps=0)
    assert network.count(2) == (1 + compiled) * BATCHES
    assert all(len(one.found[-1][0]) == BATCHES for one in stubs)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_recorders_time_is_counted_once(compiled, tmp_path, monkeypatch):
    """By a clock that a hook alone moves on: of a compiled model within the pass that is made for it."""
    now, taken = [0.0], []
    monkeypatch.setattr(session_module, "is_compiled", lambda module: compiled)
    clock = type("Clock", (), {"perf_counter": staticmethod(lambda: now[0])})
    monkeypatch.setattr("lightning_viz.collect.recorder.time", clock)

    class Ticking(Means):
        def hook_points(self, network, images):
            def reduce(activation, images):
                now[0] += 1.0
                return activation.mean()

            return {"conv": HookPoint(network.network[0], reduce)}

    merge = ForwardRecorder.merge
    monkeypatch.setattr(
        ForwardRecorder, "merge", lambda self, step: merge(self, step) or taken.append(round(self.seconds, 6))
    )
    stubs = [Stub(accumulators=lambda: [Ticking()], tag=tag, on_error="raise") for tag in ("one", "two")]
    fit(tmp_path, *stubs, num_sanity_val_steps=0)
    assert taken == [2.0 * BATCHES]
    assert stubs[0].runner.session.budget.blocked >= 2.0 * BATCHES, "it is paid for"


def test_an_accumulator_that_raises_is_dropped_alone(tmp_path, our_warnings):
    class Failing(Means):
        calls = 0

        def update(self, batch):
            type(self).calls += 1
            raise RuntimeError("no room")

    bad, good = Stub(accumulators=lambda: [Failing()], tag="bad"), recording(tag="good")
    fit(tmp_path, bad, good, num_sanity_val_steps=0, max_epochs=3)
    assert Failing.calls == 1
    assert bad.steps == [0]
    assert bad.runner.failures == []
    assert good.steps == [0, 3, 7, 11]
    assert [len(found[0]) if found else 0 for found in good.found] == [0, *[BATCHES] * 3]
    (warning,) = our_warnings()
    assert "no room" in warning


def test_making_the_accumulators_may_fail(tmp_path, our_warnings):
    def fail():
        raise RuntimeError("no data")

    bad, good = Stub(accumulators=fail, tag="bad"), recording(tag="good")
    events = fit(tmp_path, bad, good, max_epochs=2)
    (warning,) = our_warnings()
    assert "no data" in warning
    assert {tag.partition("/")[0] for tag in events.image_tags} == {"good"}


def test_after_an_exception_in_the_loop_no_hook_stays(tmp_path):
    class Breaking(Lit):
        def validation_step(self, batch, batch_idx):
            if batch_idx == 1:
                raise RuntimeError("enough")

    module = Breaking(tiny_network())
    with pytest.raises(RuntimeError, match="enough"):
        fit(tmp_path, recording(), module=module)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


# One forward pass of the probe for all captions.


def test_one_forward_pass_of_the_probe_for_all_captions(tmp_path):
    """At each moment; the weights are others at the next, and with them the predictions."""
    stubs, network = [Stub(tag=tag, max_images=3) for tag in ("one", "two", "three")], Passes()
    captions = []
    for one in stubs:
        one.error = lambda ctx: captions.append((ctx.step, ctx.predictions))
    fit(tmp_path, *stubs, module=Lit(network), max_epochs=2)
    assert network.count(3) == 1 + 3, "to decide what the output means; at the start, and after two epochs"
    by_step = {step: {id(found) for other, found in captions if other == step} for step, _ in captions}
    assert {step: len(found) for step, found in by_step.items()} == {0: 1, 3: 1, 7: 1}
    assert len(set.union(*by_step.values())) == 3


def test_predictions_are_those_of_the_weights_of_the_moment(tmp_path):
    found = []

    def compare(ctx):
        with torch.no_grad():
            found.append((ctx.predictions.classes.tolist(), ctx.network(ctx.probe.images).argmax(dim=1).tolist()))
            ctx.network.network[-1].bias += torch.eye(4)[len(found) % 4] * 100  # of the same tensor, in place

    stubs = [Stub(compare, tag=tag, on_error="raise") for tag in ("one", "two")]
    fit(tmp_path, *stubs)
    assert len(found) == 4
    assert all(predicted == true for predicted, true in found)
    assert len({tuple(true) for _, true in found}) > 1


# The probe.


class Brightening(Lit):
    """Makes its batches brighter once they are on the device."""

    def __init__(self, by):
        super().__init__(tiny_network())
        self.by = by

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return batch[0] + self.by, batch[1]


@pytest.mark.parametrize("changed", ["module", "data", "both"])
def test_the_probe_is_made_again_for_another_module_and_for_other_data(changed, tmp_path):
    seen, stub = [], Stub(on_error="raise", max_images=2)
    run = trainer(tmp_path, [stub], max_epochs=1)
    train, few = data()
    brighter = torch.utils.data.DataLoader([(image + 1, label) for image, label in few.dataset], batch_size=2)
    first, other = (Brightening(0), few), (Brightening(2), brighter)
    second = first[0] if changed == "data" else other[0], first[1] if changed == "module" else other[1]
    for epochs, (module, validation) in enumerate([first, second, first], 1):
        run.fit_loop.max_epochs = epochs
        run.fit(module, train, validation)
        seen.append(stub.ctx.probe.images)
    assert torch.allclose(seen[1], seen[0] + {"module": 2, "data": 1, "both": 3}[changed])
    assert torch.equal(seen[2], seen[0])


def test_all_callbacks_share_one_class_balanced_probe(tmp_path):
    one, two = Stub(max_images=4, tag="one"), Stub(max_images=8, tag="two")
    fit(tmp_path, one, two)
    assert torch.equal(one.ctx.probe.images, two.ctx.probe.images[:4])
    assert sorted(one.ctx.probe.labels.tolist()) == [0, 1, 2, 3]
    assert "validation data" in one.ctx.probe.note


def test_a_disabled_callback_records_no_more(tmp_path, recorders, our_warnings):
    stub = Stub(RuntimeError("no paint left"), accumulators=lambda: [Means()])
    fit(tmp_path, stub, max_epochs=3, num_sanity_val_steps=0)
    assert len(recorders) == 0, "it failed before the first loop"
    assert Events(tmp_path / "run/version_0").image_tags == []


# What a review of the rebuilt runtime has found.


class Failing(pl.Callback):
    """Stops a validation loop half way."""

    def on_validation_batch_end(self, trainer, *_):
        if not trainer.sanity_checking:
            raise RuntimeError("stopped")


@pytest.mark.parametrize("others", [[], [Failing]], ids=["success", "exception"])
def test_trainer_and_module_are_freed_after_a_run(others, tmp_path):
    def run():
        module = Lit()
        made = trainer(tmp_path, [*quick_suite(), *(one() for one in others)], max_epochs=1)
        with contextlib.suppress(RuntimeError):
            made.fit(module, loader(), loader())
        return weakref.ref(made), weakref.ref(module)

    kept = run()
    gc.collect()
    assert [one() for one in kept] == [None, None]


class Fused(Lit):
    """Its optimizer changes the weights without counting their versions."""

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.05, fused=True)


def test_predictions_are_those_of_weights_that_a_fused_optimizer_changed(tmp_path):
    shown = []

    def keep(ctx):
        with torch.no_grad():
            shown.append((ctx.predictions.classes.clone(), ctx.captions, ctx.network(ctx.probe.images).softmax(dim=1)))

    trainer(tmp_path, [Stub(keep, on_error="raise")], max_epochs=3).fit(Fused(tiny_network()), loader(), loader())
    assert len({str(captions) for _, captions, _ in shown}) > 1, "the weights have changed"
    for classes, captions, probabilities in shown:
        assert torch.equal(classes, probabilities.argmax(dim=1))
        assert [line.text.split()[-1] for (line,) in captions] == [f"{one:.2f}" for one in probabilities.amax(dim=1)]


class Adding(pl.Callback):
    """Adds a callback, or removes the last, while a run goes on."""

    def __init__(self, added):
        self.added = added

    def on_fit_start(self, trainer, pl_module):
        trainer.callbacks.append(self.added)

    def on_train_epoch_end(self, trainer, pl_module):
        if self.added in trainer.callbacks:
            trainer.callbacks.remove(self.added)


def test_callbacks_may_come_and_go_during_a_run(tmp_path):
    first, added = Stub(on_error="raise"), Stub(tag="added", on_error="raise")
    trainer(tmp_path, [first, Adding(added)], max_epochs=2).fit(tiny(), *data())
    assert first.steps == [0, BATCHES - 1, 2 * BATCHES - 1]
    assert added.steps[0] == 0


def test_a_failure_is_warned_of_again_in_a_second_fit(tmp_path, our_warnings):
    made = trainer(tmp_path, [Stub(RuntimeError("no paint left"))], max_epochs=1)
    made.fit(tiny(), *data())
    made.fit_loop.max_epochs = 2
    made.fit(tiny(), *data())
    assert len([one for one in our_warnings() if "no paint left" in one]) == 2
