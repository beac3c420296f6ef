import numpy as np

from lightning_viz.sinks.sink_queue import SinkQueue


class MemorySink:
    """A sink that records its calls."""

    projector = None

    def __init__(self):
        self.pictures, self.scalars, self.flushed = [], [], 0

    def open(self): ...

    def image(self, tag, picture, step):
        self.pictures.append((tag, step, picture))

    def scalar(self, tag, value, step):
        self.scalars.append((tag, step, value))

    def flush(self):
        self.flushed += 1


def test_a_picture_is_rendered_once_for_all_sinks():
    sinks, rendered = [MemorySink(), MemorySink()], []
    queue = SinkQueue(sinks)

    def render():
        rendered.append(np.zeros((4, 4, 3), np.uint8))
        return rendered[-1]

    queue.image("a/b", 7, render, failed=lambda error: None)
    queue.scalar("a/c", 7, 0.5)
    queue.flush()
    assert len(rendered) == 1
    for sink in sinks:
        assert sink.pictures == [("a/b", 7, rendered[0])]
        assert sink.scalars == [("a/c", 7, 0.5)]
        assert sink.flushed == 1


def test_an_error_in_rendering_is_reported_and_the_next_picture_is_written():
    sink, errors = MemorySink(), []
    queue = SinkQueue([sink])
    queue.image("a", 0, lambda: 1 / 0, failed=errors.append)
    queue.image("a", 1, lambda: np.zeros((4, 4, 3), np.uint8), failed=errors.append)
    queue.flush()
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert [step for _, step, _ in sink.pictures] == [1]


def test_an_embedding_without_a_folder_is_not_made():
    queue, errors = SinkQueue([MemorySink()]), []
    queue.embedding("features", lambda: 1 / 0, 20, errors.append)
    queue.flush()
    assert errors == []
