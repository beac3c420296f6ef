"""Writer: from what a callback yields to the loggers: sheet, film strip, scalar, each under its tag and step."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256

from torch import Tensor

from lightning_viz.methods.features.downscale import downscale
from lightning_viz.render.colour import Pixels, Values
from lightning_viz.render.film_strip import TILE, Frame, render_film_strip, thin
from lightning_viz.render.map_sheet import MapSheet, render_map_film, render_map_sheet
from lightning_viz.render.scatter import ScatterFrame, render_scatter, render_scatter_film
from lightning_viz.render.sheet import render_sheet
from lightning_viz.render.text import Caption, one_line
from lightning_viz.sinks.sink_queue import SinkQueue
from lightning_viz.sinks.snapshot import Snapshot

from .artifacts import Artifact, Embedding, Panel, Scalar, Scatter, TileGrid
from .captions import label_captions
from .context import DrawContext
from .state import CallbackState

LONGEST_TAG = 200  # characters


@dataclass(frozen=True, eq=False)
class Writer:
    """Writes one drawing of one callback. Tensors are copied at once; pictures are rendered in the queue's thread."""

    queue: SinkQueue
    context: DrawContext
    state: CallbackState  #: whose film strips are continued
    prefix: str | None  #: the callback's `tag=`, for the first part of the tags
    history: int  #: columns of a film strip; 0 for none
    failed: Callable[[Exception], None]  #: gets the errors of the queue's thread
    replaced: set[str] = field(
        default_factory=set
    )  #: the tag of the only panel, where a prefix with a slash stands for it

    def write_all(self, artifacts: Iterable[Artifact]) -> None:
        """All of a drawing, one by one; a tag with a slash needs to know all of them first."""
        if self._replaces_all:
            artifacts = [*artifacts]
            tags = sorted(one.tag for one in artifacts if isinstance(one, Panel | TileGrid | Scatter))
            if all(tag == tags[0] or tag.startswith(f"{tags[0]}/") for tag in tags):
                self.replaced.update(tags[:1])
        for artifact in artifacts:
            self.write(artifact)

    def write(self, artifact: Artifact) -> None:
        match artifact:
            case Panel():
                self._panel(artifact)
            case TileGrid():
                self._tile_grid(artifact)
            case Scatter():
                self._scatter(artifact)
            case Embedding():
                self._embedding(artifact)
            case Scalar():
                self.queue.scalar(self._tag(artifact.tag), self.context.step, artifact.value)
            case _:
                remedy = "yield Panel, TileGrid, Scatter, Embedding or Scalar"
                raise TypeError(f"draw() yielded {type(artifact).__name__}; {remedy}")

    @property
    def _has_film(self) -> bool:
        return self.history > 0 and self.context.has_history

    def _panel(self, panel: Panel) -> None:
        tag = self._tag(panel.tag)
        maps = [_copied(one) for one in ([panel.values] if isinstance(panel.values, Tensor) else panel.values)]
        labels = _of_items(panel, label_captions(self.context.probe)) if panel.labels is None else panel.labels
        captions = _of_items(panel, self.context.captions) if panel.captions is None else panel.captions
        look = panel.columns, panel.beside, panel.notes, panel.common_scale, panel.size
        sheet = MapSheet(maps, panel.painter, labels, captions, *look)
        self._image(tag, lambda title: render_map_sheet(sheet, title))
        values = panel.values if isinstance(panel.values, Tensor) else panel.values[0]
        rows = list(range(len(values)) if panel.film is None else panel.film)
        if self._has_film and rows and not panel.columns:
            values = downscale(values if panel.film is None else values[rows], TILE)
            frames = self._extended(tag, Frame.of(self.context.step, _copied(values), [captions[row] for row in rows]))
            self._image(f"{tag}/history", lambda title: render_map_film(sheet, frames, rows, title))

    def _tile_grid(self, grid: TileGrid) -> None:
        tag, column = self._tag(grid.tag), grid.film
        sheet = partial(render_sheet, headings=grid.headings, spans=grid.spans, painter=grid.painter, ends=grid.ends)
        self._image(tag, lambda title: sheet(grid.cells(), title, grid.notes))
        if column is None or not self._has_film:
            return
        values = _copied(downscale(column.values, TILE))
        frames = self._extended(tag, Frame.of(self.context.step, values, column.captions))
        rows = column.painter, column.labels, column.pictures
        self._image(f"{tag}/history", lambda title: render_film_strip(frames, title, column.notes, *rows))

    def _scatter(self, item: Scatter) -> None:
        tag, points = self._tag(item.tag), _copied(item.points)
        cloud = ScatterFrame(self.context.step, points, item.shares, item.correct)
        self._image(tag, lambda title: render_scatter(cloud, title, item.notes, item.labels, item.name))
        if not self._has_film:
            return
        if item.restart_film:
            self.state.films.pop(tag, None)
        frames = self._extended(tag, Frame.of(self.context.step, _copied(item.film)[None], []))
        clouds = [ScatterFrame(frame.step, frame.raw[0]) for frame in frames]
        notes = [*item.notes, *([f"{len(item.film)} of them are shown here"] if len(item.film) < len(points) else [])]
        known = notes, item.film_labels, item.name
        self._image(f"{tag}/history", lambda title: render_scatter_film(clouds, title, *known))

    def _embedding(self, item: Embedding) -> None:
        if self.queue.projector is None:
            self.context.warn(
                "lightning_viz writes nothing for the Projector, which needs a TensorBoardLogger with a folder on this "
                "machine; the pictures and scalars of the embedding are logged"
            )
            return
        split = [] if self.context.has_history else [self.context.split]
        name = "-".join([*split, item.name, *([self.prefix] if self.prefix else [])])
        points = {title: _copied(values) for title, values in item.points.items()}
        step = max(self.context.step, 0)
        self.queue.embedding(
            name, lambda: Snapshot(step, points, item.metadata, item.thumbnails()), item.max_snapshots, self.failed
        )

    def _extended(self, tag: str, frame: Frame) -> tuple[Frame, ...]:
        frames = self.state.films[tag] = thin([*self.state.films.get(tag, ()), frame], self.history)
        return frames

    def _image(self, tag: str, render: Callable[[str], Pixels]) -> None:
        title = tag if tag.endswith("/history") else f"{tag} · step {self.context.step}"
        self.queue.image(tag, self.context.step, lambda: render(title), self.failed)

    @property
    def _replaces_all(self) -> bool:
        return self.prefix is not None and "/" in self.prefix.strip("/")

    def _tag(self, tag: str) -> str:
        whole = (one for one in self.replaced if tag == one or tag.startswith(f"{one}/"))
        first = next(whole, tag.partition("/")[0])
        tag = f"{self.prefix or first}{tag[len(first) :]}"
        return clean_tag(tag if self.context.has_history else f"{self.context.split}/{tag}")


def _copied(values: Tensor) -> Values:
    """A copy on the CPU, float32: weights change while the picture is rendered."""
    return values.detach().float().cpu().numpy().copy()


def clean_tag(text: str) -> str:
    """A tag for TensorBoard, on one line and of bounded length; different texts get different tags."""
    tag = one_line(text)
    if tag == text and len(tag) <= LONGEST_TAG:
        return tag
    return f"{tag[: LONGEST_TAG - 9]}-{sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _of_items(panel: Panel, captions: Sequence[Caption]) -> Sequence[Caption]:
    """Those of the pictures that a panel shows."""
    return captions if panel.items is None else [captions[one] for one in panel.items]
