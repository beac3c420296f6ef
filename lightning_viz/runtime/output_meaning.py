"""What the network's output means in a run, and what a map of it explains: the option `target=`, and in words."""

import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lightning_viz.data.batch import Unpack, known_labels, read_batch
from lightning_viz.data.class_balanced import listed_labels
from lightning_viz.data.dataloaders import first_loader
from lightning_viz.data.metadata import declared_class_counts, has_binary_loss
from lightning_viz.data.probe import Probe
from lightning_viz.methods import Target
from lightning_viz.methods.model.batching import AutoBatch
from lightning_viz.methods.model.final_activation import recording_activations
from lightning_viz.methods.model.model_output import KnownLabels, LabelKind, OutputKind, OutputMeaning
from lightning_viz.methods.model.outputs import logits, slice_target, target_scores

from .captions import Predictions
from .lightning_compat import eval_loaders, pl
from .network import Forward


class OutputMeanings:
    """What the outputs mean in a run, by the callbacks' `forward=`; decided once, with the first probe."""

    def __init__(self) -> None:
        self._known: KnownLabels | None = None
        self._decided: dict[int, OutputMeaning | None] = {}
        self._tried: set[int] = set()

    def of(self, forward: Forward | None) -> OutputMeaning | None:
        """None before it is decided."""
        return self._decided.get(id(forward))

    def is_tried(self, forward: Forward | None) -> bool:
        return id(forward) in self._tried

    def set(self, forward: Forward | None, meaning: OutputMeaning | None) -> None:
        self._decided[id(forward)] = meaning

    def decide(self, network: nn.Module, forward: Forward | None, probe: Probe, known: KnownLabels) -> None:
        """By what the network returns for a few pictures of the probe, and by what is known of the labels."""
        self._known = self._known or known
        self._tried.add(id(forward))
        ways = itertools.product((probe.images.is_floating_point(), False), (4, 1))  # one where memory is short
        for differentiable, count in ways:
            with suppress(Exception):  # of the user's network, and said where the output is used
                # The graph tells whether the network ends in a sigmoid.
                images = probe.images[:count].detach().clone().requires_grad_(differentiable)
                with recording_activations():
                    return self.set(forward, OutputMeaning.of(network(images), self._known))


def find_known_labels(trainer: pl.Trainer, split: str, batch: Any, unpack: Unpack, probe: Probe) -> KnownLabels:
    """What the labels of the batch and of the probe, the dataset and the module tell about the network's output."""
    known = KnownLabels()
    with suppress(Exception):
        known = read_batch(batch, unpack).known
    if probe.labels is not None:
        own = known_labels(probe.labels, probe.images)
        unsure = LabelKind.NONE, LabelKind.INDICES, LabelKind.ONE_HOT, LabelKind.OTHER
        kind = own.kind if known.kind in unsure else known.kind
        known = KnownLabels(kind, max(known.largest, own.largest), known.width)
    if known.kind is LabelKind.ONE_HOT and has_binary_loss(trainer.lightning_module):
        known = replace(known, kind=LabelKind.MULTI_HOT)  # of which the first batch had one each
    loader = first_loader(eval_loaders(trainer, split))
    listed = None if loader is None else listed_labels(loader.dataset)
    listed_count = 0 if listed is None else int(listed.max(initial=-1)) + 1
    count = max(len(probe.class_names), known.largest + 1, listed_count) if probe.class_names else None
    declared = declared_class_counts(trainer.lightning_module)
    return replace(known, class_count=count, listed_count=listed_count or None, declared=declared)


