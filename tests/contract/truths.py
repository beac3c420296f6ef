"""What is true below each picture, from a network's output and the targets alone."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

NAMES = ["cat", "dog", "sofa", "tree"]

#: The lines below one picture: what it is, and what is predicted; without the maximum of a map.
Lines = list[str]


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
    return verdicts(NAMES, labels.flatten().long(), (positive > 0.5).long(), torch.maximum(positive, 1 - positive))


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


def nothing(output: Any, labels: Any) -> list[Lines]:
    return [[]] * len(output)


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
