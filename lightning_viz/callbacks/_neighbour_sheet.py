"""The nearest neighbours of the probe's pictures, by features and by pixels, side by side."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lightning_viz.collect.samples import Ints, Samples
from lightning_viz.data.probe import Probe
from lightning_viz.methods import nearest
from lightning_viz.methods.features.downscale import downscale
from lightning_viz.methods.features.embeddings import EmbeddingSource, read_embeddings
from lightning_viz.methods.features.points import finite_rows
from lightning_viz.render.sheet import Cell, fit_tile
from lightning_viz.render.text import RIGHT, WRONG, Caption, marked_line
from lightning_viz.runtime.artifacts import TileGrid
from lightning_viz.runtime.captions import label_captions
from lightning_viz.runtime.context import DrawContext

THUMBNAIL = 48  # pixels
PIXELS = 32  # a side: at which pictures are compared pixel by pixel
TILE = 96  # pixels


@dataclass(frozen=True, eq=False)
class NeighbourQueries:
    """The pictures of the probe with their features, whose neighbours are searched."""

    probe: Probe
    features: Mapping[str, Tensor]  #: by layer, (B, D)
    captions: Sequence[Caption]

    @classmethod
    def of(cls, ctx: DrawContext, sources: Mapping[str, EmbeddingSource]) -> "NeighbourQueries":
        """With one forward pass."""
        images = ctx.probe.images
        parts = ctx.auto_batch.map(lambda part: read_embeddings(ctx.network, images[part], sources), len(images))
        features = {name: torch.cat([part[name] for part in parts]) for name in sources}
        captions = [(*true, *said) for true, said in zip(label_captions(ctx.probe), ctx.captions, strict=True)]
        return cls(ctx.probe, features, captions)

    def grid(
        self, tag: str, layer: str, samples: Samples, pixels: Tensor, count: int, notes: Sequence[str]
    ) -> Iterator[TileGrid]:
        """A row for each picture whose features are finite, with `count` neighbours each way.

        `pixels` are the samples' pictures at `PIXELS` a side, to compare.
        """
        own = self.features[layer]
        rows = finite_rows(own, self.probe.images)
        if not len(rows):
            return
        queries = downscale(downscale(self.probe.images[rows], THUMBNAIL), PIXELS).float().cpu()
        distance, index = nearest(queries, pixels, 1)
        itself = index[:, 0].where(distance[:, 0] < 1e-3 * pixels[0].numel() ** 0.5, -1)
        by_features = nearest(own[rows], samples.features[layer].to(own.device), count, itself)[1].cpu().numpy()
        found = by_features, nearest(queries, pixels, count, itself)[1].numpy()
        spans = [span for span in (1, *(each.shape[1] for each in found)) if span]
        size = "×".join(map(str, pixels.shape[2:]))
        headings = ("picture", "nearest by features", f"nearest by pixels, at {size}")[: len(spans)]
        marked = max(self.probe.label_list) >= 0 and (samples.labels >= 0).any()
        notes = ("✓ same class as the query picture; query excluded" if marked else "query excluded", *notes)
        yield TileGrid(tag, partial(self._cells, rows, samples, np.concatenate(found, axis=1)), headings, spans, notes)

    def _cells(self, rows: Ints, samples: Samples, found: Ints) -> list[Cell]:
        """Rows of cells: the query, then its neighbours, framed by whether they are of its class."""
        probe, images, cells = self.probe, samples.images.numpy(), []
        labels = probe.label_list
        for index, neighbours in zip(rows.tolist(), found, strict=True):
            cells.append(Cell((fit_tile(probe.pictures[index], TILE, TILE),), self.captions[index]))
            pictures, others = probe.to_pixels(images[neighbours]), samples.labels[neighbours].tolist()
            for image, other in zip(pictures, others, strict=True):
                same = None if min(labels[index], other) < 0 else labels[index] == other
                caption = (marked_line(probe.class_name(other), same),) if other >= 0 else ()
                frame = {None: None, True: RIGHT, False: WRONG}[same]
                cells.append(Cell((fit_tile(image, TILE, TILE),), caption, (frame,)))
        return cells
