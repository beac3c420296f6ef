"""The list of all callbacks, which may also stand as one callback among others."""

import copy
import pickle

import pytest
from pytorch_lightning.callbacks import ModelCheckpoint

from lightning_viz import FilterLogger, VizCallback, viz_callbacks
from lightning_viz.callbacks.suite import CallbackList

from ..stub import Stub, data, fit, tiny
from ..support import Events, trainer


def stubs(*tags):
    return CallbackList(Stub(tag=tag) for tag in tags)


def test_it_is_used_as_a_list():
    made, other = viz_callbacks(), ModelCheckpoint()
    assert all(isinstance(one, VizCallback) for one in made)
    assert [*made, other] == made + [other] == [*(made + [other])]  # noqa: RUF005
    assert len([other] + made) == len(made) + 1  # noqa: RUF005
    assert made[:2] == list(made)[:2]


def test_as_the_trainers_list_it_takes_others(tmp_path):
    """Lightning then sees them as it is made, and adds no checkpoint of its own."""
    callbacks, checkpoint = stubs("a"), ModelCheckpoint(tmp_path)
    callbacks.append(checkpoint)
    run = trainer(tmp_path, callbacks, enable_checkpointing=True)
    assert run.checkpoint_callbacks == [checkpoint]


def test_as_one_callback_it_draws_what_its_callbacks_draw(tmp_path):
    before, callbacks, after = Stub(tag="before"), stubs("a", "b"), Stub(tag="after")
    run = trainer(tmp_path, [before, callbacks, after], max_epochs=1)
    run.fit(tiny(), *data())
    assert [one.steps for one in (before, *callbacks, after)] == [[0, 3]] * 4
    assert [one.tag for one in run.callbacks if isinstance(one, Stub)] == ["before", "a", "b", "after"]
    tags = {"before/images", "a/images", "b/images", "after/images"}
    assert tags <= {*Events(run.logger.log_dir).image_tags}


def test_its_callbacks_are_attached_once(tmp_path):
    callbacks = stubs("a")
    run = trainer(tmp_path, [callbacks], max_epochs=1)
    run.fit(module := tiny(), *data())
    run.validate(module, data()[1], verbose=False)
    run.fit_loop.max_epochs = 2
    run.fit(module, *data())
    assert [one for one in run.callbacks if isinstance(one, Stub)] == [*callbacks]


@pytest.mark.parametrize("nested", [True, False])
def test_a_run_goes_on_from_a_checkpoint_of_either_form(nested, tmp_path):
    """The state of a callback is saved under its own key, however it was attached."""
    checkpoint, callbacks = ModelCheckpoint(tmp_path, save_last=True), stubs("a")
    trainer(tmp_path, [stubs("a"), checkpoint], max_epochs=1, enable_checkpointing=True).fit(tiny(), *data())
    trainer(tmp_path, [callbacks] if nested else callbacks).fit(tiny(), *data(), ckpt_path=tmp_path / "last.ckpt")
    assert [(one.steps, one.runner.state.draws) for one in callbacks] == [([7], 3)]


def test_a_callback_in_it_and_beside_it_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"FilterLogger: in viz_callbacks\(\) and beside it; leave one of them out"):
        fit(tmp_path, FilterLogger(), viz_callbacks())


def test_it_is_copied_and_pickled():
    made = viz_callbacks(max_images=3)
    for other in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        assert isinstance(other, CallbackList)
        assert [one.max_images for one in other] == [3] * len(made)
