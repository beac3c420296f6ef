"""The scalars of a feature space: kNN accuracy, variance, dimension, similarity to the start."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

import torch
from torch import Tensor

from lightning_viz.collect.samples import Samples
from lightning_viz.data.probe import Probe
from lightning_viz.methods import effective_dimension, leave_one_out, pca
from lightning_viz.methods.features.feature_space import SpaceSnapshot
from lightning_viz.runtime.artifacts import Scalar


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

    def of_space(self, tag: str, space: SpaceSnapshot, samples: Samples) -> Iterator[Scalar]:
        """Of the tracked samples of a space."""
        vote = partial(leave_one_out, k=self.neighbours)
        yield from self._accuracy(tag, space.followed, samples.at(space.rows), vote)
        components = space.pca if len(space.rows) == len(samples) else pca(space.followed)
        yield Scalar(f"{tag}/explained_variance", float(components.explained[:2].sum()))
        yield Scalar(f"{tag}/effective_dimension", effective_dimension(space.followed))
        yield Scalar(f"{tag}/cka_with_start", space.cka_with_start)
        if space.neighbours_kept is not None:
            yield Scalar(f"{tag}/neighbours_kept", space.neighbours_kept)

    def of_pixels(self, tag: str, pixels: Tensor, samples: Samples, known: dict[str, PixelVote]) -> Iterator[Scalar]:
        """By pixels, the most expensive; computed again only where pictures or labels are others than `known`."""

        def vote(points: Tensor, labels: Tensor) -> Tensor:
            digest = sha256(points.numpy().tobytes() + labels.numpy().tobytes()).hexdigest()
            if tag not in known or known[tag].digest != digest:
                known[tag] = PixelVote(digest, leave_one_out(points, labels, self.neighbours))
            return known[tag].correct

        yield from self._accuracy(tag, pixels, samples, vote)

    def _accuracy(
        self, tag: str, points: Tensor, samples: Samples, vote: Callable[[Tensor, Tensor], Tensor]
    ) -> Iterator[Scalar]:
        """Leave-one-out, over the labelled samples."""
        known = samples.labels >= 0
        if known.sum() < 2:
            return
        labels = torch.from_numpy(samples.labels[known])
        correct = vote(points[torch.from_numpy(known)], labels).cpu()
        yield Scalar(f"{tag}/knn_accuracy", float(correct.double().mean()))
        names = self.probe.unique_names(sorted(set(labels.tolist()))) if self.per_class else {}
        for label, name in names.items():
            yield Scalar(f"{tag}/knn_accuracy/{name}", float(correct[labels == label].double().mean()))
