"""No hook, graph or tensor stays behind: what is counted is exact, so that a single tensor more per drawing is seen."""

import gc
from collections import Counter

import pytorch_lightning as pl
import torch

from lightning_viz.runtime.session import session_of
from lightning_viz.sinks import tensorboard_sink
from lightning_viz.sinks.sink_queue import SinkQueue

from ..stub import Stub, data, tiny
from ..support import Lit, dataset, loader, quick_suite, trainer


class Counting(pl.Callback):
    """Counts what there is of torch and of ours after these steps, once the queue is empty."""

    def __init__(self, *steps):
        self.steps, self.counts = steps, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step in self.steps:
            session_of(trainer).flush()  # what waits in the queue does not stay
            gc.collect()
            kinds = Counter(type(one) for one in gc.get_objects())
            self.counts.append({kind.__qualname__: count for kind, count in kinds.items() if is_watched(kind)})


def is_watched(kind):
    return issubclass(kind, torch.Tensor) or str(kind.__module__).startswith("lightning_viz")


def more_at_the_end(middle, end):
    """The kinds of which there are more than before, and how many more."""
    return {kind: count - middle.get(kind, 0) for kind, count in end.items() if count > middle.get(kind, 0)}


def draw_at_every_step(folder, watching, module, middle, end):
    """The counts in the middle and at the end."""
    counting = Counting(middle, end)
    options = {"max_steps": end + 1, "max_epochs": -1, "log_every_n_steps": 10**6, "check_val_every_n_epoch": 10**6}
    many, few = (loader(dataset(count), batch_size=8) for count in (160, 8))  # epochs of twenty steps
    trainer(folder, [*watching, counting], **options).fit(module, many, few)
    assert [one.runner.state.last_steps for one in watching] == [{"validation": end}] * len(watching)
    return counting.counts


def test_nothing_stays_behind_of_any_callback(tmp_path, monkeypatch):
    """Without the painting, whose share of the memory is in `promises`. The film strips are full after eight drawings."""
    monkeypatch.setattr(SinkQueue, "image", lambda *args: None)
    module = Lit()
    watching = quick_suite(every_n_train_steps=1, max_images=2, on_error="raise")
    middle, end = draw_at_every_step(tmp_path, watching, module, 40, 80)
    assert more_at_the_end(middle, end) == {}
    for part in module.modules():
        assert not part._forward_hooks
        assert not part._forward_pre_hooks
        assert not part._backward_hooks


def test_a_thousand_drawings_leave_nothing_behind(tmp_path, monkeypatch):
    """Film strips, scalars, states and predictions."""
    monkeypatch.setattr(SinkQueue, "image", lambda *args: None)
    monkeypatch.setattr(tensorboard_sink, "check_disk_space", lambda *args: None)  # half of its time
    watching = [Stub(every_n_train_steps=1, max_images=2, history=3, on_error="raise")]
    middle, end = draw_at_every_step(tmp_path, watching, tiny(), 500, 1000)
    assert more_at_the_end(middle, end) == {}
    assert [len(frames) for frames in watching[0].runner.state.films.values()] == [3]
    assert watching[0].steps == list(range(1001))


def test_the_film_and_the_queue_stay_bounded(tmp_path):
    history = 3
    watching = Stub(every_n_train_steps=1, max_images=2, history=history)
    trainer(tmp_path, [watching], max_steps=40, max_epochs=-1).fit(tiny(), *data())
    (frames,) = watching.runner.state.films.values()
    assert [frames[0].step, frames[-1].step, len(frames)] == [0, 39, history]
