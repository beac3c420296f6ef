"""Time to write and to load Projector snapshots, with `ProjectorSink` and with `SummaryWriter.add_embedding`.

    python -m benchmarks.projector

Both write the same 2,000 points with 512 dimensions, a class and a thumbnail of 64 px each, interleaved in one process.
Then TensorBoard's backend lists both runs, with 20 snapshots each, and sends every tensor, also interleaved. The results are
medians. Takes less than two minutes; files are written to a temporary folder.
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from torch.utils.tensorboard import SummaryWriter
from werkzeug.test import Client

from lightning_viz.sinks.projector_sink import ProjectorSink
from lightning_viz.sinks.snapshot import Snapshot

COUNT, DIMENSIONS, SIDE = 2_000, 512, 64
WRITTEN = 4
LISTED = 20


def seconds(work) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def pictures(random: np.random.Generator) -> np.ndarray:
    """(N, h, w, 3): smooth like photographs, so that PNG can compress them."""
    noise = Image.fromarray(random.integers(0, 255, (2_048, 2_048, 3), np.uint8)).filter(ImageFilter.GaussianBlur(4))
    sheet = np.asarray(noise).astype(float)
    sheet = ((sheet - sheet.mean()) * 5 + 128).clip(0, 255).astype(np.uint8)
    corners = random.integers(0, 2_048 - SIDE, (COUNT, 2))
    return np.stack([sheet[top : top + SIDE, left : left + SIDE] for top, left in corners])


class Board:
    """A newly started projector backend of TensorBoard on a folder."""

    def __init__(self, folder: Path) -> None:
        runs = EventMultiplexer().AddRunsFromDirectory(str(folder)).Reload()
        provider = MultiplexerDataProvider(runs, str(folder))
        apps = ProjectorPlugin(TBContext(logdir=str(folder), data_provider=provider)).get_plugin_apps()
        self._clients = {route: Client(app) for route, app in apps.items()}
        self._run = next(iter(runs.Runs()))

    def names(self) -> list[str]:
        """List the run's embeddings."""
        info = self._clients["/info"].get("/info", query_string={"run": self._run}).json
        return sorted(embedding["tensorName"] for embedding in info["embeddings"])

    def tensor(self, name: str) -> np.ndarray:
        response = self._clients["/tensor"].get("/tensor", query_string={"run": self._run, "name": name})
        return np.frombuffer(response.data, np.float32).reshape(COUNT, DIMENSIONS)


def write(folder: Path) -> tuple[list[float], list[float]]:
    """Seconds of the first few snapshots with the sink and with the writer; afterwards both have 20 snapshots."""
    random = np.random.default_rng(0)
    thumbnails = pictures(random)
    images = torch.from_numpy(thumbnails).permute(0, 3, 1, 2) / 255
    classes = [f"class {number}" for number in random.integers(0, 10, COUNT)]
    sink, writer = ProjectorSink(folder / "sink", max_snapshots=LISTED), SummaryWriter(folder / "writer")
    ours, theirs = [], []
    for step in range(LISTED):
        points = random.standard_normal((COUNT, DIMENSIONS), np.float32)
        snapshot = Snapshot(step, {"features": points}, {"class": classes}, thumbnails)
        ours.append(seconds(partial(sink.write, snapshot)))
        if step < WRITTEN:
            theirs.append(seconds(partial(writer.add_embedding, torch.from_numpy(points), classes, images, step)))
    writer.close()
    # The writer would take minutes for the rest: add entries that name the existing files, which are read for each entry.
    config = next(folder.glob("writer/*.pbtxt"))
    entries = config.read_text()
    copies = [entries.replace('tensor_name: "default:', f'tensor_name: "copy{n}:') for n in range(1, LISTED // WRITTEN)]
    config.write_text("\n".join([entries, *copies]))
    return ours[:WRITTEN], theirs


def load(folder: Path) -> tuple[list[float], list[float]]:
    """Seconds to list the snapshots (first) and to send each tensor, for the files of the sink and of the writer."""
    boards = Board(folder / "sink"), Board(folder / "writer")
    times: tuple[list[float], list[float]] = [], []
    for board, list_ in zip(boards, times, strict=True):
        list_.append(seconds(board.names))
    for names in zip(*(board.names() for board in boards), strict=True):
        for board, name, list_ in zip(boards, names, times, strict=True):
            list_.append(seconds(partial(board.tensor, name)))
    first = [board.tensor(board.names()[0]) for board in boards]
    assert np.allclose(*first, rtol=2e-5)  # the same numbers
    assert all(len(list_) == 1 + LISTED for list_ in times)
    return times


def tables(device: str = "cpu") -> Iterator[str]:
    """Yield the lines of the Markdown table."""
    with tempfile.TemporaryDirectory() as name:
        (first, *later), (first_too, *later_too) = write(Path(name))
        (listed, *sent), (listed_too, *sent_too) = load(Path(name))
    median = statistics.median
    rows = [
        ("write the first snapshot, with its sprite", first, first_too),
        ("write a later snapshot", median(later), median(later_too)),
        (f"TensorBoard lists {LISTED} snapshots", listed, listed_too),
        ("TensorBoard sends one snapshot's tensor", median(sent), median(sent_too)),
    ]
    yield f"{COUNT:,} × {DIMENSIONS}, thumbnails of {SIDE} px:\n"
    yield from ["| | `ProjectorSink` | `add_embedding` | speed-up |", "| --- | ---: | ---: | ---: |"]
    for label, ours, theirs in rows:
        yield f"| {label} | {ours:.3f} s | {theirs:.2f} s | {theirs / ours:.0f} |"
    yield ""


if __name__ == "__main__":
    for line in tables():
        print(line, flush=True)
