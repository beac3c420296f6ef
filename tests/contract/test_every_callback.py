"""The promises, held by every callback of the registry: each looks at one recorded training and one recorded evaluation.

What the runtime does for all callbacks alike is tested once, on a stub, in `tests/runtime`; `test_rules_live_in_the_base`
holds every callback to that. The whole suite in all that Lightning offers is in `tests/promises`."""

import inspect
import re

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping

from lightning_viz import VizCallback, viz_callbacks
from lightning_viz.callbacks.suite import CALLBACKS

from ..careful import differences
from ..cases import case_of
from ..stub import Stub, data, tiny
from ..support import Events, Lit, loader, trainer
from .recording import EPOCHS, HISTORY, STEPS, train

HOOKS = {name for name, _ in inspect.getmembers(pl.Callback, inspect.isfunction) if not name.startswith("_")}


def test_every_callback_is_here():
    assert {callback.__name__ for callback in CALLBACKS} >= {"FilterLogger", "SaliencyLogger", "GradCAMLogger"}


def test_a_callback_without_a_case_is_noticed():
    with pytest.raises(LookupError, match=r"Stub has 0 cases in tests/cases.py"):
        case_of(Stub)


def test_rules_live_in_the_base(case):
    """So that what a stub shows of schedule, resume, failure and flush is true of each."""
    ours = [kind for kind in case.callback.__mro__ if issubclass(kind, VizCallback) and kind is not VizCallback]
    assert 1 <= len(ours) <= 2, "itself, a family, VizCallback"
    for kind in ours:
        assert not HOOKS & vars(kind).keys()
        assert not {"schedule", "runner", "_leads"} & vars(kind).keys()


# 1. Training is bit-identical.


def test_training_is_bit_identical(recorded, undisturbed):
    assert differences(undisturbed, recorded.left) == []
    assert recorded.events.image_tags


def test_draws_in_evaluation_mode_with_gradients_possible(recorded, evaluated):
    """In the training loop, and in validation and test loops, which run in inference mode."""
    for record in (recorded, *evaluated[:2]):
        assert record.modes == {(False, True, False)}


# 2. A picture never stops a run.


def test_nothing_is_warned_of(recorded, evaluated):
    assert [record.warnings for record in (recorded, *evaluated[:2])] == [[], [], []]


def test_a_failure_warns_once_and_disables_this_callback_alone(case, tmp_path, monkeypatch, our_warnings):
    draws = []

    def fail(self, ctx):
        draws.append(ctx.step)
        raise RuntimeError("no paint left")
        yield

    monkeypatch.setattr(case.callback, "draw", fail)
    module = tiny()
    run = trainer(tmp_path, [case.make(), Stub(on_error="raise")], max_epochs=2)
    run.fit(module, *data())
    (warning,) = our_warnings()
    assert case.name in warning
    assert "no paint left" in warning
    assert "on_error='raise'" in warning
    assert draws == [0]
    assert len(module.losses) == 8
    events = Events(tmp_path / "run/version_0")
    assert events.image_tags == ["stub/images", "stub/images/history"]
    assert events.image_steps("stub/images") == [0, 3, 7]


# 3. Nothing logged is lost, 4. It is where the user looks.


def test_pictures_and_scalars_of_a_moment_have_the_same_step(case, recorded):
    """Read from the disk, right after the training."""
    events = recorded.events
    assert events.image_tags
    for tag in events.image_tags:
        assert events.image_steps(tag) == STEPS == [0, *events.scalar_steps("loss_epoch")]
        assert events.image_steps(tag)[1:] == events.scalar_steps("validation")
    for tag in our_scalars(events):
        # Some are known at the second drawing: the sanity check here is of a part of the data.
        assert events.scalar_steps(tag) == STEPS[1 if tag.endswith(case.second) and case.second else 0 :]


def our_scalars(events):
    return [tag for tag in events.scalar_tags if "/" in tag]


def test_tags_begin_with_the_callbacks_own_name(case, recorded):
    events = recorded.events
    assert {tag.partition("/")[0] for tag in events.image_tags} == {case.tag}
    assert {tag.partition("/")[0] for tag in our_scalars(events)} <= {case.tag, "viz"}
    assert {tag for tag in our_scalars(events) if tag.startswith("viz/")} == {
        "viz/overhead",
        f"viz/seconds/{case.name}",
    }
    assert any(tag.endswith("/history") for tag in events.image_tags) == case.has_film


