"""The scalars of a feature space: kNN accuracy, variance, dimension, similarity to the start."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import Tensor

from lightning_viz.collect.samples import Samples
from lightning_viz.data.probe import Probe
from lightning_viz.methods import effective_dimension, leave_one_out, pca
from lightning_viz.methods.features.feature_space import SpaceSnapshot
from lightning_viz.methods.features.neighbours import usable_neighbours, vote_ceiling, vote_chance
from lightning_viz.render.text import one_line
from lightning_viz.runtime.artifacts import Scalar

SHOWN = 3  # classes of the lowest accuracy
NAME_LENGTH = 16  # characters of their names


@dataclass
class PixelVote:
    """Which pictures are classified correctly by their nearest neighbours in pixels."""

    digest: str  #: of pictures and labels
    correct: Tensor  #: (N,)


@dataclass(frozen=True, eq=False)
class EmbeddingScalars:
    """Makes the scalars of one drawing."""

    probe: Probe  #: names the classes
    neighbours: int  #: k of the kNN accuracy
    per_class: bool  #: whether to log it for each class as well
    at_start: bool  #: whether the network is untrained, so that its features are those at the start

    def of_space(self, tag: str, space: SpaceSnapshot, samples: Samples) -> Iterator[Scalar]:
        """Of the tracked samples of a space."""
        yield from self.accuracy(tag, space.followed, samples.at(space.rows))
        components = space.pca if len(space.rows) == len(samples) else pca(space.followed)
        yield Scalar(f"{tag}/explained_variance", float(components.explained[:2].sum()))
        yield Scalar(f"{tag}/effective_dimension", effective_dimension(space.followed))
        if self.at_start or not space.is_new:  # or these features would be compared with themselves
            yield Scalar(f"{tag}/cka_with_start", space.cka_with_start)
        if space.neighbours_kept is not None:
            yield Scalar(f"{tag}/neighbours_kept", space.neighbours_kept)

    def describe(self, scalars: Sequence[Scalar]) -> list[str]:
        """The accuracy with its ceiling and chance level, for a line under the panel; none without labels."""
        values = {one.tag.rpartition("/")[2]: one.value for one in scalars}
        if "knn_accuracy_ceiling" not in values:
            return []
        names = "knn_accuracy", "knn_accuracy_ceiling", "knn_accuracy_chance"
        own, ceiling, chance = (values[name] for name in names)
        return [f"kNN accuracy {own:.2f} (at most {ceiling:.2f}; shuffled labels {chance:.2f})"]

    def network_accuracy(self, tag: str, samples: Samples) -> tuple[list[Scalar], list[str]]:
        """The accuracy of the network itself, by class: scalars with `per_class`, and a line with the lowest."""
        known = (samples.labels >= 0) & (samples.predicted >= 0)
        if not known.any():
            return [], []
        labels, correct = samples.labels[known], samples.labels[known] == samples.predicted[known]
        names = self.probe.unique_names(sorted(set(labels.tolist())))
        means = {label: float(correct[labels == label].mean()) for label in names}
        lowest = sorted((label for label in means if means[label] < 1), key=lambda label: (means[label], label))[:SHOWN]
        listed = ", ".join(
            f"{one_line(names[one])[:NAME_LENGTH]} {means[one]:.2f} of {int((labels == one).sum())}" for one in lowest
        )
        scalars = [Scalar(f"{tag}/class_accuracy/{names[one]}", mean) for one, mean in means.items()]
        text = f"the network's accuracy {float(correct.mean()):.2f} of {len(labels)} samples"
        return scalars if self.per_class else [], [text, *([f"lowest: {listed}"] if lowest else [])]

    def accuracy(
        self, tag: str, points: Tensor, samples: Samples, known: dict[str, PixelVote] | None = None
    ) -> Iterator[Scalar]:
        """Leave-one-out, over the labelled samples; where points and labels are those of `known`, not computed again."""
        labelled = samples.labels >= 0
        if labelled.sum() < 2:
            return
        points, labels = points[torch.from_numpy(labelled)], torch.from_numpy(samples.labels[labelled])
        neighbours = usable_neighbours(labels, self.neighbours)
        if known is None:
            correct = leave_one_out(points, labels, neighbours).cpu()
        else:
            digest = sha256(points.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
            if tag not in known or known[tag].digest != digest:
                known[tag] = PixelVote(digest, leave_one_out(points, labels, neighbours))
            correct = known[tag].correct
        yield Scalar(f"{tag}/knn_accuracy", float(correct.double().mean()))
        yield Scalar(f"{tag}/knn_accuracy_ceiling", vote_ceiling(labels))
        yield Scalar(f"{tag}/knn_accuracy_chance", vote_chance(labels, neighbours))
        names = self.probe.unique_names(sorted(set(labels.tolist()))) if self.per_class else {}
        for label, name in names.items():
            yield Scalar(f"{tag}/knn_accuracy/{name}", float(correct[labels == label].double().mean()))
