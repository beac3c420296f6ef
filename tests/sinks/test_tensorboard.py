import io
from threading import Event

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from lightning_viz.sinks import TensorBoardSink

from ..support import Events


def test_pictures_and_scalars_are_on_disk_after_flush(tmp_path):
    writer = SummaryWriter(tmp_path)
    sink = TensorBoardSink(lambda: writer)
    picture = np.random.randint(0, 255, (20, 30, 3), np.uint8)
    for step in (0, 7):
        sink.image("a/b", step, lambda: picture, failed=lambda error: None)
        sink.scalar("a/c", step, step / 2)
    sink.flush()
    events = Events(tmp_path)
    assert events.image_steps("a/b") == events.scalar_steps("a/c") == [0, 7]
    assert (np.asarray(Image.open(io.BytesIO(events.pictures("a/b")[0]))) == picture).all()


def test_an_error_in_painting_is_told_and_the_next_picture_is_written(tmp_path):
    writer = SummaryWriter(tmp_path)
    sink = TensorBoardSink(lambda: writer)
    errors = []
    sink.image("a", 0, lambda: 1 / 0, failed=errors.append)
    sink.image("a", 1, lambda: np.zeros((4, 4, 3), np.uint8), failed=errors.append)
    sink.flush()
    assert [type(error) for error in errors] == [ZeroDivisionError]
    assert Events(tmp_path).image_steps("a") == [1]


def test_a_closed_writer_is_opened_before_the_worker_writes(tmp_path):
    """As in a second fit: training may write at that moment, too, and a second file would be in no order with the first."""
    writer, painted = SummaryWriter(str(tmp_path)), Event()
    writer.close()
    sink = TensorBoardSink(lambda: writer)
    sink.image("late", 0, lambda: painted.wait() and np.zeros((4, 4, 3), np.uint8), print)
    opened = writer.file_writer
    painted.set()
    sink.flush()
    assert opened is writer.file_writer is not None
    writer.close()
