"""What a panel says of its maps, down to the pixels in the event file."""

from io import BytesIO

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageDraw
from torch import nn

from lightning_viz import GradCAMLogger, Panel, Probe, SaliencyLogger, Scalar
from lightning_viz.render.colour import NOT_FINITE, Heatmap
from lightning_viz.render.sheet import Cell
from lightning_viz.render.text import LINE_HEIGHT, Line, draw_lines, font
from lightning_viz.runtime import writer as writer_module
from lightning_viz.runtime.artifacts import Embedding, FilmColumn, Scatter, TileGrid
from lightning_viz.runtime.state import CallbackState
from lightning_viz.runtime.writer import Writer, clean_tag

from ..callbacks.context import make_context
from ..stub import tiny
from ..support import CLASSES, Events, Lit, loader, trainer

SIDE = 132  # of a tile: twelve pixels, enlarged


class Queue:
    """Takes everything, and renders at once."""

    projector = "folder"

    def __init__(self):
        self.images, self.scalars, self.embeddings = [], [], []

    def image(self, tag, step, render, failed):
        try:
            assert render().ndim == 3
        except RuntimeError as error:
            failed(error)
        self.images.append((tag, step))

    def scalar(self, tag, step, value):
        self.scalars.append((tag, step, value))

    def embedding(self, name, make, max_snapshots, failed):
        self.embeddings.append((name, make().step, max_snapshots))


def writing(prefix=None, history=3, split="validation", step=5, state=None, failed=None):
    """A writer without a trainer, and its queue."""
    images = torch.rand(2, 3, 4, 4)
    context = make_context(tiny().eval(), Probe(images, torch.tensor([0, 1])), split=split, step=step)
    queue = Queue()
    failures = [] if failed is None else failed
    return Writer(queue, context, state or CallbackState(), prefix, history, failures.append), queue


def artifacts(tag="kind/part"):
    """One of each that makes a picture, with its film strip."""
    maps, lines = torch.rand(2, 4, 4), [(), ()]
    film = FilmColumn(maps, Heatmap(), lines, lines, np.zeros((2, 4, 4, 3), np.uint8))
    cells = [Cell((np.zeros((4, 4, 3), np.uint8),))] * 2
    points = torch.rand(3, 2)
    return {
        "panel": Panel(tag, maps, Heatmap()),
        "grid": TileGrid(tag, lambda: cells, ["one", "two"], [1, 1], film=film),
        "scatter": Scatter(tag, points, (0.5, 0.2), np.arange(3), None, str, (), points, np.arange(3)),
    }


@pytest.mark.parametrize("kind", ["panel", "grid", "scatter"])
@pytest.mark.parametrize(
    ("options", "tags"),
    [
        ({}, ["kind/part", "kind/part/history"]),
        ({"prefix": "mine"}, ["mine/part", "mine/part/history"]),
        ({"history": 0}, ["kind/part"]),
        ({"split": "test"}, ["test/kind/part"]),
        ({"split": "test", "prefix": "mine"}, ["test/mine/part"]),
    ],
)
def test_a_picture_and_its_film_strip(kind, options, tags):
    writer, queue = writing(**options)
    writer.write(artifacts()[kind])
    assert queue.images == [(tag, 5) for tag in tags]
    assert list(writer.state.films) == tags[:1] * (len(tags) - 1)


@pytest.mark.parametrize("kind", ["panel", "grid", "scatter"])
def test_film_strips_are_bounded(kind):
    state = CallbackState()
    for step in range(9):
        writing(step=step, state=state)[0].write(artifacts()[kind])
    (frames,) = state.films.values()
    assert [frames[0].step, frames[-1].step, len(frames)] == [0, 8, 3]


@pytest.mark.parametrize(("tag", "prefix", "written"), [("plain", None, "plain"), ("plain", "mine", "mine")])
def test_a_tag_without_a_slash_ends_in_none(tag, prefix, written):
    writer, queue = writing(prefix=prefix)
    writer.write(artifacts(tag)["panel"])
    assert [tag for tag, _ in queue.images] == [written, f"{written}/history"]


def test_a_tag_with_a_slash_replaces_the_whole_tag_of_a_single_panel():
    writer, queue = writing(prefix="compare/last")
    panels = [artifacts(f"gradcam/layer4{rest}")["panel"] for rest in ("", "/true_and_predicted")]
    writer.write_all([*panels, Scalar("gradcam/layer4/dead", 1.0), Scalar("gradcam/other", 1.0)])
    tags = [tag for tag, _ in queue.images if not tag.endswith("/history")]
    assert tags == ["compare/last", "compare/last/true_and_predicted"]
    assert [tag for tag, *_ in queue.scalars] == ["compare/last/dead", "compare/last/other"]


def test_a_tag_with_a_slash_keeps_what_tells_several_panels_apart():
    writer, queue = writing(prefix="compare/last")
    writer.write_all([artifacts(f"gradcam/layer{one}")["panel"] for one in (3, 4)])
    tags = [tag for tag, _ in queue.images if not tag.endswith("/history")]
    assert tags == ["compare/last/layer3", "compare/last/layer4"]


def test_numbers_and_snapshots():
    writer, queue = writing(prefix="mine", step=-1)
    writer.write(Scalar("kind/number", 2.0))
    pictures = lambda: np.zeros((2, 4, 4, 3), np.uint8)  # noqa: E731
    writer.write(Embedding("projector", {"layer": torch.rand(2, 3)}, {"class": ["a", "b"]}, pictures, 7))
    assert queue.scalars == [("mine/number", -1, 2.0)]
    assert queue.embeddings == [("projector-mine", 0, 7)]