def resolve_target(option: Any, probe: Probe, predictions: Predictions) -> Target:
    """A target for the methods, of the pictures of the probe. Raises ValueError where there is nothing to explain."""
    kind, has_classes = predictions.meaning.kind, predictions.meaning.has_classes
    if callable(option):
        target: Target = option
        return target
    if option is None:
        return _default(predictions)
    indices = _labels(probe) if option == "label" else torch.as_tensor(option)
    indices = indices[: len(probe)] if indices.ndim else indices
    if kind is OutputKind.ONE_LOGIT and has_classes:
        if not 0 <= int(indices.min()) <= int(indices.max()) <= 1:
            raise ValueError(f"target={option!r} is outside the 2 classes of a model with one logit; give 0 or 1")
        return (indices == 1).expand(len(probe)).to(probe.images.device)
    return indices.tolist() if option != "label" else indices


def _default(predictions: Predictions) -> Target:
    """The predicted class; of several labels the most probable one, of a segmentation the largest region's class."""
    meaning = predictions.meaning
    if meaning.kind is OutputKind.ONE_LOGIT:
        return single_value if predictions.classes is None else predictions.classes.bool()
    if meaning.kind is OutputKind.NUMBERS:
        indices = f"target= the index of one, 0 to {meaning.width - 1}"
        raise ValueError(f"the model's output, {meaning.width} numbers for each image, has no class; give {indices}")
    if meaning.kind in (OutputKind.EMBEDDING, OutputKind.DENSE) and not meaning.has_classes:
        of = "image" if meaning.kind is OutputKind.EMBEDDING else "position"
        found = f"{meaning.width} number{'s' * (meaning.width > 1)} for each {of}"
        raise ValueError(
            f"the model's output, {found}, predicts no class that could be explained; give target= a callable from the "
            "output to one score per image (B,), such as lambda output: output.flatten(1).norm(dim=1)"
        )
    return None


class MissingLabelsError(ValueError):
    """The pictures have no labels that `target="label"` could explain."""


def _labels(probe: Probe) -> Tensor:
    if min(probe.label_list) < 0:
        raise MissingLabelsError(
            "target='label' needs a label for each picture of the probe; give target=None for the predicted class"
        )
    return torch.tensor(probe.label_list, device=probe.images.device)


def check_class_names(probe: Probe, meaning: OutputMeaning | None) -> None:
    """Raise ValueError for a probe that names fewer classes than the network has."""
    if probe.class_names is None or meaning is None or meaning.kind is not OutputKind.CLASSES:
        return
    if len(probe.class_names) < meaning.width:
        names = f"class_names has {len(probe.class_names)} names"
        raise ValueError(f"{names}, and the model has {meaning.width} classes; give a name for each")


@torch.no_grad()
def check_target(network: nn.Module, images: Tensor, target: Target, auto_batch: AutoBatch) -> None:
    """Raise ValueError for a target that does not fit the network's output."""
    auto_batch.map(lambda part: target_scores(network(images[part]), slice_target(target, part)), len(images))


def single_value(output: Any) -> Tensor:
    """The one number that a model returns for each image, (B,)."""
    return logits(output).flatten()


def describe_target(option: Any, meaning: OutputMeaning | None) -> str:
    """What a map explains, for the line under a panel."""
    if meaning is not None and not meaning.is_recoverable and not callable(option):
        logarithm = "log-" if meaning.kind is OutputKind.CLASSES else ""
        scores = f"the model returns probabilities, and those are explained: {logarithm}probability"
        return f"{describe_target(option, replace(meaning, is_recoverable=True))} ({scores})"
    kind = OutputKind.CLASSES if meaning is None else meaning.kind
    if callable(option):
        return "the given target"
    if meaning is not None and meaning.is_single_value:
        return "the output"
    region = "the predicted region of " if kind is OutputKind.DENSE else ""
    if option is None:
        default = {
            OutputKind.SEVERAL_LABELS: "the most probable label",
            OutputKind.DENSE: "the largest predicted region",
        }
        return default.get(kind, "the predicted class")
    if option == "label":
        return f"{region}the true class"
    if meaning is not None and not meaning.has_classes:
        return f"output {option}" if not isinstance(option, Sequence) else f"outputs {option}"
    return f"{region}class {option}" if not isinstance(option, Sequence) else f"{region}classes {option}"
