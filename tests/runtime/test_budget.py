"""The budget, by a clock of its own: a step takes a second, a drawing what it says."""

import math
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl

import lightning_viz.runtime.budget as budget_module
from lightning_viz import (
    ClassSynthesisLogger,
    DeepDreamLogger,
    FilterLogger,
    GradCAMLogger,
    Panel,
    SaliencyLogger,
    TopPatchesLogger,
    VizCallback,
    viz_callbacks,
)
from lightning_viz.render import SignedPixels
from lightning_viz.runtime.budget import Budget
from lightning_viz.runtime.session import Session, session_of

from ..support import CALLBACKS, Events, Lit, dataset, loader, trainer


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(budget_module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(Session, "_behind", lambda self: 0.0)
    return clock


class Slow(VizCallback):
    """Draws for as long as it is told to."""

    def __init__(self, clock, seconds, **options):
        super().__init__(on_error="raise", **options)
        self.clock, self.seconds = clock, seconds

    def passes(self, count):
        return 0  # at the start it may

    def draw(self, network, probe):
        self.clock.now += self.seconds
        yield Panel(f"{self.tag or 'slow'}/images", probe.images, SignedPixels())


class Ticking(pl.Callback):
    """An epoch is four seconds."""

    def __init__(self, clock):
        self.clock = clock

    def on_train_batch_end(self, *args):
        self.clock.now += 1


def fit(folder, clock, *callbacks, epochs=10):
    run = trainer(folder, [Ticking(clock), *callbacks], max_epochs=epochs)
    run.fit(Lit(), loader(), loader())
    return Events(folder / f"run/version_{run.logger.version}"), session_of(run).budget


def test_without_a_budget_all_is_drawn_and_the_share_is_logged(clock, tmp_path, our_warnings):
    events, _ = fit(tmp_path, clock, Slow(clock, 2.0), epochs=2)
    assert events.image_steps("slow/images") == [0, 3, 7]
    assert events.scalar_steps("viz/overhead") == events.scalar_steps("viz/seconds/Slow") == [0, 3, 7]
    # Each is told when the next step is over: 2 of 3 s, 4 of 9, and at the end 6 of 14.
    assert events.scalars("viz/overhead") == pytest.approx([2 / 4, 4 / 9, 6 / 14], rel=0.05)
    assert our_warnings() == []


def test_the_share_stays_within_the_budget_and_it_is_said_once(clock, tmp_path, our_warnings):
    events, budget = fit(tmp_path, clock, Slow(clock, 0.5, max_overhead=0.1), epochs=12)
    drawn, spent = [0], 0.5
    for epoch in range(1, 13):
        if spent + 0.5 <= 0.1 * (4 * epoch + spent):
            drawn, spent = [*drawn, 4 * epoch - 1], spent + 0.5
    assert events.image_steps("slow/images") == drawn
    assert drawn[:2] == [0, 11]
    assert budget.spent <= 0.1 * budget.elapsed
    assert events.scalars("viz/overhead")[-1] <= 0.1
    (warning,) = our_warnings()
    assert "max_overhead=0.1" in warning


def test_the_dear_draw_less_often_than_the_cheap(clock, tmp_path):
    options = {"max_overhead": 0.1}
    callbacks = [Slow(clock, 0.1, tag="cheap", **options), Slow(clock, 1.0, tag="dear", **options)]
    events, budget = fit(tmp_path, clock, *callbacks, epochs=20)
    assert len(events.image_steps("cheap/images")) >= 16
    assert 3 <= len(events.image_steps("dear/images")) < 16
    assert budget.spent <= 0.1 * budget.elapsed


def test_one_with_a_budget_beside_one_without(clock, tmp_path):
    """What the other takes counts: the budget is of the fit."""
    callbacks = [Slow(clock, 1.0, tag="free"), Slow(clock, 0.1, tag="bound", max_overhead=0.1)]
    events, _ = fit(tmp_path, clock, *callbacks, epochs=4)
    assert events.image_steps("free/images") == [0, 3, 7, 11, 15]
    assert events.image_steps("bound/images") == [0]


class Heavy(Slow):
    """Sends so many pictures through the network."""

    def __init__(self, clock, seconds, passes, **options):
        super().__init__(clock, seconds, **options)
        self.sent = passes

    def passes(self, count):
        return self.sent


def test_at_the_start_half_of_the_budget_may_be_spent(clock, tmp_path, our_warnings):
    """24 pictures, ten times: of 240 a half of a tenth, 12."""
    tags = {"first": 8, "second": 6, "third": 4, "free": 1000}
    heavy = [
        Heavy(clock, 0.1, passes, tag=tag, max_overhead=None if tag == "free" else 0.1) for tag, passes in tags.items()
    ]
    events, _ = fit(tmp_path, clock, *heavy)
    started = {tag for tag in tags if events.image_steps(f"{tag}/images")[0] == 0}
    assert started == {"first", "third", "free"}
    assert len(our_warnings()) == 1


class Stopping(pl.Callback):
    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop = True


@pytest.mark.parametrize(
    ("options", "drawn"),
    [({"max_epochs": -1}, True), ({"max_epochs": 10**9}, True), ({"max_epochs": 10**9, "max_steps": 9}, False)],
)
def test_how_much_is_to_come_is_seen(clock, tmp_path, options, drawn):
    """Where it is not known, all is drawn at the start; the lesser of two limits counts."""
    run = trainer(tmp_path, [Stopping(), Heavy(clock, 0.1, 10**6, max_overhead=0.1, every_n_epochs=9)], **options)
    run.fit(Lit(), loader(), loader())
    assert bool(Events(tmp_path / "run/version_0").image_tags) == drawn


def test_what_has_not_been_drawn_yet_is_reckoned_by_its_pictures(clock, tmp_path):
    """A training picture takes a sixth of a second, and so does one of these."""
    events, budget = fit(tmp_path, clock, Heavy(clock, 3.0, 18, max_overhead=0.1), epochs=10)
    assert events.image_steps("slow/images") == [31]  # after 32 s: with it, 3 of 35
    assert budget.left_out == []


def test_what_was_never_drawn_is_told(clock, tmp_path, our_warnings):
    fit(tmp_path, clock, Heavy(clock, 1.0, 1000, tag="heavy", max_overhead=0.1), epochs=2)
    (*_, warning) = our_warnings()
    assert "drew nothing of heavy" in warning


def test_the_share_of_the_whole_fit_is_logged_at_its_end(clock, tmp_path):
    events, _ = fit(tmp_path, clock, Slow(clock, 1.0, every_n_epochs=100), epochs=2)
    assert events.scalar_steps("viz/overhead") == [0, 7]
    assert events.scalars("viz/overhead")[-1] == pytest.approx(1 / 9)


def test_what_the_queue_does_while_training_waits_is_paid_for_once(clock):
    behind = SimpleNamespace(seconds=0.0)
    budget = Budget(lambda: behind.seconds)
    with budget.spending():
        clock.now += 2
        behind.seconds += 0.5
    assert budget.spent == 2.0
    behind.seconds += 0.5
    assert budget.spent == 2.5


def test_the_suite_has_a_budget():
    assert {one.max_overhead for one in viz_callbacks()} == {0.05}
    assert {one.max_overhead for one in viz_callbacks(max_overhead=None)} == {None}


def test_each_fit_has_a_budget_of_its_own(clock, tmp_path):
    run = trainer(tmp_path, [Ticking(clock), Slow(clock, 2.0, max_overhead=0.1)], max_epochs=1)
    run.fit(Lit(), loader(), loader())
    first = session_of(run).budget
    run.fit_loop.max_epochs = 2
    run.fit(Lit(), loader(), loader())
    assert session_of(run).budget is not first
    assert session_of(run).budget.spent == 2.0


def test_validation_by_itself_is_drawn_whatever_was_spent(clock, tmp_path):
    run = trainer(tmp_path, [Ticking(clock), Slow(clock, 2.0, max_overhead=0.001)], max_epochs=1)
    module = Lit()
    run.fit(module, loader(), loader())
    run.validate(module, loader(), verbose=False)
    assert sorted(Events(tmp_path / "run/version_0").image_steps("slow/images")) == [0, 4]


def test_work_behind_the_scenes_is_paid_for(clock):
    budget = Budget(lambda: 3.0)
    clock.now += 10
    with budget.spending():
        clock.now += 2
    assert (budget.spent, budget.elapsed) == (5.0, 12.0)


def test_the_same_name_twice_is_numbered(clock, tmp_path):
    class Other(Slow):
        def draw(self, network, probe):
            yield Panel("other/images", probe.images, SignedPixels())

        def distinction(self):
            return {"kind": "other"}

    Other.__name__ = "Slow"
    events, _ = fit(tmp_path, clock, Slow(clock, 1.0), Other(clock, 1.0), epochs=1)
    assert [tag for tag in events.scalar_tags if tag.startswith("viz/seconds")] == [
        "viz/seconds/Slow",
        "viz/seconds/Slow_2",
    ]


@pytest.mark.parametrize("value", [0, -0.1, 1.5, math.nan, math.inf])
def test_what_is_no_share(value):
    with pytest.raises(ValueError, match=r"max_overhead=.* is no share"):
        Slow(None, 0, max_overhead=value)


@pytest.mark.parametrize("value", ["0.05", True, [0.05]])
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match=r"max_overhead=.* give a share"):
        Slow(None, 0, max_overhead=value)


