import io
from threading import Event

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from lightning_viz.sinks.sink_queue import SinkQueue
from lightning_viz.sinks.tensorboard_sink import TensorBoardSink

from ..support import Events


def test_pictures_and_scalars_are_on_disk_after_flush(tmp_path):
    writer = SummaryWriter(tmp_path)
    sink = TensorBoardSink(lambda: writer)
    picture = np.random.randint(0, 255, (20, 30, 3), np.uint8)
    for step in (0, 7):
        sink.image("a/b", picture, step)
        sink.scalar("a/c", step / 2, step)
    sink.flush()
    events = Events(tmp_path)
    assert events.image_steps("a/b") == events.scalar_steps("a/c") == [0, 7]
    assert (np.asarray(Image.open(io.BytesIO(events.pictures("a/b")[0]))) == picture).all()


def test_the_projectors_folder_is_the_writers(tmp_path):
    writer = SummaryWriter(tmp_path)
    assert TensorBoardSink(lambda: writer).projector == tmp_path


def test_a_closed_writer_is_opened_before_the_worker_writes(tmp_path):
    """As in a second fit: the training may write at the same time, and two files would have no defined order."""
    writer, rendered = SummaryWriter(str(tmp_path)), Event()
    writer.close()
    queue = SinkQueue([TensorBoardSink(lambda: writer)])
    queue.image("late", 0, lambda: rendered.wait() and np.zeros((4, 4, 3), np.uint8), print)
    opened = writer.file_writer
    rendered.set()
    queue.flush()
    assert opened is writer.file_writer is not None
    writer.close()
