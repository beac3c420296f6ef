from dataclasses import dataclass, field

import numpy as np
import pytest
import torch

from lightning_viz import Probe
from lightning_viz.render.film_strip import Frame
from lightning_viz.render.text import RIGHT, Line
from lightning_viz.runtime.state import FORMAT, CallbackState

from ..contract.test_every_callback import assert_same
from ..stub import Stub, StubState, data, fit, tiny
from ..support import trainer


@dataclass
class Part:
    digest: str
    values: torch.Tensor


@dataclass
class Everything(CallbackState):
    """A field of each kind that may be stored."""

    number: int = 0
    name: str | None = None
    flags: dict[str, bool] = field(default_factory=dict)
    lists: dict[str, list[int]] = field(default_factory=dict)
    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    array: np.ndarray | None = None
    parts: dict[str, Part] = field(default_factory=dict)


@pytest.fixture
def state():
    frame = Frame.of(3, np.random.rand(2, 4, 4).astype(np.float32), [(Line("✓ cat 0.93", RIGHT),), ()])
    return Everything(
        {"validation": 7, "test": 3},
        {"stub/images": (frame, frame), "stub/other": ()},
        "network.1",
        "abc",
        torch.rand(2, 3, 4, 4),
        None,
        5,
        "network.0",
        {"a": True},
        {"b": [1, 2], "c": []},
        {"d": torch.rand(3, dtype=torch.float64)},
        np.arange(4, dtype=np.int64),
        {"e": Part("f", torch.arange(3))},
    )


def test_it_comes_back_as_it_was(state, tmp_path):
    torch.save(state.state_dict(), tmp_path / "state.pt")
    read = Everything.from_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert_same(read, state)
    assert read.films["stub/images"][0].captions == state.films["stub/images"][0].captions
    assert_same(read.films["stub/images"][0].raw, state.films["stub/images"][0].raw)


def test_an_empty_one_comes_back(tmp_path):
    torch.save(CallbackState().state_dict(), tmp_path / "state.pt")
    assert_same(CallbackState.from_state_dict(torch.load(tmp_path / "state.pt", weights_only=True)), CallbackState())


def test_a_field_that_was_added_since_has_its_default(state):
    stored = state.state_dict()
    del stored["number"]
    assert Everything.from_state_dict({**stored, "no_longer": 1}).number == 0


@pytest.mark.parametrize("stored", [{}, {"format": FORMAT - 1}, {"films": {}, "kept": {}}])
def test_another_format_is_refused(stored):
    with pytest.raises(ValueError, match=rf"format .*, and this version reads {FORMAT}"):
        CallbackState.from_state_dict(stored)


def test_films_go_on_with_the_same_pictures_only():
    images = torch.rand(2, 3, 4, 4)
    state = CallbackState(films={"stub/images": ()})
    state.probe_digest = None
    assert not state.follow(Probe(images))
    assert state.films == {}
    state.films["stub/images"] = ()
    assert state.follow(Probe(images.clone()))
    assert state.films
    assert not state.follow(Probe(images / 2))
    assert state.films == {}


def test_a_checkpoint_of_the_old_format_gives_one_warning_and_empty_film_strips(tmp_path, our_warnings):
    first = Stub()
    run = trainer(tmp_path, [first], max_epochs=1)
    run.fit(tiny(), *data())
    run.save_checkpoint(tmp_path / "saved.ckpt")
    stored = torch.load(tmp_path / "saved.ckpt", weights_only=False)
    stored["callbacks"][first.state_key] = {"last": {"fit": 3}, "films": {"stub/images": []}, "hardest": None}
    torch.save(stored, tmp_path / "saved.ckpt")
    second = Stub(on_error="raise")
    run = trainer(tmp_path, [second], max_epochs=2)
    run.fit(tiny(), *data(), ckpt_path=str(tmp_path / "saved.ckpt"))
    (warning,) = our_warnings()
    assert "starts with empty film strips" in warning
    assert "format" in warning
    assert second.steps == [4, 7]
    assert [[frame.step for frame in frames] for frames in second.runner.state.films.values()] == [[4, 7]]


def test_a_callback_has_the_state_of_its_class(tmp_path):
    stub = Stub()
    assert type(stub.runner.state) is StubState
    fit(tmp_path, stub)
    assert stub.runner.state.draws == 2
    with pytest.raises(TypeError, match="set State = Everything"):
        stub.ctx.state(Everything)