@pytest.mark.parametrize("kind", ["panel", "grid", "scatter"])
def test_a_failure_while_rendering_is_reported(kind, monkeypatch):
    def fail(*args, **options):
        raise RuntimeError("no paint left")

    for name in ("render_sheet", "render_map_sheet", "render_scatter"):
        monkeypatch.setattr(writer_module, name, fail)
    failed = []
    writer, _ = writing(history=0, failed=failed)
    writer.write(artifacts()[kind])
    assert [str(error) for error in failed] == ["no paint left"]


def test_what_is_no_artifact_is_named():
    with pytest.raises(TypeError, match=r"draw\(\) yielded int; yield Panel, TileGrid"):
        writing()[0].write(3)


def test_tags_are_on_one_line_bounded_and_distinct():
    long = "a" * 1000
    assert clean_tag("kind/part") == "kind/part"
    assert "\n" not in clean_tag("a\nb")
    assert clean_tag("a\nb") != clean_tag("a\tb")
    assert len(clean_tag(long)) <= 200
    assert clean_tag(long) != clean_tag(long + "b")


def test_values_are_copied_when_they_are_written(monkeypatch):
    """What is drawn is the weight of that step, whenever it is rendered."""
    seen = []
    monkeypatch.setattr(
        writer_module,
        "render_map_sheet",
        lambda sheet, title: seen.append(sheet.maps[0]) or np.zeros((4, 4, 3), np.uint8),
    )
    writer, _ = writing(history=0)
    weight = torch.rand(2, 4, 4)
    writer.write(Panel("kind/weights", weight, Heatmap()))
    assert np.array_equal(seen[0], weight.numpy())
    assert not np.shares_memory(seen[0], weight.numpy())


def test_large_maps_are_remembered_at_the_size_of_a_tile():
    """As Pillow shrinks pictures."""
    maps = torch.rand(2, 300, 150)
    writer, _ = writing()
    writer.write(Panel("large/maps", maps, Heatmap()))
    (frames,) = writer.state.films.values()
    theirs = [Image.fromarray(each.numpy()).resize((64, 128), Image.Resampling.BILINEAR) for each in maps]
    assert np.allclose(frames[0].raw, np.stack([np.asarray(each) for each in theirs]), atol=1e-3)


# Down to the pixels in the event file.


class Norms(nn.Module):
    """The norm of each feature map: its gradient at zero is not a number."""

    def forward(self, maps):
        return maps.square().sum(dim=(2, 3)).sqrt()


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, bias=False), Norms(), nn.Linear(6, CLASSES))


@pytest.fixture
def probe() -> Probe:
    images = torch.rand(3, 3, 12, 12)
    images[1] = 0
    return Probe(images, torch.tensor([0, 3, 1]))


def pages(folder) -> dict[str, list[np.ndarray]]:
    """Every picture in the event file by its tag, (H, W, 3) each."""
    events = Events(folder / "run/version_0")
    return {
        tag: [np.asarray(Image.open(BytesIO(picture))) for picture in events.pictures(tag)] for tag in events.image_tags
    }


def magenta(page: np.ndarray) -> int:
    return int((page == NOT_FINITE).all(axis=-1).sum())


def count(page: np.ndarray, words: str) -> int:
    """How often a line of text is printed on a page."""
    width = round(font().getlength(words))
    canvas = Image.new("RGB", (width, LINE_HEIGHT), (255, 255, 255))
    draw_lines(ImageDraw.Draw(canvas), 0, 0, width + 1, [Line(words)])
    line = np.asarray(canvas)[..., 0]
    line = line[(line < 255).any(axis=1)]
    assert line.size
    return int((sliding_window_view(page[..., 0], line.shape) == line).all(axis=(2, 3)).sum())


@pytest.mark.parametrize("kind", [SaliencyLogger, GradCAMLogger])
def test_a_map_that_is_not_finite_is_magenta_in_the_event_file(kind, probe, tmp_path):
    """One picture of three is black: its gradient is not a number, those of the others are sound."""
    trainer(tmp_path, [kind(probe=probe, on_error="raise")], max_epochs=1).fit(Lit(network()), loader(), loader())
    (_, sheets), (tag, strips) = sorted(pages(tmp_path).items())
    assert tag.endswith("/history")
    assert [magenta(page) for page in sheets] == [SIDE**2] * 2
    assert [count(page, "not finite (magenta)") for page in sheets] == [1] * 2
    rows, columns = ((sheets[0] == NOT_FINITE).all(axis=-1).any(axis=axis).sum() for axis in (1, 0))
    assert rows == columns == SIDE
    assert [magenta(page) for page in strips] == [SIDE**2, 2 * SIDE**2]


@pytest.mark.parametrize("kind", [SaliencyLogger, GradCAMLogger])
def test_of_a_network_that_has_diverged_nothing_looks_sound(kind, probe, tmp_path):
    module = Lit(network())
    nn.init.constant_(module.network[0].weight, torch.nan)
    run = trainer(tmp_path, [kind(probe=probe, history=0, on_error="raise")])
    run.validate(module, loader(), verbose=False)
    ((page,),) = pages(tmp_path).values()
    assert magenta(page) == 3 * SIDE**2
    assert count(page, "not finite (magenta)") == 3


@pytest.mark.parametrize("kind", [SaliencyLogger, GradCAMLogger])
def test_a_map_of_zeros_says_so_in_the_event_file(kind, probe, tmp_path):
    """The score depends on nothing but the head's bias."""
    module = Lit(nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, CLASSES)))
    nn.init.zeros_(module.network[3].weight)
    run = trainer(tmp_path, [kind(probe=probe, history=0, on_error="raise")])
    run.validate(module, loader(), verbose=False)
    ((page,),) = pages(tmp_path).values()
    assert count(page, "zero everywhere") == 3
    assert magenta(page) == 0