CLAIMS = [
    # Filters send none through, and for whom no classes are given ten are counted.
    *((one, {}) for one in CALLBACKS if one not in (FilterLogger, ClassSynthesisLogger)),
    *((SaliencyLogger, {"method": method}) for method in ("smoothgrad", "integrated_gradients", "occlusion")),
    (GradCAMLogger, {"trust": ["faithfulness"]}),
    (ClassSynthesisLogger, {"classes": [1, 2], "copies": 2, "steps": 16}),
    (ClassSynthesisLogger, {"layer": "network.3", "steps": 16}),
    (DeepDreamLogger, {"method_options": {"octaves": 1}}),
    (TopPatchesLogger, {"layers": "network.0", "units": [1, 2, 3]}),
]


@pytest.mark.parametrize(("callback", "options"), CLAIMS, ids=[f"{one.__name__}-{given}" for one, given in CLAIMS])
def test_a_first_drawing_sends_about_as_many_pictures_through_as_it_says(callback, options, tmp_path):
    sent = {"forward": 0, "backward": 0}

    def count(module, inputs, output):
        pictures = inputs[0][:, 0].numel() / 32**2  # smaller ones count as the part that they are
        sent["forward"] += pictures
        if output.requires_grad:
            output.register_hook(lambda gradient: sent.update(backward=sent["backward"] + pictures))

    class Reading(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            found.append(sent["forward"] / 3 + sent["backward"] * 2 / 3)

    module, found, data = Lit(), [], loader(dataset(600, size=32))
    module.network[0].register_forward_hook(count)
    watching = callback(**options, on_error="raise")
    trainer(tmp_path, [watching, Reading()], max_steps=1, num_sanity_val_steps=0).fit(module, data, data)
    assert 0.6 < found[0] / watching.passes(8) < 1.7
