"""A zoo of trainings: kinds of output with kinds of batch, and what is true of each, worked out without the library."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from .batch_kinds import BATCHES, BatchKind
from .trained_networks import Classifier, Detector, Segmenter, Squeezed
from .truths import (
    NAMES,
    Lines,
    nothing,
    of_classes,
    of_one_logit,
    of_one_probability,
    of_regions,
    of_several,
    true_class_alone,
)

COUNT = 24


class Images(Dataset):
    """Pictures whose mean colours tell the class, with targets of any kind, in batches of any kind."""

    def __init__(self, target: Callable[[Tensor, Tensor], Any], names: Sequence[str] | None, batch: BatchKind) -> None:
        generator, (channels, *size) = torch.Generator().manual_seed(0), batch.shape
        self.classes, self.batch = names, batch
        labels = torch.arange(COUNT) % 4
        colours = torch.eye(4)[:, :3][labels][:, :, None, None]
        images = 0.3 * torch.rand(COUNT, 3, *size, generator=generator) + 0.7 * colours
        images = images.repeat(1, 5, 1, 1)[:, :channels]
        self.items = [(batch.stored(one), target(one, label)) for one, label in zip(images, labels, strict=True)]

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        return self.batch.pack(*self.items[index])

    @property
    def images(self) -> Tensor:
        """As the network is given them, without the class of tensor."""
        return torch.stack([image.as_subclass(Tensor) for image, _ in self.items])

    @property
    def labels(self) -> Tensor | None:
        targets = [target for _, target in self.items]
        return None if isinstance(targets[0], dict) else torch.stack([torch.as_tensor(one) for one in targets])


class Module(pl.LightningModule):
    """Any network; the loss is of no interest."""

    def __init__(self, network: nn.Module, training: "Training") -> None:
        super().__init__()
        self.network = nn.Sequential(training.batch.scaling, network) if training.batch.scaling else network
        self.loss, self.images_of = training.loss, training.batch.images_of

    def forward(self, images: Any) -> Any:
        return self.network(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self.loss(self, batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("validation", self.loss(self, batch), batch_size=6)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


def mean_square(module: Module, batch: Any) -> Tensor:
    return module(module.images_of(batch)).float().square().mean()


def of_boxes(module: Module, batch: Any) -> Tensor:
    """Torchvision's detectors return losses while they are trained."""
    images, targets = batch.values() if isinstance(batch, dict) else batch
    if module.training:
        return sum(module.network(images, targets).values())
    return module(images)[0]["scores"].sum()


@dataclass(frozen=True)
class Training:
    """One kind of training.

    Args:
        network: makes the network for images of so many channels.
        target: from an image and its class (0 to 3) to the target in the batch.
        truth: from the network's output for pictures and their targets to the lines below each picture.
        names: class names of the dataset.
        explains: what every map says that it explains; None where nothing is explained.
        correct: whether the embedding's points say which are classified correctly.
        loss: of a batch.
        batch: its kind.
    """

    network: Callable[[int], nn.Module]
    target: Callable[[Tensor, Tensor], Any]
    truth: Callable[[Any, Any], list[Lines]]
    names: Sequence[str] | None = None
    explains: str | None = "the predicted class"
    correct: bool = True
    loss: Callable[[Module, Any], Tensor] = mean_square
    batch: BatchKind = BATCHES["tuple"]

    @property
    def synthesised(self) -> dict[str, list[str]]:
        """The names of the images that are synthesised, by tag."""
        if self.explains is None:
            return {}
        return {"synthesis/target": ["the output"]} if self.names is None else {"synthesis/classes": list(self.names)}

    def module(self) -> Module:
        torch.manual_seed(1)
        return Module(self.network(self.batch.shape[0]), self)

    def loader(self) -> DataLoader:
        return DataLoader(Images(self.target, self.names, self.batch), batch_size=6, collate_fn=self.batch.collate)


def multi_hot(image: Tensor, label: Tensor) -> Tensor:
    labels = torch.zeros(4)
    labels[label], labels[(label + 1) % 4] = 1, label % 2
    return labels


