import pytest

from lightning_viz.runtime.errors import ErrorReporter
from lightning_viz.sinks.disk_space import DiskError

from ..stub import Stub, fit, tiny


@pytest.fixture
def reporter():
    said = []
    reporter = ErrorReporter(said.append)
    reporter.said = said
    return reporter


def test_each_message_is_given_once(reporter):
    for message in ("one", "two", "one"):
        reporter.warn(message)
    assert reporter.said == ["one", "two"]


def test_each_cause_is_given_once_for_all_callbacks(reporter):
    for name in ("A", "B", "A"):
        reporter.callback_failed(name, RuntimeError("no paint left"))
    reporter.callback_failed("C", RuntimeError("no canvas left"))
    assert len(reporter.said) == 2
    first, second = reporter.said
    assert first.startswith("A failed")
    assert "RuntimeError: no paint left" in first
    assert "on_error='raise'" in first
    assert second.startswith("C failed")


def test_the_disk_is_of_no_callback(reporter):
    reporter.callback_failed("A", DiskError("the disk is full"))
    reporter.callback_failed("B", DiskError("the disk is full"))
    (message,) = reporter.said
    assert message.startswith("lightning_viz is disabled")
    assert "the disk is full" in message


def test_one_that_fails_is_disabled_and_the_others_go_on(tmp_path, our_warnings):
    failing, good, module = Stub(RuntimeError("no paint left"), tag="bad"), Stub(tag="good"), tiny()
    events = fit(tmp_path, failing, good, module=module, max_epochs=2)
    assert (failing.steps, good.steps) == ([0], [0, 3, 7])
    assert {tag.partition("/")[0] for tag in events.image_tags} == {"good"}
    assert len(module.losses) == 8
    (warning,) = our_warnings()
    assert "Stub failed" in warning
    assert failing.runner.disabled
    assert failing.runner.failures == []


def test_several_with_one_cause_are_warned_of_once(tmp_path, our_warnings):
    stubs = [Stub(RuntimeError("no paint left"), tag=tag) for tag in ("one", "two", "three")]
    fit(tmp_path, *stubs, max_epochs=2)
    assert [one.steps for one in stubs] == [[0]] * 3
    assert len(our_warnings()) == 1


@pytest.mark.parametrize("option", [{}, {"history": 0}])
def test_a_failure_while_rendering_is_a_failure(option, tmp_path, monkeypatch, our_warnings):
    """In the queue's thread; noticed at the next drawing, or at the end."""

    def fail(*args, **options):
        raise RuntimeError("no paint left")

    monkeypatch.setattr("lightning_viz.render.map_sheet.render_sheet", fail)
    module, stub = tiny(), Stub(**option)
    fit(tmp_path, stub, module=module, max_epochs=3)
    (warning,) = our_warnings()
    assert "no paint left" in warning
    assert stub.runner.disabled
    assert len(stub.steps) < 4
    assert len(module.losses) == 12


def test_on_error_raise_raises(tmp_path):
    with pytest.raises(RuntimeError, match="no paint left"):
        fit(tmp_path, Stub(RuntimeError("no paint left"), on_error="raise"))


def test_a_message_of_a_cause_that_was_told_is_not_told_again(reporter):
    for message, cause in (("2 batches", "loop"), ("4 batches", "loop"), ("no batches", None)):
        reporter.warn(message, cause)
    assert reporter.said == ["2 batches", "no batches"]
