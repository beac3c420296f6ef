"""The budget, by a clock of its own: a step takes a second, a drawing what it says."""

import math
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import pytorch_lightning as pl
import torch
import yaml

import lightning_viz.runtime.budget as budget_module
import lightning_viz.runtime.overhead as overhead_module
from lightning_viz import FilterLogger, GradCAMLogger, viz_callbacks
from lightning_viz.callbacks.suite import BUDGET
from lightning_viz.collect.accumulator import HookPoint
from lightning_viz.runtime.budget import Budget
from lightning_viz.runtime.session import session_of
from lightning_viz.sinks.sink_queue import SinkQueues

from ..cases import CASES
from ..stub import Stub, tiny
from ..support import Events, Lit, dataset, loader, trainer


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(budget_module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    monkeypatch.setattr(SinkQueues, "seconds", 0.0)
    return clock


class Slow(Stub):
    """Draws for as long as it is told to, and claims as many passes."""

    def __init__(self, clock, seconds, passes=0, priority=0, **options):
        self.PRIORITY = priority
        super().__init__(lambda ctx: setattr(clock, "now", clock.now + seconds), passes=passes, **options)


class Ticking(pl.Callback):
    """An epoch is four seconds."""

    def __init__(self, clock, tick=1.0):
        self.clock, self.tick = clock, tick

    def on_train_batch_end(self, *args):
        self.clock.now += self.tick


def fit(folder, clock, *callbacks, epochs=10, tick=1.0):
    """24 pictures in an epoch, in four batches."""
    run = trainer(folder, [Ticking(clock, tick), *callbacks], max_epochs=epochs, limit_val_batches=1)
    run.fit(tiny(), loader(), loader())
    return Events(folder / f"run/version_{run.logger.version}"), session_of(run).budget


def steps_of(events, tag):
    return events.image_steps(f"{tag}/images") if f"{tag}/images" in events.image_tags else []


# The budget alone.


def test_without_a_fraction_everything_is_allowed(clock):
    assert Budget().allows("one", None, 10**9)


def test_before_the_first_step_half_of_the_budget_is_counted_in_passes():
    budget = Budget(planned=240)
    assert budget.allows("one", 0.1, 12)
    assert not budget.allows("one", 0.1, 12.1)
    budget.claim(8)
    assert budget.allows("two", 0.1, 4)
    assert not budget.allows("two", 0.1, 4.1)


def test_the_start_is_drawn_where_the_last_drawings_of_all_fit():
    """Of 24 passes, 20 are kept free; what is too large by itself is not waited for."""
    budget = Budget(planned=240)
    budget.reserve("large", 12)
    budget.reserve("larger", 8)
    budget.reserve("too large", 25)
    assert budget.allows("one", 0.1, 4)
    assert not budget.allows("one", 0.1, 4.1)


def test_the_time_to_record_the_last_loop_is_kept_free(clock):
    budget = Budget(planned=100, trained=50)
    budget.count_loop(2.0)
    clock.now += 52
    assert budget.allows("one", 0.1, 1)
    assert not Budget(planned=100, trained=50, blocked=2.0, loop=9.0, started=100.0).allows("one", 0.1, 1)


def test_rendering_in_the_queue_is_expected_as_well(clock):
    budget = Budget(lambda: 3.0, trained=60)
    budget.record("one", 0, 2.0)
    assert budget.seconds_of(budget._costs["one"]) == 5.0


def test_asking_changes_nothing():
    budget = Budget(planned=240)
    before = vars(budget).copy()
    assert [budget.allows("one", 0.1, passes) for passes in (8, 8, 1000)] == [True, True, False]
    assert vars(budget) == before


def test_a_drawing_is_expected_to_cost_what_it_did_last_time(clock):
    budget = Budget(trained=24)
    budget.record("one", 0, 2.0)
    budget.blocked = 2.0
    for now, allowed in ((139.0, False), (140.5, True)):  # 4 of 39 s, then of 40.5
        clock.now = now
        assert budget.allows("one", 0.1) == allowed


def test_before_its_first_drawing_its_passes_count_against_those_of_training(clock):
    budget = Budget(trained=60)
    clock.now += 10  # six pictures a second
    assert budget.allows("one", 0.1, 6)
    assert not budget.allows("one", 0.1, 6.1)


def test_the_time_of_the_last_drawings_is_kept_free(clock):
    """Of the 10 s that a fit of 100 s may take, 4 and 3 are kept free."""
    budget = Budget(planned=100, trained=50)
    budget.reserve("one", 4)
    budget.reserve("two", 3)
    clock.now += 50
    assert [budget.allows(name, 0.1) for name in ("other", "one", "two")] == [True, False, True]
    budget.trained, clock.now = 100, clock.now + 50
    assert [budget.allows(name, 0.1) for name in ("one", "two")] == [False, True], "the cheaper first"
    budget.ended = True
    assert [budget.allows(name, 0.1) for name in ("one", "two")] == [True, True], "now it is for that"


@pytest.mark.parametrize(("priority", "kept"), [(0, "cheap"), (1, "large")])
def test_where_not_all_fit_the_highest_priority_comes_first_then_the_cheapest(clock, priority, kept):
    budget = Budget(planned=100, trained=100)
    budget.reserve("large", 8, priority)
    budget.reserve("cheap", 3)
    clock.now += 100
    assert {name for name in ("large", "cheap") if budget.allows(name, 0.1)} == {kept}


def test_what_other_drawings_took_beyond_their_passes_is_expected_of_a_first_one(clock):
    budget = Budget(trained=60)
    clock.now += 60
    budget.reserve("known", 2)
    budget.reserve("new", 10)
    budget.record("known", 0, 5.0)
    assert budget.seconds_of(budget._costs["new"]) == 10 + 3


def test_samples_read_before_the_first_step_are_not_expected_again(clock):
    budget = Budget()
    budget.reserve("one", 2, extra=8)
    budget.record("one", 0, 11.0)
    budget.trained, clock.now = 60, clock.now + 60
    assert budget.seconds_of(budget._costs["one"]) == 3.0
    budget.record("one", 5, 4.0)
    assert budget.seconds_of(budget._costs["one"]) == 4.0


def test_who_was_refused_each_time_is_known():
    budget = Budget()
    for name in ("one", "two", "one"):
        budget.refuse(name)
    assert budget.never_drawn == ["one", "two"]
    budget.record("one", 3, 1.0)
    assert budget.never_drawn == ["two"]


def test_the_share_is_logged_once_for_each_drawing(clock):
    budget, logged = Budget(), []
    log = lambda step, share: logged.append(step)  # noqa: E731
    clock.now += 1
    budget.log_share(log, 0)
    budget.record("one", 0, 1.0)
    budget.log_share(log, 0)  # training is not past this step
    assert logged == []
    budget.log_share(log, 1)
    budget.log_share(log, 2)
    assert logged == [0]
    budget.log_total(log, 7)
    budget.log_total(log, 7)
    assert logged == [0, 7]


# In a training.

COSTS = {"cheap": 0.05, "synthesis": 10.0, "dream": 2.0, "gradcam": 1.0}  # seconds of a drawing
#: By budget and seconds of the fit, whose are the trained network's drawings, and how many drawings there are of each.
TABLE = {
    (0.01, 10): ("cheap", [2, 0, 0, 0]),
    (0.01, 30): ("cheap", [6, 0, 0, 0]),
    (0.01, 100): ("gradcam", [0, 0, 0, 1]),
    (0.01, 1000): ("cheap dream gradcam", [9, 0, 1, 7]),
    (0.05, 10): ("cheap", [10, 0, 0, 0]),
    (0.05, 30): ("cheap gradcam", [4, 0, 0, 1]),
    (0.05, 100): ("cheap dream gradcam", [7, 0, 1, 2]),
    (0.05, 1000): ("cheap synthesis dream gradcam", [9, 3, 7, 7]),
    (0.2, 10): ("cheap gradcam", [5, 0, 0, 1]),
    (0.2, 30): ("cheap dream gradcam", [7, 0, 2, 2]),
    (0.2, 100): ("cheap synthesis dream gradcam", [10, 1, 4, 3]),
    (0.2, 1000): ("cheap synthesis dream gradcam", [11, 10, 11, 11]),
}


@pytest.mark.parametrize(("share", "seconds"), TABLE)
def test_what_a_budget_draws(share, seconds, clock, tmp_path, our_warnings):
    """The trained network first, then what there is time for; Grad-CAM before the rest."""
    at_the_end, counts = TABLE[share, seconds]
    tick = seconds / 40
    callbacks = [
        Slow(clock, cost, 6 * cost / tick, 3 if tag == "gradcam" else 0, tag=tag, max_overhead=share)
        for tag, cost in COSTS.items()
    ]
    events, budget = fit(tmp_path, clock, *callbacks, tick=tick)
    drawn = {tag: steps_of(events, tag) for tag in COSTS}
    assert {tag for tag, steps in drawn.items() if 39 in steps} == {*at_the_end.split()}
    assert all(39 in steps for steps in drawn.values() if steps), "whoever draws, draws the trained network"
    assert [len(steps) for steps in drawn.values()] == counts
    assert budget.spent <= share * budget.elapsed + min(COSTS.values())
    assert events.scalars("viz/overhead")[-1] == pytest.approx(budget.spent / budget.elapsed)
    if missing := [tag for tag, steps in drawn.items() if not steps]:
        assert any(f"drew nothing of {', '.join(missing)} in this fit" in one for one in our_warnings())


def test_the_most_important_draws_the_trained_network_first(clock, tmp_path):
    """Though it comes last, and another one takes longer than it was estimated to."""
    order = []

    class Ordered(Slow):
        def draw(self, ctx):
            order.append((ctx.step, self.tag))
            yield from super().draw(ctx)

    options = {"max_overhead": 0.1, "log_at_start": False, "every_n_epochs": 10}
    callbacks = [Ordered(clock, 3.5, 6, tag="large", **options), Ordered(clock, 1.0, 6, 1, tag="important", **options)]
    fit(tmp_path, clock, *callbacks, epochs=10)
    assert order == [(39, "important"), (39, "large")]


def test_where_training_ends_early_the_trained_network_is_drawn(clock, tmp_path):
    class Early(pl.Callback):
        def on_train_epoch_end(self, trainer, module):
            trainer.should_stop = trainer.current_epoch == 19

    options = {"max_overhead": 0.1}
    callbacks = [Slow(clock, 2.0, 12, 1, tag="large", **options), Slow(clock, 0.3, 2, tag="small", **options), Early()]
    events, budget = fit(tmp_path, clock, *callbacks, epochs=100)
    assert steps_of(events, "large")[-1] == steps_of(events, "small")[-1] == 79
    assert budget.spent <= 0.1 * budget.elapsed + 0.3


def test_nothing_is_drawn_after_an_exception(clock, tmp_path):
    class Failing(pl.Callback):
        def on_train_epoch_end(self, trainer, module):
            if trainer.current_epoch == 8:
                raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fit(tmp_path, clock, Slow(clock, 3.0, 18, max_overhead=0.1), Failing())
    assert Events(tmp_path / "run/version_0").image_tags == []


def test_what_the_loop_recorded_is_there_for_a_drawing_that_was_put_off(clock, tmp_path):
    """The stub is refused after the last epoch, where another one of higher priority comes after it, and drawn later."""
    stub = Slow(clock, 0.3, 2, accumulators=lambda: [Counting()], max_overhead=0.1)
    fit(tmp_path, clock, stub, Slow(clock, 4.0, 24, 1, tag="large", max_overhead=0.1))
    assert stub.steps[-1] == 39
    assert stub.found[-1] == [1], "of the batch that the loop is limited to"


def test_no_loop_is_recorded_for_a_drawing_that_is_put_off(clock, tmp_path):
    """Recording takes time as well: before the first step, and for the drawing at the end."""
    made = []
    stub = Slow(clock, 3.0, 18, accumulators=lambda: [made.append(clock.now) or Counting()], max_overhead=0.1)
    fit(tmp_path, clock, stub)
    assert stub.steps == [39]
    assert len(made) == 2
    assert stub.found == [[1]]


def test_what_a_first_drawing_takes_besides_is_not_spent_on_the_untrained_network(clock, tmp_path, monkeypatch):
    """Its passes alone would fit a half of the budget, 2 of 4 s."""
    monkeypatch.setattr(Slow, "SECONDS", 3.0)
    monkeypatch.setattr(overhead_module, "time_pass", lambda *args: 1 / 6)
    events, budget = fit(tmp_path, clock, Slow(clock, 3.0, 1, max_overhead=0.1))
    assert steps_of(events, "stub") == [39]
    assert budget.spent == pytest.approx(3.0, abs=0.1)


def test_what_will_not_fit_is_said_before_the_first_step(clock, tmp_path, our_warnings):
    fit(tmp_path, clock, Slow(clock, 1.0, 1000, tag="heavy", max_overhead=0.1), epochs=2)
    assert (
        "heavy may draw nothing: a drawing is estimated to take as long as training on 1,000 images"
        in our_warnings()[0]
    )
    assert "max_overhead=0.1 of this fit is 5 for" in our_warnings()[0]


def test_a_fit_that_draws_nothing_logs_its_overhead(clock, tmp_path):
    class Estimating(Slow):
        def estimated_passes(self, network, images):
            self.clock.now += 2
            return 1e9

    slow = Estimating(clock, 1.0, max_overhead=0.1)
    slow.clock = clock
    events, _ = fit(tmp_path, clock, slow, epochs=2)
    assert events.scalars("viz/overhead")[-1] > 0.2


@pytest.mark.parametrize("options", [{}, {"max_overhead": 1.0}], ids=["free", "bound"])
def test_where_the_pictures_are_is_said_once(clock, tmp_path, options, caplog):
    with caplog.at_level("INFO", "pytorch_lightning"):
        run = trainer(tmp_path, [Ticking(clock), Slow(clock, 0.1, **options)], max_epochs=1)
        run.fit(tiny(), loader(), loader())
        run.fit_loop.max_epochs = 2
        run.fit(tiny(), loader(), loader())
    said = [one.message for one in caplog.records if "tensorboard --logdir" in one.message]
    assert said == [
        f"lightning_viz: the pictures are in {run.logger.log_dir}; to see them: tensorboard --logdir {run.logger.log_dir}"
    ]


def test_without_a_budget_all_is_drawn_and_the_share_is_logged(clock, tmp_path, our_warnings):
    events, _ = fit(tmp_path, clock, Slow(clock, 2.0), epochs=2)
    assert events.image_steps("stub/images") == [0, 3, 7]
    assert events.scalar_steps("viz/overhead") == events.scalar_steps("viz/seconds/Slow") == [0, 3, 7]
    # Each is told when the next step is over: 2 of 3 s, 4 of 9, and at the end 6 of 14.
    assert events.scalars("viz/overhead") == pytest.approx([2 / 4, 4 / 9, 6 / 14], rel=0.05)
    (warning,) = our_warnings()
    assert "more than a fifth of the time of this fit (43% so far)" in warning


def test_the_share_stays_within_the_budget_and_it_is_said_once(clock, tmp_path, our_warnings):
    events, budget = fit(tmp_path, clock, Slow(clock, 0.5, max_overhead=0.1), epochs=12)
    drawn, spent = [0], 0.5
    for epoch in range(1, 13):
        if spent + 0.5 <= 0.1 * (4 * epoch + spent):
            drawn, spent = [*drawn, 4 * epoch - 1], spent + 0.5
    assert events.image_steps("stub/images") == drawn
    assert drawn[:2] == [0, 11]
    assert budget.spent <= 0.1 * budget.elapsed
    assert events.scalars("viz/overhead")[-1] <= 0.1
    (warning,) = our_warnings()
    assert "max_overhead=0.1" in warning


def test_the_expensive_draw_less_often_than_the_cheap(clock, tmp_path):
    options = {"max_overhead": 0.1}
    callbacks = [Slow(clock, 0.1, tag="cheap", **options), Slow(clock, 1.0, tag="expensive", **options)]
    events, budget = fit(tmp_path, clock, *callbacks, epochs=20)
    assert len(events.image_steps("cheap/images")) >= 16
    assert 3 <= len(events.image_steps("expensive/images")) < 16
    assert budget.spent <= 0.1 * budget.elapsed


def test_one_with_a_budget_beside_one_without(clock, tmp_path):
    """What the other takes counts: the budget is of the fit."""
    callbacks = [Slow(clock, 1.0, tag="free"), Slow(clock, 0.1, tag="bound", max_overhead=0.1)]
    events, _ = fit(tmp_path, clock, *callbacks, epochs=4)
    assert events.image_steps("free/images") == [0, 3, 7, 11, 15]
    assert events.image_steps("bound/images") == [0]


def test_at_the_start_half_of_the_budget_may_be_spent(clock, tmp_path, our_warnings):
    """24 pictures, 20 times: of 480 a half of a tenth, 24, where the 18 of the last drawings leave as much free."""
    tags = {"first": 8, "second": 18, "third": 4, "free": 1000}
    heavy = [
        Slow(clock, 0.01, passes, tag=tag, max_overhead=None if tag == "free" else 0.1) for tag, passes in tags.items()
    ]
    events, _ = fit(tmp_path, clock, *heavy, epochs=20)
    assert {tag for tag in tags if 0 in steps_of(events, tag)} == {"first", "third", "free"}
    assert len(our_warnings()) == 1


@dataclass
class Counting:
    """An accumulator that counts the batches of a loop."""

    batches: int = 0

    def hook_points(self, network, images):
        return {"": HookPoint(network, lambda activation, images: activation)}

    def update(self, batch):
        self.batches += 1

    def state(self):
        return self.batches

    def merge_state(self, states):
        self.batches = sum(states)

    def compute(self):
        return self.batches


class Stopping(pl.Callback):
    def on_train_batch_end(self, trainer, *args):
        trainer.should_stop = True


@pytest.mark.parametrize(
    ("options", "drawn"),
    [({"max_epochs": -1}, True), ({"max_epochs": 10**9}, True), ({"max_epochs": 10**9, "max_steps": 9}, False)],
)
def test_how_much_is_to_come_is_seen(clock, tmp_path, options, drawn):
    """Where it is not known, all is drawn at the start; the lesser of two limits counts."""
    run = trainer(
        tmp_path, [Stopping(), Ticking(clock), Slow(clock, 0.1, 10**6, max_overhead=0.1, every_n_epochs=9)], **options
    )
    run.fit(tiny(), loader(), loader())
    assert bool(Events(tmp_path / "run/version_0").image_tags) == drawn


def test_what_has_not_been_drawn_yet_is_reckoned_by_its_pictures(clock, tmp_path):
    """A training picture takes a sixth of a second, and so does one of these."""
    events, budget = fit(tmp_path, clock, Slow(clock, 3.0, 18, max_overhead=0.1), epochs=10)
    assert events.image_steps("stub/images") == [39]  # 3 of 43 s; there is no time for two
    assert budget.never_drawn == []


def test_what_was_never_drawn_is_named(clock, tmp_path, our_warnings):
    fit(tmp_path, clock, Slow(clock, 1.0, 1000, tag="heavy", max_overhead=0.1), epochs=2)
    (*_, warning) = our_warnings()
    assert "drew nothing of heavy" in warning


def test_the_share_of_the_whole_fit_is_logged_at_its_end(clock, tmp_path):
    events, _ = fit(tmp_path, clock, Slow(clock, 1.0, every_n_epochs=100), epochs=2)
    assert events.scalar_steps("viz/overhead") == [0, 7]
    assert events.scalars("viz/overhead")[-1] == pytest.approx(1 / 9)


def test_what_the_queue_does_while_training_waits_is_paid_for_once(clock):
    queued = SimpleNamespace(seconds=0.0)
    budget = Budget(lambda: queued.seconds)
    with budget.spending():
        clock.now += 2
        queued.seconds += 0.5
    assert budget.spent == 2.0
    queued.seconds += 0.5
    assert budget.spent == 2.5


def test_the_suite_has_a_budget():
    assert {one.max_overhead for one in viz_callbacks()} == {0.05}
    assert {one.max_overhead for one in viz_callbacks(max_overhead=None)} == {None}


def test_each_fit_has_a_budget_of_its_own(clock, tmp_path):
    run = trainer(tmp_path, [Ticking(clock), Slow(clock, 2.0, max_overhead=0.1)], max_epochs=1)
    run.fit(tiny(), loader(), loader())
    first = session_of(run).budget
    run.fit_loop.max_epochs = 2
    run.fit(tiny(), loader(), loader())
    assert session_of(run).budget is not first
    assert session_of(run).budget.spent == 2.0


def test_validation_by_itself_is_drawn_whatever_was_spent(clock, tmp_path):
    run = trainer(tmp_path, [Ticking(clock), Slow(clock, 2.0, max_overhead=0.001)], max_epochs=1)
    module = tiny()
    run.fit(module, loader(), loader())
    run.validate(module, loader(), verbose=False)
    assert sorted(Events(tmp_path / "run/version_0").image_steps("stub/images")) == [0, 4]


def test_the_work_of_the_queue_is_paid_for(clock):
    budget = Budget(lambda: 3.0)
    clock.now += 10
    with budget.spending():
        clock.now += 2
    assert (budget.spent, budget.elapsed) == (5.0, 12.0)


def test_the_same_name_twice_is_numbered(clock, tmp_path):
    class Other(Slow):
        pass

    Other.__name__ = "Slow"
    other = Other(clock, 1.0)
    other.tag_fields = lambda: {"kind": "other"}
    events, _ = fit(tmp_path, clock, Slow(clock, 1.0), other, epochs=1)
    assert [tag for tag in events.scalar_tags if tag.startswith("viz/seconds")] == [
        "viz/seconds/Slow",
        "viz/seconds/Slow_2",
    ]


@pytest.mark.parametrize("value", [0, -0.1, 1.5, math.nan, math.inf])
def test_what_is_no_fraction(value):
    with pytest.raises(ValueError, match=r"max_overhead=.* must be in \(0, 1\]"):
        Stub(max_overhead=value)


@pytest.mark.parametrize("value", ["0.05", True, [0.05]])
def test_what_is_no_number(value):
    with pytest.raises(TypeError, match="max_overhead="):
        Stub(max_overhead=value)


METHODS = "smoothgrad", "integrated_gradients", "occlusion"
OF = {
    "gradcam": [
        {"trust": ["faithfulness"]},
        {"layers": ["network.0", "network.3", "network.5"]},
        {"method": "scorecam"},
    ],
    "synthesis": [{"classes": [1, 2], "copies": 2, "steps": 16}, {"layer": "network.3", "steps": 16}],
    "deepdream": [{"method_options": {"octaves": 1}}],
    "patches": [{"layers": "network.0", "units": [1, 2, 3]}],
}


def test_the_preset_of_the_suite_has_the_same_budget():
    preset = yaml.safe_load((Path(__file__).parents[2] / "callbacks/all.yaml").read_text())
    entries = preset["trainer"]["callbacks+"]
    assert len(entries) == len(CASES)
    assert {one["init_args"]["max_overhead"] for one in entries} == {BUDGET}


CLAIMS = [
    # For whom no classes are given ten are counted; here there are four.
    *((case, {}) for case in CASES if case.tag not in ("filters", "synthesis")),
    *((case, {"method": method}) for case in CASES if case.tag == "saliency" for method in METHODS),
    *((case, given) for case in CASES for given in OF.get(case.tag, ())),
]


@pytest.mark.parametrize(("case", "options"), CLAIMS, ids=[f"{one.name}-{given}" for one, given in CLAIMS])
def test_a_first_drawing_sends_about_as_many_pictures_through_as_it_says(case, options, tmp_path):
    sent = {"forward": 0, "backward": 0}

    def count(module, inputs, output):
        pictures = inputs[0][:, 0].numel() / 32**2  # smaller ones count as the part that they are
        sent["forward"] += pictures
        if output.requires_grad:
            output.register_hook(lambda gradient: sent.update(backward=sent["backward"] + pictures))

    class Reading(pl.Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            forward = sent["forward"] - 1  # the picture with which the network is tried, once for all callbacks
            found.append(forward / 3 + sent["backward"] * 2 / 3)

    module, found, data = Lit(), [], loader(dataset(600, size=32))
    module.network[0].register_forward_hook(count)
    watching = case.callback(**options, on_error="raise", history=0)
    trainer(tmp_path, [watching, Reading()], max_steps=1, num_sanity_val_steps=0).fit(module, data, data)
    claimed = watching.estimated_passes(module, torch.rand(8, 3, 32, 32))
    assert 0.6 < found[0] / claimed < 1.7, (found[0], claimed)


def test_filters_send_nothing_through_and_claim_nothing(tmp_path):
    module, found = Lit(), []
    watching = FilterLogger(on_error="raise", max_overhead=1e-9)
    module.network[0].register_forward_hook(lambda *args: found.append(module.training))
    run = trainer(tmp_path, [watching], max_steps=1, num_sanity_val_steps=0)
    run.fit(module, loader(), loader())
    assert watching.estimated_passes(module, torch.rand(8, 3, 12, 12)) == 0
    assert found.count(True) == 1
    assert 0 in Events(tmp_path / "run/version_0").image_steps("filters/network.0")


def test_several_layers_cost_one_more_backward_pass_each_and_no_forward():
    images, module = torch.rand(8, 3, 12, 12), Lit()
    one, three = (
        GradCAMLogger(layers).estimated_passes(module, images)
        for layers in ("network.0", ["network.0", "network.3", "network.5"])
    )
    assert one <= three < 3 * one
