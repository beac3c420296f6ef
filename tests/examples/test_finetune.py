"""The demo, as a person runs it, shorter; the page that person then opens; and the other examples."""

import gzip
import io
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from lightning_viz.data.class_balanced import read_balanced_batch

from ..browser import chromium, tensorboard
from ..processes import ROOT, run_python
from ..support import SUITE, Events

EPOCHS, SIZE = 1, 160
TAGS = [
    *(f"activations/network.{layer}" for layer in ("_blocks.2", "_blocks.4", "_blocks.10", "_bn1")),
    "embedding/network._fc/pca",
    "filters/network._conv_stem",
    "filters/network._conv_stem/change",
    "gradcam/network._bn1",
    "saliency/gradient",
]
FILMLESS = ["embedding/network._fc/neighbours", "patches/network._blocks.4", "patches/network._bn1"]

#: Outline of the cat in scikit-image's photograph, in pixels; right of it and below is background.
CAT = [
    (0, 0),
    (400, 0),
    (355, 75),
    (362, 120),
    (355, 170),
    (325, 205),
    (312, 260),
    (285, 278),
    (200, 280),
    (150, 300),
    (0, 300),
]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The folder of a run in a process of its own, and what was printed."""
    folder = tmp_path_factory.mktemp("demo")
    done = run_python(ROOT / "examples/finetune.py", "--epochs", EPOCHS, "--size", SIZE, cwd=folder)
    return folder / "lightning_logs/finetune/version_0", done.stdout


@pytest.fixture
def run_example(monkeypatch, tmp_path, capsys):
    """Run a script of the examples with these arguments, in this process; the events of its run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
        return Events(tmp_path / re.search(r"--logdir (\S+)", capsys.readouterr().out)[1])

    return run


def test_it_ends_with_the_command_that_opens_tensorboard(demo):
    run, output = demo
    command = output.split("To look at it:")[1].split()
    assert command[1:] == ["--samples_per_plugin", "images=1000", "--logdir", str(run.relative_to(run.parents[2]))]
    program = shutil.which(command[0]) or run.parents[2] / command[0]
    assert subprocess.run([program, "--version"], capture_output=True, text=True).stdout.startswith("2.")


def test_every_tag_is_there_at_every_step_and_every_picture_decodes(demo):
    events = Events(demo[0])
    assert sorted(events.image_tags) == sorted([*TAGS, *(f"{tag}/history" for tag in TAGS), *FILMLESS])
    for tag in events.image_tags:
        assert (
            events.image_steps(tag)
            == [0, *events.scalar_steps("train/loss")]
            == [0, *(12 * epoch - 1 for epoch in range(1, EPOCHS + 1))]
        )
        for encoded in events.pictures(tag):
            picture = np.asarray(Image.open(io.BytesIO(encoded)))
            assert picture.shape[2] == 3
            assert picture.std() > 10
    assert events.scalar_steps("filters/network._conv_stem/relative_change") == [
        0,
        *(12 * epoch - 1 for epoch in range(1, EPOCHS + 1)),
    ]


def test_it_learns(demo):
    state = last_frame(demo[0])
    right = [line["text"] for (line,) in state["captions"] if line["text"].startswith("✓")]
    assert len(right) >= 8


