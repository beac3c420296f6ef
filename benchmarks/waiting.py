"""How long training waits while a grid of images is logged, here and with `SummaryWriter.add_image`.

    python -m benchmarks.waiting [--device cuda]

Two rows of eight maps over images of 224 pixels. `SummaryWriter.add_image` gets the finished grid, ours also renders it.
"""

import argparse
import tempfile
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from benchmarks.timing import by_turns
from lightning_viz.data.probe import Probe
from lightning_viz.render.colour import Overlay
from lightning_viz.runtime.artifacts import Panel
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.state import CallbackState
from lightning_viz.runtime.writer import Writer
from lightning_viz.sinks.sink_queue import SinkQueue
from lightning_viz.sinks.tensorboard_sink import TensorBoardSink

COUNT, SIDE = 16, 224


def tables(device: str) -> Iterator[str]:
    """Yield the lines of the Markdown table."""
    images = torch.rand(COUNT, 3, SIDE, SIDE, device=device)
    maps = torch.rand(COUNT, SIDE, SIDE, device=device)
    probe = Probe(images, torch.arange(COUNT) % 10)
    grid = np.random.default_rng(0).integers(0, 255, (2 * SIDE, 8 * SIDE, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        writer = SummaryWriter(folder)
        queue = SinkQueue([TensorBoardSink(lambda: writer)])
        captions = [()] * COUNT  # computing them takes a forward pass, which is not part of logging
        panel = Panel("saliency/gradient", maps, Overlay(probe.pictures), captions=captions, size=SIDE)
        state, nothing = CallbackState(), None  # neither data nor predictions are asked for
        context = DrawContext(
            nothing, probe, "validation", 0, 0, nothing, nothing, nothing, print, {}, state, None, nothing
        )

        def ours() -> None:
            Writer(queue, context, state, None, 8, print).write(panel)

        runs = {
            "`add_image`": lambda: writer.add_image("grid", grid, 0, dataformats="HWC"),
            "a panel of 2 × 8 maps over images, and its film strip": ours,
        }
        times = by_turns(runs, 15, device, queue.flush)
        queue.flush()
        writer.close()
    yield from ["| training waits for | ms, median | quartiles |", "| --- | ---: | ---: |"]
    for name, one in times.items():
        first, third = one.spread
        yield f"| {name} | {1000 * one.median:.1f} | {1000 * first:.1f} to {1000 * third:.1f} |"
    yield ""


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    for line in tables(parser.parse_args().device):
        print(line, flush=True)
