"""Captions: what stands below a picture of the probe."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.model_output import ModelOutput
from lightning_viz.render.text import RIGHT, WRONG, Caption, Line, prediction_line

NOT_FINITE = Line("output is not finite", WRONG)


@dataclass(frozen=True, eq=False)
class Predictions:
    """What the network predicts for a probe, from one forward pass that all callbacks share."""

    classes: Tensor | None  #: (B,); None where the output has no such meaning
    captions: Sequence[Caption]


@torch.no_grad()
def predict(network: nn.Module, probe: Probe, auto_batch: AutoBatch) -> Predictions:
    """The predictions for all pictures of the probe."""
    outputs = auto_batch.map(lambda part: (probe.subset(part), ModelOutput.of(network(probe.images[part]))), len(probe))
    captions = [one for part, output in outputs for one in prediction_captions(output, part)]
    classes = [output.predictions for _, output in outputs if output.predictions is not None]
    return Predictions(torch.cat(classes) if len(classes) == len(outputs) else None, captions)


def prediction_captions(output: ModelOutput, probe: Probe) -> list[Caption]:
    """The predicted class of each picture and its probability, marked right or wrong where the true class is known.

    Empty where the output predicts no class, such as one value or a mask.
    """
    if output.probabilities is None or output.predictions is None:
        return [()] * len(probe)
    parts = zip(probe.label_list, output.predictions.tolist(), output.probabilities.amax(dim=1).tolist(), strict=True)
    return [
        (prediction_line(None if label < 0 else label == predicted, probe.class_name(predicted), probability),)
        if isfinite(probability)
        else (NOT_FINITE,)
        for label, predicted, probability in parts
    ]


def label_captions(probe: Probe) -> list[Caption]:
    """The true class of each picture, where it is known."""
    return [() if label < 0 else (Line(probe.class_name(label)),) for label in probe.label_list]


def describe_target(target: Any) -> str:
    """What a map explains, by the option `target=`."""
    if target is None:
        return "the predicted class"
    if target == "label":
        return "the true class"
    return "the given target" if callable(target) else f"class {target}"


def weights_version(network: nn.Module) -> int | None:
    """Changes whenever a weight is changed in place or replaced; None where that cannot be known."""
    try:
        return hash(tuple((one.data_ptr(), one._version) for one in network.parameters()))
    except RuntimeError:  # weights made in inference mode have no version
        return None


def class_caption(probability: float, correct: bool, predicted: str) -> Caption:
    """The probability of the class that an image was synthesised for, and the predicted class where it is another."""
    if not isfinite(probability):
        return (NOT_FINITE,)
    if correct:
        return (Line(f"\N{CHECK MARK} {probability:.2f}", RIGHT),)
    return (Line(f"\N{BALLOT X} {probability:.2f}", WRONG), Line(f"predicted {predicted}", WRONG))
