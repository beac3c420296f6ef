"""A zoo of trainings: one for each meaning of an output, with what is true of it worked out without the library."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

COUNT, SIDE = 24, 16
NAMES = ["cat", "dog", "sofa", "tree"]

#: The lines below one picture: what it is, and what is predicted; without the maximum of a map.
Lines = list[str]


class Images(Dataset):
    """Pictures whose mean colours tell the class, with targets of any kind, in batches of any kind."""

    def __init__(self, target: Callable[[Tensor, Tensor], Any], names: Sequence[str] | None, pack: Callable[..., Any]):
        generator = torch.Generator().manual_seed(0)
        self.classes = names
        labels = torch.arange(COUNT) % 4
        colours = torch.eye(4)[:, :3][labels][:, :, None, None]
        self.images = 0.3 * torch.rand(COUNT, 3, SIDE, SIDE, generator=generator) + 0.7 * colours
        self.items = [(image, target(image, label)) for image, label in zip(self.images, labels, strict=True)]
        self.pack = pack

    def __len__(self) -> int:
        return COUNT

    def __getitem__(self, index: int) -> Any:
        return self.pack(*self.items[index])


class Backbone(nn.Sequential):
    """Features (B, 8, 8, 8)."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2, padding=1), nn.ReLU())


class Classifier(nn.Module):
    """A backbone, pooled, with a head of some width."""

    def __init__(self, width: int, end: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone, self.pool, self.head = Backbone(), nn.AdaptiveAvgPool2d(1), nn.Linear(8, width)
        self.end = nn.Identity() if end is None else end

    def forward(self, images: Tensor) -> Any:
        return self.end(self.head(self.pool(self.backbone(images)).flatten(1)))


class Squeezed(Classifier):
    """One logit without a dimension for it."""

    def forward(self, images: Tensor) -> Any:
        return super().forward(images).squeeze(1)


class Segmenter(nn.Module):
    """A backbone and a 1×1 convolution, resized to the picture."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.backbone, self.head = Backbone(), nn.Conv2d(8, channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        return nn.functional.interpolate(self.head(self.backbone(images)), size=images.shape[-2:], mode="bilinear")


class Module(pl.LightningModule):
    """Any network; the loss is of no interest."""

    def __init__(self, network: nn.Module, images_of: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.network, self.images_of = network, images_of

    def forward(self, images: Tensor) -> Any:
        return self.network(images)

    def _loss(self, batch: Any) -> Tensor:
        return torch.as_tensor(self(self.images_of(batch))).float().square().mean()

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return self._loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("validation", self._loss(batch))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


def pair(image: Tensor, target: Any) -> Any:
    return image, target


@dataclass(frozen=True)
class Training:
    """One kind of training.

    Args:
        network: makes the network.
        target: from an image and its class (0 to 3) to the target in the batch.
        truth: from the network's output for the probe and the probe's labels to the lines below each picture.
        names: class names of the dataset.
        explains: what every map says that it explains; None where nothing is explained.
        correct: whether the embedding's points say which are classified correctly.
        pack, images_of: how a sample is put into a batch, and how the module takes the images out of it.
    """

    network: Callable[[], nn.Module]
    target: Callable[[Tensor, Tensor], Any]
    truth: Callable[[Any, Tensor], list[Lines]]
    names: Sequence[str] | None = None
    explains: str | None = "the predicted class"
    correct: bool = True
    pack: Callable[[Tensor, Any], Any] = pair
    images_of: Callable[[Any], Tensor] = field(default=lambda batch: batch[0])

    @property
    def synthesised(self) -> dict[str, list[str]]:
        """The names of the images that are synthesised, by tag."""
        if self.explains is None:
            return {}
        return {"synthesis/target": ["the output"]} if self.names is None else {"synthesis/classes": list(self.names)}

    def module(self) -> Module:
        torch.manual_seed(1)
        return Module(self.network(), self.images_of)

    def loader(self) -> DataLoader:
        return DataLoader(Images(self.target, self.names, self.pack), batch_size=6)


def verdicts(names: Sequence[str], labels: Tensor, predictions: Tensor, probabilities: Tensor) -> list[Lines]:
    found = zip(labels.tolist(), predictions.tolist(), probabilities.tolist(), strict=True)
    return [
        [names[true], f"{'✓' if true == guess else '✗'} {names[guess]} {probability:.2f}"]
        for true, guess, probability in found
    ]


def of_classes(output: Tensor, labels: Tensor) -> list[Lines]:
    labels = labels.argmax(dim=1) if labels.ndim == 2 else labels
    probabilities = output.softmax(dim=1)
    return verdicts(NAMES, labels, probabilities.argmax(dim=1), probabilities.amax(dim=1))


def of_one_logit(output: Tensor, labels: Tensor) -> list[Lines]:
    positive = output.flatten().sigmoid()
    return verdicts(NAMES, labels, (positive > 0.5).long(), torch.maximum(positive, 1 - positive))


def of_one_probability(output: Tensor, labels: Tensor) -> list[Lines]:
    return of_one_logit(output.logit(), labels)


def of_several(output: Tensor, labels: Tensor) -> list[Lines]:
    probabilities, lines = output.sigmoid(), []
    for row, true in zip(probabilities, labels, strict=True):
        found = [index for index in row.argsort(descending=True).tolist() if row[index] > 0.5]
        mark = "✓" if {*found} == {*true.nonzero()[:, 0].tolist()} else "✗"
        text = ", ".join(f"{NAMES[index]} {row[index]:.2f}" for index in found) or "no label"
        names = ", ".join(NAMES[index] for index in true.nonzero()[:, 0].tolist())
        lines.append([*([names] if names else []), f"{mark} {text}"])
    return lines


def true_class_alone(output: Any, labels: Tensor | None) -> list[Lines]:
    return [[NAMES[label]] for label in labels.tolist()]


def nothing(output: Any, labels: Tensor | None) -> list[Lines]:
    return [[]] * 8


def of_regions(names: Sequence[str]) -> Callable[[Tensor, Any], list[Lines]]:
    def truth(output: Tensor, labels: Any) -> list[Lines]:
        output = torch.cat([torch.zeros_like(output), output], dim=1) if output.shape[1] == 1 else output
        lines = []
        for scores in output:
            shares = torch.bincount(scores.argmax(dim=0).flatten(), minlength=len(scores)).double() / scores[0].numel()
            best = int(shares[1:].argmax()) + 1 if shares[1:].any() else 0
            lines.append([f"{names[best]}, {shares[best]:.0%} of pixels"])
        return lines

    return truth


def multi_hot(image: Tensor, label: Tensor) -> Tensor:
    labels = torch.zeros(4)
    labels[label], labels[(label + 1) % 4] = 1, label % 2
    return labels


def mask(image: Tensor, label: Tensor) -> Tensor:
    return (image.mean(dim=0) > image.mean()).long() * label


def boxes(image: Tensor, label: Tensor) -> Any:
    return {"boxes": torch.rand(2, 4), "labels": torch.tensor([1, 2])}


REGION = "the largest predicted region"

TRAININGS: dict[str, Training] = {
    "classes": Training(lambda: Classifier(4), lambda image, label: label, of_classes, NAMES),
    "probabilities": Training(
        lambda: Classifier(4, nn.Softmax(dim=1)), lambda image, label: label,
        lambda output, labels: of_classes(output.log(), labels), NAMES,
    ),
    "one-hot": Training(lambda: Classifier(4), lambda image, label: torch.eye(4)[label], of_classes, NAMES),
    "one logit": Training(lambda: Classifier(1), lambda image, label: (label % 2).float()[None], of_one_logit, NAMES[:2]),
    "one logit, squeezed": Training(lambda: Squeezed(1), lambda image, label: label % 2, of_one_logit, NAMES[:2]),
    "one probability": Training(
        lambda: Classifier(1, nn.Sigmoid()), lambda image, label: label % 2, of_one_probability, NAMES[:2]
    ),
    "several labels": Training(
        lambda: Classifier(4), multi_hot, of_several, NAMES, "the most probable label", correct=False
    ),
    "embedding": Training(
        lambda: Classifier(64), lambda image, label: label, true_class_alone, NAMES, None, correct=False
    ),
    "a regression": Training(
        lambda: Classifier(1), lambda image, label: image.mean()[None], nothing, None, "the output", correct=False
    ),
    "segmentation": Training(
        lambda: Segmenter(4), mask, of_regions(NAMES), NAMES, REGION, correct=False
    ),
    "binary segmentation": Training(
        lambda: Segmenter(1), lambda image, label: (mask(image, label) > 0).float()[None],
        of_regions(NAMES[:2]), NAMES[:2], REGION, correct=False,
    ),
    "a reconstruction": Training(
        lambda: Segmenter(3), lambda image, label: image, nothing, None, None, correct=False
    ),
}  # fmt: skip
