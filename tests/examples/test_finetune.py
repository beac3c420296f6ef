"""The demo, as a person runs it, shorter; and the page that person then opens."""

import io
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from lightning_viz.data.class_balanced import sample_batch

from ..browser import chromium, tensorboard
from ..support import SUITE, Events

ROOT = Path(__file__).parent.parent.parent
EPOCHS = 1
TAGS = [
    *(f"activations/network.{layer}" for layer in ("_blocks.2", "_blocks.4", "_blocks.10", "_conv_head")),
    "embedding/network._fc/pca",
    "filters/network._conv_stem",
    "filters/network._conv_stem/change",
    "gradcam/network._swish",
    "saliency/gradient",
]
FILMLESS = ["embedding/network._fc/neighbours", "patches/network._blocks.4", "patches/network._conv_head"]

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


def run_example(name, folder, *arguments):
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *arguments], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    output = run_example("finetune.py", folder, "--epochs", str(EPOCHS))
    return folder / "lightning_logs/finetune/version_0", output


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
    right = [caption[0][0] for caption in state["captions"] if caption[0][0].startswith("✓")]
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
    images, labels = sample_batch(
        DataLoader(photographs.Photographs(False, 4, transform), 20), 10, lambda batch: batch[1]
    )
    row = labels.tolist().index(photographs.Photographs.classes.index("cat"))
    on_cat, cam = images[row, 0] > 0.5, state["values"][row].float()
    assert state["captions"][row][0][0].startswith("✓ cat")
    assert 0.3 < on_cat.float().mean() < 0.95  # there is cat, and there is background
    assert on_cat.flatten()[cam.argmax()]
    assert cam[on_cat].sum() > 0.9 * cam.sum()


def last_frame(run):
    """The raw values of the last column of the Grad-CAM film strip, from the run's checkpoint."""
    (path,) = (run / "checkpoints").glob("*.ckpt")
    callbacks = torch.load(path, weights_only=True)["callbacks"]
    (state,) = (value for key, value in callbacks.items() if key.startswith("GradCAMLogger"))
    return state["films"]["gradcam/network._swish"][-1]


def test_tensorboards_images_page_shows_the_panels(demo):
    with tensorboard(demo[0], "--samples_per_plugin", "images=1000") as address, chromium(height=4000) as page:
        page.goto(f"{address}/#images", timeout=60_000)
        for tag in ("filters/network._conv_stem", "gradcam/network._swish", "saliency/gradient"):
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


def test_other_data_and_models(tmp_path):
    """A folder of pictures, and a network of torchvision's from scratch."""
    from skimage import data

    for label, photograph in (("cat", data.cat), ("coffee", data.coffee)):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for number in range(5):
            Image.fromarray(photograph()[:, number * 10 :]).save(tmp_path / "pictures" / label / f"{number}.png")
    small = ["--model", "resnet18", "--no-pretrained", "--size", "48", "--epochs", "1", "--accelerator", "cpu"]
    output = run_example("finetune.py", tmp_path, "--data", "pictures", *small)
    events = Events(tmp_path / output.split("--logdir ")[1].strip())
    assert {tag.partition("/")[0] for tag in events.image_tags} == SUITE - {"deepdream", "synthesis"}


def test_fashion_mnist(tmp_path):
    """The real data, from Debian's package dataset-fashion-mnist, laid out as torchvision wants them."""
    raw = tmp_path / "data/FashionMNIST/raw"
    raw.mkdir(parents=True)
    for packed in Path("/usr/share/datasets/fashion-mnist").glob("*.gz"):
        import gzip

        (raw / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    small = [
        "--model",
        "mobilenet_v3_small",
        "--no-pretrained",
        "--size",
        "32",
        "--epochs",
        "1",
        "--limit-batches",
        "2",
    ]
    output = run_example("finetune.py", tmp_path, "--data", "fashion_mnist", "--imagine", *small)
    events = Events(tmp_path / output.split("--logdir ")[1].strip())
    assert {tag.partition("/")[0] for tag in events.image_tags} == SUITE


def test_wrong_data_are_said_at_once(tmp_path):
    command = [sys.executable, ROOT / "examples/finetune.py", "--data", "nowhere"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "--data nowhere is no folder" in done.stderr


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "vit_b_16", "googlenet", "mobilenet_v3_small", "swin_t"])
def test_any_network_of_torchvision_gets_a_new_head(name, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "examples")
    import finetune

    size = finetune.default_size(name)
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


def test_quickstart(tmp_path):
    output = run_example("quickstart.py", tmp_path)
    events = Events(tmp_path / output.split("--logdir ")[1].strip())
    assert {tag.partition("/")[0] for tag in events.image_tags} == SUITE
    assert len(Path(ROOT / "examples/quickstart.py").read_text().splitlines()) < 40