def test_the_cats_map_is_on_the_cat(demo, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import photographs

    outline = Image.new("L", (451, 300))
    ImageDraw.Draw(outline).polygon(CAT, fill=255)
    monkeypatch.setitem(photographs.PHOTOGRAPHS, "cat", (lambda: np.asarray(outline), 1, 1))
    state = last_frame(demo[0])
    side = state["values"].shape[-1]
    transform = v2.Compose([v2.Resize((side, side)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    # The probe is chosen by the labels alone: the same crops, of the outline instead of the photograph.
    data = DataLoader(photographs.Photographs(False, 4, transform), 20)
    images, labels = read_balanced_batch(data, 10, lambda batch: batch[1])
    row = labels.tolist().index(photographs.Photographs.classes.index("cat"))
    on_cat, cam = images[row, 0] > 0.5, state["values"][row].float()
    assert state["captions"][row][0]["text"].startswith("✓ cat")
    assert 0.3 < on_cat.float().mean() < 0.95  # there is cat, and there is background
    assert on_cat.flatten()[cam.argmax()]
    assert cam[on_cat].sum() > 0.9 * cam.sum()


def last_frame(run):
    """The last column of the Grad-CAM film strip, from the run's checkpoint: the values up to a common factor."""
    (path,) = (run / "checkpoints").glob("*.ckpt")
    callbacks = torch.load(path, weights_only=True)["callbacks"]
    (state,) = (value for key, value in callbacks.items() if key.startswith("GradCAMLogger"))
    return state["films"]["gradcam/network._bn1"][-1]


def test_tensorboards_images_page_shows_the_panels(demo):
    with tensorboard(demo[0], "--samples_per_plugin", "images=1000") as address, chromium(height=4000) as page:
        page.goto(f"{address}/#images", timeout=60_000)
        for tag in ("filters/network._conv_stem", "gradcam/network._bn1", "saliency/gradient"):
            heading = page.get_by_role("button", name=tag.partition("/")[0])
            heading.wait_for(timeout=60_000)
            group = page.locator("tf-category-paginated-view", has=heading)
            if not group.locator("tf-image-loader").count():  # TensorBoard opens the first two groups only
                heading.click()
            card = group.locator("tf-image-loader", has=page.get_by_text(tag, exact=True)).first
            picture = card.locator("img").first
            picture.wait_for(timeout=60_000)
            assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 500
            assert card.get_by_text(str(12 * EPOCHS - 1), exact=True).count() == 1


SMALL = ["--no-pretrained", "--epochs", "1", "--accelerator", "cpu"]


def test_other_data_and_models(tmp_path, run_example):
    """A folder of pictures, and a network of torchvision's from scratch."""
    from skimage import data

    for label, photograph in (("cat", data.cat), ("coffee", data.coffee)):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(photograph()[:, number * 10 :]).save(tmp_path / "pictures" / label / f"{number}.png")
    events = run_example("finetune.py", "--data", "pictures", "--model", "resnet18", "--size", "48", *SMALL)
    assert {tag.partition("/")[0] for tag in events.image_tags} == SUITE - {"deepdream", "synthesis"}


def test_fashion_mnist(tmp_path, run_example):
    """The real data, from Debian's package dataset-fashion-mnist, laid out as torchvision wants them."""
    raw = tmp_path / "data/FashionMNIST/raw"
    raw.mkdir(parents=True)
    for packed in Path("/usr/share/datasets/fashion-mnist").glob("*.gz"):
        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    small = ["--model", "mobilenet_v3_small", "--size", "32", "--limit-batches", "2", *SMALL]
    events = run_example("finetune.py", "--data", "fashion_mnist", "--synthesis", *small)
    assert {tag.partition("/")[0] for tag in events.image_tags} == SUITE


def test_wrong_data_are_said_at_once(run_example):
    with pytest.raises(SystemExit) as ended:
        run_example("finetune.py", "--data", "nowhere")
    assert "--data nowhere is no folder" in ended.value.code  # Python prints it, and exits with 1


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "vit_b_16", "googlenet", "mobilenet_v3_small", "swin_t"])
def test_any_network_of_torchvision_gets_a_new_head(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import finetune

    size = finetune.default_size(name)
    with torch.device("meta"):  # shapes only
        network = finetune.make_network(name, 7, pretrained=False).eval()
        assert network(torch.rand(1, 3, size, size)).shape == (1, 7)


def test_training_and_validation_crops_share_no_pixel(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    from photographs import PHOTOGRAPHS, half

    assert len(PHOTOGRAPHS) >= 8
    for load, axis, validation in PHOTOGRAPHS.values():
        rows, columns = load().shape[:2]
        numbered = np.arange(rows * columns).reshape(rows, columns) % 251
        one, other = (
            half(lambda numbered=numbered: numbered.astype(np.uint8), axis, validation, train)
            for train in (True, False)
        )
        assert one.size[1 - axis] + other.size[1 - axis] == (rows, columns)[axis]
        assert one.size[axis] == other.size[axis] == (rows, columns)[1 - axis]


def test_quickstart(run_example, monkeypatch):
    """One epoch of it."""
    make = pl.Trainer
    monkeypatch.setattr(pl, "Trainer", lambda **options: make(**{**options, "max_epochs": 1}))
    events = run_example("quickstart.py")
    assert {tag.partition("/")[0] for tag in events.image_tags} == SUITE
    assert len(Path(ROOT / "examples/quickstart.py").read_text().splitlines()) < 40


def test_a_segmentation_needs_no_options(run_example):
    """The features before the head, and the end of the encoder."""
    events = run_example("segmentation.py", "--epochs", "1", "--samples", "64", "--root", ".")
    assert {"gradcam/up.1", "saliency/smoothgrad", "embedding/down.2/pca"} <= {*events.image_tags}
    assert events.image_steps("gradcam/up.1") == [0, 1]
