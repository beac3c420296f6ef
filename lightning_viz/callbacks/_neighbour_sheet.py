"""The nearest neighbours of the probe's pictures, by features and by pixels: the classic comparison."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from lightning_viz.collect.samples import Ints, Samples, finite_rows, shrunk
from lightning_viz.data.probe import Probe
from lightning_viz.methods import nearest
from lightning_viz.methods.features.embeddings import Place, pooled, tapped
from lightning_viz.methods.model.batching import Portions
from lightning_viz.render import INK, RIGHT, WRONG, Caption, Cell, Line, fit_tile
from lightning_viz.runtime.artifacts import Tiles
from lightning_viz.runtime.network import spoken, truths

THUMBNAIL = 48  # pixels
PIXELS = 32  # a side: at which pictures are compared pixel by pixel
TILE = 96  # pixels


@dataclass(frozen=True, eq=False)
class Queries:
    """The pictures of the probe as a network sees them, which are asked for their neighbours."""

    probe: Probe
    features: Mapping[str, Tensor]  #: by layer, (B, D)
    captions: Sequence[Caption]

    @classmethod
    def of(cls, network: nn.Module, probe: Probe, places: Mapping[str, Place], portions: Portions) -> "Queries":
        """With one forward pass for each portion."""
        asked = portions.each(lambda part: cls._ask(network, probe.part(part), places), len(probe))
        features = {name: torch.cat([one[name] for one, _ in asked]) for name in places}
        return cls(probe, features, [caption for _, captions in asked for caption in captions])

    @staticmethod
    def _ask(network: nn.Module, probe: Probe, places: Mapping[str, Place]) -> tuple[dict[str, Tensor], list[Caption]]:
        with torch.no_grad(), ExitStack() as stack:
            taps = {name: stack.enter_context(tapped(network, place)) for name, place in places.items()}
            said = spoken(network(probe.images), probe)
        captions = [(*truth, *words) for truth, words in zip(truths(probe), said, strict=True)]
        return {name: pooled(activations[-1], probe.images) for name, activations in taps.items()}, captions

    def panel(
        self, tag: str, layer: str, samples: Samples, pixels: Tensor, count: int, notes: Sequence[str]
    ) -> Iterator[Tiles]:
        """A row for each picture whose features are finite, with `count` neighbours each way.

        `pixels` are the samples' pictures, to compare.
        """
        own = self.features[layer]
        asked = finite_rows(own, self.probe.images)
        if not len(asked):
            return
        found = self._nearest(own[asked], samples.features[layer].to(own.device), pixels, asked, count)
        spans = [span for span in (1, *(each.shape[1] for each in found)) if span]
        size = "×".join(map(str, pixels.shape[2:]))
        headings = ("picture", "nearest by features", f"nearest by pixels, at {size}")[: len(spans)]
        notes = ("✓ of the picture's class; the picture itself is left out", *notes)
        yield Tiles(tag, partial(self._cells, asked, samples, np.concatenate(found, axis=1)), headings, spans, notes)

    def _nearest(self, queries: Tensor, features: Tensor, pixels: Tensor, asked: Ints, count: int) -> tuple[Ints, Ints]:
        """Of each of these pictures, the nearest samples by features and by pixels, the picture itself left out."""
        own = shrunk(shrunk(self.probe.images[asked], THUMBNAIL), PIXELS).float().cpu()
        distance, index = nearest(own, pixels, 1)
        itself = index[:, 0].where(distance[:, 0] < 1e-3 * pixels[0].numel() ** 0.5, -1)
        by_features, by_pixels = nearest(queries, features, count, itself)[1], nearest(own, pixels, count, itself)[1]
        return by_features.cpu().numpy(), by_pixels.numpy()

    def _cells(self, asked: Ints, samples: Samples, found: Ints) -> list[Cell]:
        """Rows of cells: the picture asked for, then its neighbours, framed by whether they are of its class."""
        probe, images, cells = self.probe, samples.images.numpy(), []
        labels = [-1] * len(probe) if probe.labels is None else probe.labels.tolist()
        for index, row in zip(asked.tolist(), found, strict=True):
            label = labels[index]
            cells.append(Cell((fit_tile(probe.pictures[index], TILE, TILE),), self.captions[index]))
            for image, other in zip(probe.shown(images[row]), samples.labels[row].tolist(), strict=True):
                frame = None if min(label, other) < 0 else RIGHT if label == other else WRONG
                mark = {None: "", RIGHT: "✓ ", WRONG: "✗ "}[frame]
                caption = (Line(f"{mark}{probe.name(other)}", frame or INK),) if other >= 0 else ()
                cells.append(Cell((fit_tile(image, TILE, TILE),), caption, (frame,)))
        return cells
