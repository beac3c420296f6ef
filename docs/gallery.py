"""Make the gallery's pictures from real runs: about ten minutes on two CPU cores.

    make gallery        # python docs/gallery.py [--only demo short digits fashion]

Writes docs/images/*.png, but for the screenshot of the Projector. Needs Debian's dataset-fashion-mnist for the last run.
"""

import argparse
import gzip
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from PIL import Image
from pytorch_lightning.loggers import TensorBoardLogger
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_viz import (
    ActivationLogger,
    ClassSynthesisLogger,
    DeepDreamLogger,
    EmbeddingProjectorLogger,
    FilterLogger,
    GradCAMLogger,
    Probe,
    SaliencyLogger,
    TopPatchesLogger,
)

sys.path.insert(0, str(Path(__file__).parent.parent / "examples"))
from finetune import Classifier, make_data, make_network

IMAGES = Path(__file__).parent / "images"
FASHION = Path("/usr/share/datasets/fashion-mnist")
CLOTHES = ["T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]
METHODS = "smoothgrad", "guided_backprop", "integrated_gradients", "occlusion"


def run(folder, callbacks, **options):
    """A trainer that writes to `folder`; callbacks that fail stop it."""
    for callback in callbacks:
        callback.on_error = "raise"
    return pl.Trainer(
        accelerator="cpu",
        logger=TensorBoardLogger(folder, name="", version=""),
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=callbacks,
        **options,
    )


def store(picture, name):
    """A picture in 256 colours, a third of the bytes."""
    picture.convert("RGB").quantize(256).save(IMAGES / f"{name}.png", optimize=True)


def save(folder, pictures):
    """The last picture of each tag, by file name."""
    events = EventAccumulator(folder, size_guidance={"images": 0})
    events.Reload()
    for tag in events.Tags()["scalars"]:
        if tag.endswith(("knn_accuracy", "relative_change")):  # numbers that the page names
            print(tag, [round(one.value, 4) for one in events.Scalars(tag)])
    for name, tag in pictures.items():
        store(Image.open(io.BytesIO(events.Images(tag)[-1].encoded_image_string)), name)


def side_by_side(names, target):
    """Four pictures on one, two in a row."""
    pictures = [Image.open(IMAGES / f"{name}.png").convert("RGB") for name in names]
    width, height = max(one.width for one in pictures), max(one.height for one in pictures)
    page = Image.new("RGB", (2 * width, 2 * height), "white")
    for index, picture in enumerate(pictures):
        page.paste(picture, (index % 2 * width, index // 2 * height))
    store(page, target)
    for name in names:
        (IMAGES / f"{name}.png").unlink()


def photographs():
    """The demo's network and data."""
    pl.seed_everything(0, verbose=False)
    train, validation, classes = make_data("photographs", "data", 192)
    network = Classifier(make_network("efficientnet_lite0", len(classes), pretrained=True), 3e-4)
    return network, DataLoader(train, 20, shuffle=True), DataLoader(validation, 20)


def demo(folder):
    """`make demo` with all callbacks, and further methods on the same network afterwards."""
    module, train, validation = photographs()
    callbacks = [
        FilterLogger(),
        SaliencyLogger(max_images=10),
        GradCAMLogger(max_images=10),
        EmbeddingProjectorLogger(max_images=10, neighbours=3),
        ActivationLogger(),
        TopPatchesLogger(),
        ClassSynthesisLogger(size=128),
        DeepDreamLogger(),
    ]
    run(folder / "fit", callbacks, max_epochs=6).fit(module, train, validation)
    save(
        str(folder / "fit"),
        {
            "gradcam": "gradcam/network._bn1",
            "gradcam_history": "gradcam/network._bn1/history",
            "saliency": "saliency/gradient",
            "filters": "filters/network._conv_stem",
            "filters_change": "filters/network._conv_stem/change",
            "activations": "activations/network._blocks.4",
            "patches": "patches/network._blocks.4",
            "synthesis": "synthesis/classes",
            "synthesis_history": "synthesis/classes/history",
            "deepdream": "deepdream/network._blocks.10",
        },
    )
    film = Image.open(IMAGES / "gradcam_history.png")
    store(film.crop((0, 0, film.width, 700)), "hero")
    depths = ["network._blocks.2", "network._blocks.6", "network._bn1"]
    later = [SaliencyLogger(method, max_images=4, tag=method) for method in METHODS]
    later += [
        SaliencyLogger("occlusion", signed=True, max_images=4, tag="signed"),
        SaliencyLogger("guided_gradcam", max_images=4),
        GradCAMLogger(depths, method="layercam", max_images=4),
    ]
    run(folder / "later", later).validate(module, validation, verbose=False)
    save(str(folder / "later"), {f"{method}": f"{method}/{method}" for method in METHODS})
    side_by_side(METHODS, "saliency_methods")
    save(
        str(folder / "later"),
        {"signed": "signed/occlusion", "layers": "layercam/layers", "guided_gradcam": "saliency/guided_gradcam"},
    )


def short(folder):
    """Two epochs of three batches, after which some pictures are still misclassified."""
    module, train, validation = photographs()
    trust = ["change", "faithfulness", "sanity"]
    callbacks = [GradCAMLogger(max_images=10, compare="predicted", trust=trust)]
    run(folder, callbacks, max_epochs=2, limit_train_batches=3).fit(module, train, validation)
    save(
        str(folder),
        {"trust": "gradcam/network._bn1", "true_and_predicted": "gradcam/network._bn1/true_and_predicted"},
    )


class Small(pl.LightningModule):
    """A small network that learns from scratch."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("validation/loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 1e-3)


def convolutions(*channels):
    """Convolutions with BatchNorm, ReLU and pooling, and a linear head for ten classes."""
    layers = []
    for inputs, outputs in zip((1, *channels), channels):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 10))


def digits(folder):
    """scikit-learn's digits."""
    pl.seed_everything(0, verbose=False)
    images, labels = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(labels))
    train, validation = torch.utils.data.random_split(data, (0.8, 0.2))
    callbacks = [ActivationLogger("network.2")]
    run(folder, callbacks, max_epochs=7).fit(
        Small(convolutions(16, 32)), DataLoader(train, 32, shuffle=True), DataLoader(validation, 64)
    )
    save(str(folder), {"activations_history": "activations/network.2/history"})


def fashion(folder):
    """Fashion-MNIST, seven epochs of 120 batches."""
    pl.seed_everything(0, verbose=False)
    sets = []
    for part in ("train", "t10k"):
        pixels = gzip.decompress((FASHION / f"{part}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((FASHION / f"{part}-labels-idx1-ubyte.gz").read_bytes())
        images = np.frombuffer(pixels, np.uint8, offset=16).reshape(-1, 1, 28, 28)
        targets = torch.from_numpy(np.frombuffer(labels, np.uint8, offset=8).astype(np.int64))
        sets.append(TensorDataset(torch.from_numpy(images.astype(np.float32) / 255), targets))
        sets[-1].classes = CLOTHES
    callbacks = [
        DeepDreamLogger("network.10"),
        EmbeddingProjectorLogger(),
        GradCAMLogger(probe=Probe.hardest(), max_images=6),
    ]
    run(folder, callbacks, max_epochs=7, limit_train_batches=120, limit_val_batches=20).fit(
        Small(convolutions(32, 64, 64)), DataLoader(sets[0], 64, shuffle=True), DataLoader(sets[1], 100)
    )
    save(
        str(folder),
        {
            "deepdream_history": "deepdream/network.10/history",
            "hardest": "gradcam/network.10",
            "pca_history": "embedding/network.14/pca/history",
            "neighbours": "embedding/network.14/neighbours",
        },
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=["demo", "short", "digits", "fashion"])
    makers = {"demo": demo, "short": short, "digits": digits, "fashion": fashion}
    for name in parser.parse_args().only:
        with tempfile.TemporaryDirectory() as folder:
            makers[name](Path(folder))


if __name__ == "__main__":
    main()
