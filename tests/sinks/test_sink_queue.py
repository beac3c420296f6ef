import numpy as np

from lightning_viz.sinks import SinkQueue


class Kept:
    """A sink that keeps what it is given."""

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


def test_all_sinks_get_the_one_painting():
    sinks, painted = [Kept(), Kept()], []
    queue = SinkQueue(sinks)

    def paint():
        painted.append(np.zeros((4, 4, 3), np.uint8))
        return painted[-1]

    queue.image("a/b", 7, paint, failed=lambda error: None)
    queue.scalar("a/c", 7, 0.5)
    queue.flush()
    assert len(painted) == 1
    for sink in sinks:
        assert sink.pictures == [("a/b", 7, painted[0])]
        assert sink.scalars == [("a/c", 7, 0.5)]
        assert sink.flushed == 1


def test_an_error_in_painting_is_told_and_the_next_picture_is_written():
    sink, errors = Kept(), []
    queue = SinkQueue([sink])
    queue.image("a", 0, lambda: 1 / 0, failed=errors.append)
    queue.image("a", 1, lambda: np.zeros((4, 4, 3), np.uint8), failed=errors.append)
    queue.flush()
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert [step for _, step, _ in sink.pictures] == [1]


def test_an_embedding_without_a_place_is_not_even_made():
    queue, errors = SinkQueue([Kept()]), []
    queue.embedding("features", lambda: 1 / 0, 20, errors.append)
    queue.flush()
    assert errors == []
