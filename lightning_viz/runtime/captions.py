"""Captions: what stands below a picture of the probe."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.model_output import THRESHOLD, ModelOutput, OutputKind, OutputMeaning
from lightning_viz.render.text import GREY, WRONG, Caption, Line, marked_line

NOT_FINITE = Line("output is not finite", WRONG)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the network predicts for a probe, from one forward pass that all callbacks share."""

    meaning: OutputMeaning
    classes: Tensor | None  #: (B,); None where the output has no such meaning
    captions: Sequence[Caption]


@torch.no_grad()
def predict(
    network: nn.Module, probe: Probe, auto_batch: AutoBatch, meaning: OutputMeaning | None = None
) -> Predictions:
    """The predictions for all pictures of the probe."""
    parts = auto_batch.map(lambda part: (part, ModelOutput.of(network(probe.images[part]), meaning)), len(probe))
    captions = [one for part, output in parts for one in prediction_captions(output, probe.subset(part))]
    classes = [output.predictions for _, output in parts if output.predictions is not None]
    return Predictions(parts[0][1].meaning, torch.cat(classes) if len(classes) == len(parts) else None, captions)


def prediction_captions(output: ModelOutput, probe: Probe) -> list[Caption]:
    """What is predicted for each picture, and its probability, marked right or wrong where the truth is known.

    A class, all labels above the threshold, or the class of the largest region; empty where the output predicts nothing.
    """
    if output.predicted_labels is not None:
        return _several_labels(output, probe)
    if output.regions is not None:
        classes, shares = (one.tolist() for one in output.regions)
        found = zip(classes, shares, strict=True)
        return [(Line(f"{probe.class_name(one)}, {share:.0%} of pixels", GREY),) for one, share in found]
    if output.probabilities is None or output.predictions is None:
        return [()] * len(probe)
    parts = zip(probe.label_list, output.predictions.tolist(), output.probabilities.amax(dim=1).tolist(), strict=True)
    return [
        (marked_line(f"{probe.class_name(predicted)} {probability:.2f}", None if label < 0 else label == predicted),)
        if isfinite(probability)
        else (NOT_FINITE,)
        for label, predicted, probability in parts
    ]


def _several_labels(output: ModelOutput, probe: Probe) -> list[Caption]:
    """All labels above the threshold, most probable first; right where they are exactly the true ones."""
    captions: list[Caption] = []
    if output.probabilities is None or output.predicted_labels is None:
        return captions
    for row, (probabilities, predicted) in enumerate(zip(output.probabilities, output.predicted_labels, strict=True)):
        found = [int(one) for one in probabilities.argsort(descending=True) if predicted[one]]
        true = None if probe.labels is None or probe.labels.ndim < 2 else probe.labels[row].to(predicted)
        right = None if true is None or len(true) != len(predicted) else bool((true == predicted).all())
        text = ", ".join(f"{probe.class_name(one)} {probabilities[one]:.2f}" for one in found) or "no label"
        captions.append((marked_line(text, right),) if probabilities.isfinite().all() else (NOT_FINITE,))
    return captions


def label_captions(probe: Probe) -> list[Caption]:
    """The true class of each picture, or its labels, where they are known."""
    names = [", ".join(probe.label_names(row)) for row in range(len(probe))]
    return [(Line(text),) if text else () for text in names]


def describe_meaning(meaning: OutputMeaning | None) -> list[str]:
    """A line on what the predictions below the pictures are, where they are not one class each."""
    if meaning is None or meaning.kind is OutputKind.CLASSES:
        return []
    if meaning.kind is OutputKind.SEVERAL_LABELS:
        return [f"predicted labels: probability above {THRESHOLD}; ✓ where all labels are right (exact match)"]
    if meaning.kind is OutputKind.EMBEDDING:
        return [f"the output, {meaning.width} numbers, is read as an embedding: it predicts no class"]
    if meaning.kind is OutputKind.NUMBERS:
        return [f"the output is read as {meaning.width} numbers, since the labels are numbers: it predicts no class"]
    if meaning.kind is OutputKind.DENSE and meaning.has_classes:
        return ["below each: the class of the largest predicted region besides class 0, and its share"]
    return []


def weights_version(network: nn.Module) -> int | None:
    """Changes whenever a weight is changed in place or replaced; None where that cannot be known."""
    try:
        return hash(tuple((one.data_ptr(), one._version) for one in network.parameters()))
    except RuntimeError:  # weights made in inference mode have no version
        return None


def class_caption(probability: float, correct: bool, predicted: str | None) -> Caption:
    """The probability of the class that an image was synthesised for, and the predicted class where it is another.

    `predicted` is None for one of several labels, which may be predicted beside others.
    """
    if not isfinite(probability):
        return (NOT_FINITE,)
    other = (Line(f"predicted {predicted}", WRONG),) if not correct and predicted is not None else ()
    return (marked_line(f"{probability:.2f}", correct), *other)
