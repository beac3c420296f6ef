import pytest

from lightning_viz.runtime.schedule import Schedule

from ..stub import TAGS, Stub, fit


@pytest.mark.parametrize(
    ("options", "trainer_options", "steps"),
    [
        ({"every_n_epochs": 2}, {"max_epochs": 5}, [0, 7, 15]),
        ({"log_at_start": False}, {"max_epochs": 2}, [3, 7]),
        ({"every_n_train_steps": 3}, {"max_epochs": 2}, [0, 2, 5]),
        ({"every_n_train_steps": 1}, {"max_epochs": 1}, [0, 1, 2, 3]),
        ({"every_n_train_steps": 2}, {"max_epochs": 2, "accumulate_grad_batches": 2}, [0, 1, 3]),
        ({}, {"max_epochs": 2, "accumulate_grad_batches": 3}, [0, 1, 3]),
        ({}, {"max_steps": 6, "max_epochs": -1}, [0, 3, 5]),
        ({}, {"max_epochs": 2, "limit_val_batches": 0}, [0, 3, 7]),
        ({}, {"max_epochs": 2, "val_check_interval": 0.5}, [0, 3, 7]),
        ({}, {"max_epochs": 2, "check_val_every_n_epoch": 2, "num_sanity_val_steps": 0}, [0, 3, 7]),
    ],
    ids=[
        "every 2 epochs", "not at start", "every 3 steps", "every step", "every 2 steps, accumulating", "accumulating",
        "max_steps in mid-epoch", "no validation", "validation in mid-epoch", "validation every 2 epochs",
    ],
)  # fmt: skip
def test_when_it_draws(options, trainer_options, steps, tmp_path):
    events = fit(tmp_path, Stub(on_error="raise", **options), **trainer_options)
    assert events.image_tags == TAGS
    for tag in TAGS:
        assert events.image_steps(tag) == steps
    assert events.scalar_steps("stub/draws") == steps
    if "every_n_train_steps" not in options:  # the epoch's scalars are where its pictures are
        assert set(steps[1:]) <= set(events.scalar_steps("loss_epoch"))


def test_in_epochs():
    schedule = Schedule(every_n_epochs=3)
    assert not schedule.in_steps
    assert [epoch for epoch in range(9) if schedule.is_due_after_epoch(epoch)] == [2, 5, 8]
    assert not any(map(schedule.is_due_after_step, range(9)))


def test_in_steps():
    schedule = Schedule(every_n_train_steps=4)
    assert schedule.in_steps
    assert [step for step in range(12) if schedule.is_due_after_step(step)] == [3, 7, 11]
    assert not any(map(schedule.is_due_after_epoch, range(9)))


def test_what_a_validation_loop_records_is_drawn_next():
    """In the sanity check for the first picture; never where no validation loop ends when it draws."""
    schedule = Schedule(every_n_epochs=2)
    assert [schedule.needs_recording(epoch, False) for epoch in range(4)] == [False, True, False, True]
    assert schedule.needs_recording(0, True)
    assert not Schedule(log_at_start=False).needs_recording(0, True)
    assert not Schedule(every_n_train_steps=2).needs_recording(1, False)
    assert not Schedule(every_n_train_steps=2).needs_recording(0, True)