def test_tag_replaces_the_first_part(case, recorded, evaluated):
    """In `validate`, which draws the same panels, and in `test`, which has no film strips, and no start to compare with."""
    validated, tested, _ = evaluated
    renamed = {f"mine/{tag.partition('/')[2]}" for tag in recorded.events.image_tags}
    assert set(validated.events.image_tags) == renamed
    assert set(tested.events.image_tags) == {
        f"test/{tag}" for tag in renamed if not tag.endswith(("/history", "/change"))
    }
    for record, prefix in ((validated, "mine/"), (tested, "test/mine/")):
        assert all(tag.startswith((prefix, "viz/")) for tag in our_scalars(record.events))


def test_evaluation_draws_once(evaluated):
    for record in evaluated[:2]:
        events = record.events
        assert events.image_tags
        assert all(events.image_steps(tag) == [0] for tag in events.image_tags)


def test_a_resumed_run_goes_on_where_it_was(case, recorded, tmp_path):
    """From the checkpoint at the end of the recorded training, with another callback, and the same pictures."""
    before, probe = recorded.callback.runner.state, recorded.callback.runner.probes.get("validation")
    again = case.make(history=HISTORY, probe=probe, on_error="raise")
    train(tmp_path, [again], workers=0, max_epochs=EPOCHS + 1, ckpt_path=str(recorded.folder / "end.ckpt"))
    events = Events(tmp_path / "run/version_0")
    assert events.image_tags == recorded.events.image_tags
    assert all(events.image_steps(tag) == [STEPS[-1] + 3] for tag in events.image_tags)
    state = again.runner.state
    assert state.films.keys() == before.films.keys()
    for frames in state.films.values():
        assert [frames[0].step, frames[-1].step, len(frames)] == [0, STEPS[-1] + 3, HISTORY]
    assert type(state) is type(before) is case.callback.State
    for name in case.callback.PINNED:
        assert getattr(state, name) == getattr(before, name) != {}


def test_the_state_is_read_from_a_checkpoint_as_it_was(case, recorded):
    """By `torch.load(weights_only=True)`, too."""
    state = recorded.callback.runner.state
    file = recorded.folder / "state.pt"
    torch.save(state.state_dict(), file)
    read = case.callback.State.from_state_dict(torch.load(file, weights_only=True))
    assert type(read) is type(state)
    assert_same(read, state)
    assert state.last_steps == {"validation": STEPS[-1]}


def assert_same(one, other):
    """Of the same types and values, down to the tensors."""
    assert type(one) is type(other)
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif hasattr(one, "dtype"):
        assert one.dtype == other.dtype
        assert one.tobytes() == other.tobytes()
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    elif hasattr(one, "__dataclass_fields__"):
        assert_same(vars(one) if hasattr(one, "__dict__") else {}, vars(other) if hasattr(other, "__dict__") else {})
    else:
        assert one == other


# 5. No hook, graph or tensor stays behind; see `test_memory` for a thousand draws.


def test_no_hook_stays(recorded):
    assert recorded.left["hooks"]
    assert not any(recorded.left["hooks"])


def test_the_film_stays_bounded(case, recorded):
    films = recorded.callback.runner.state.films
    assert bool(films) == case.has_film
    for frames in films.values():
        assert [frames[0].step, frames[-1].step, len(frames)] == [0, STEPS[-1], HISTORY]


def test_nothing_of_the_loop_is_held_after_the_run(recorded):
    runner = recorded.callback.runner
    assert runner.recording is None
    assert runner.failures == []
    assert not runner.disabled


def test_the_queues_thread_leaves_torch_alone(recorded):
    """Torch, called there, would keep threads for it: with those of training more than there are processors, which then wait
    for each other in every operation."""
    assert recorded.sheets
    assert recorded.torch_calls <= {"aten.detach.default"}  # which computes nothing


# 7. Only true statements.


def test_every_column_of_a_film_strip_has_one_scale(case, recorded):
    assert any(columns == HISTORY for columns, _ in recorded.strips) == case.has_film
    for columns, scales in recorded.strips:
        assert len(scales) == columns
        assert len(set(scales)) == 1
        assert scales[0] is not None


def test_every_tile_says_what_it_is_and_what_its_colours_mean(case, evaluated):
    validated, _, expected = evaluated
    assert validated.sheets
    for sheet in validated.sheets:
        assert re.search(r"step 0$", sheet.title)
        case.check(sheet, expected)


# All together.


def test_the_suite_is_every_callback():
    assert [type(one) for one in viz_callbacks(every_n_epochs=2)] == list(CALLBACKS)
    assert {one.every_n_epochs for one in viz_callbacks(every_n_epochs=2)} == {2}


def test_early_stopping_and_the_suite_get_along(tmp_path):
    stopping = EarlyStopping("validation", patience=0, min_delta=10)
    suite = [case_of(one).make(max_overhead=None) for one in CALLBACKS]
    run = trainer(tmp_path, [stopping, *suite], max_epochs=9)
    run.fit(Lit(), loader(), loader())
    assert run.current_epoch == 2