def mask(image: Tensor, label: Tensor) -> Tensor:
    return (image.mean(dim=0) > image.mean()).long() * label


def boxes(image: Tensor, label: Tensor) -> Any:
    return {"boxes": torch.tensor([[1.0, 1, 8, 8], [4, 4, 12, 12]]), "labels": torch.tensor([1, 1 + int(label) % 2])}


REGION = "the largest predicted region"

OUTPUTS: dict[str, Training] = {
    "classes": Training(lambda channels: Classifier(channels, 4), lambda image, label: label, of_classes, NAMES),
    "probabilities": Training(
        lambda channels: Classifier(channels, 4, nn.Softmax(dim=1)), lambda image, label: label,
        lambda output, labels: of_classes(output.log(), labels), NAMES,
    ),
    "one-hot": Training(
        lambda channels: Classifier(channels, 4), lambda image, label: torch.eye(4)[label], of_classes, NAMES
    ),
    "one logit": Training(
        lambda channels: Classifier(channels, 1), lambda image, label: (label % 2).float()[None], of_one_logit, NAMES[:2]
    ),
    "one logit, squeezed": Training(
        lambda channels: Squeezed(channels, 1), lambda image, label: label % 2, of_one_logit, NAMES[:2]
    ),
    "one probability": Training(
        lambda channels: Classifier(channels, 1, nn.Sigmoid()), lambda image, label: label % 2, of_one_probability, NAMES[:2]
    ),
    "several labels": Training(
        lambda channels: Classifier(channels, 4), multi_hot, of_several, NAMES, "the most probable label", correct=False
    ),
    "embedding": Training(
        lambda channels: Classifier(channels, 64), lambda image, label: label, true_class_alone, NAMES, None, correct=False
    ),
    "a regression": Training(
        lambda channels: Classifier(channels, 1), lambda image, label: image.mean()[None], nothing, None, "the output",
        correct=False,
    ),
    "two numbers": Training(
        lambda channels: Classifier(channels, 2), lambda image, label: torch.stack([image.mean(), image.std()]), nothing,
        None, None, correct=False,
    ),
    "segmentation": Training(
        lambda channels: Segmenter(channels, 4), mask, of_regions(NAMES), NAMES, REGION, correct=False
    ),
    "binary segmentation": Training(
        lambda channels: Segmenter(channels, 1), lambda image, label: (mask(image, label) > 0).float()[None],
        of_regions(NAMES[:2]), NAMES[:2], REGION, correct=False,
    ),
    "a reconstruction": Training(
        lambda channels: Segmenter(channels, channels), lambda image, label: image, nothing, None, None, correct=False
    ),
    "overlapping masks": Training(
        lambda channels: Segmenter(channels, 3), lambda image, label: (image[:3] > 0.5).float(), nothing, NAMES[:3], None,
        correct=False,
    ),
    "detection": Training(Detector, boxes, nothing, None, None, correct=False, loss=of_boxes, batch=BATCHES["lists"]),
}  # fmt: skip

#: Each kind of output with at least three kinds of batch, each kind of batch with at least three kinds of output.
PAIRS: dict[str, list[str]] = {
    "classes": [name for name in BATCHES if name != "tuple" and "lists" not in name],
    "one logit": ["several views", "uint8", "grey"],
    "several labels": ["dict", "MetaTensor", "13 bands", "not square"],
    "embedding": ["several views", "uint8", "tv_tensors", "list of images"],
    "a regression": ["nested dict", "grey", "list of images"],
    "two numbers": ["nested dict", "13 bands", "tv_tensors"],
    "segmentation": ["dict", "tv_tensors", "13 bands", "not square"],
    "binary segmentation": ["uint8", "MetaTensor", "grey"],
    "a reconstruction": ["nested dict", "MetaTensor", "not square"],
    "detection": ["dict of lists", "lists, not square"],
}

TRAININGS = OUTPUTS | {
    f"{output}, {batch}": replace(OUTPUTS[output], batch=BATCHES[batch]) for output in PAIRS for batch in PAIRS[output]
}
