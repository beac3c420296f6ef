"""EmbeddingProjectorLogger: the space that the features live in."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_viz.collect.samples import Ints, Keeper, Samples, by_chance, chances, finite_rows, shrunk
from lightning_viz.data.probe import Probe
from lightning_viz.methods import effective_dimension, embeddings, leave_one_out, pca
from lightning_viz.methods.features.embeddings import Place
from lightning_viz.methods.model.layers import resolve_layer
from lightning_viz.runtime.artifacts import Embedding, Item, Scalar, Scatter
from lightning_viz.runtime.lightning_compat import rank_zero_warn
from lightning_viz.runtime.validation import check_count, check_flag, check_indices
from lightning_viz.runtime.words import check_layers, named, shown

from ._feature_tracker import Space
from ._features import FOLLOWED, FeatureLogger
from ._neighbour_sheet import PIXELS, Queries
from ._table import distinct_names, table

LARGEST = 100_000  # points: TensorBoard sends its Projector no more


class EmbeddingProjectorLogger(FeatureLogger):
    """The features of the validation data, pinned samples, as the network's own validation loop computes them.

    In the Projector, under the run `projector-<step>`: one entry for each snapshot, and one of its principal components.
    As pictures: `embedding/<layer>/pca`, turned to the last one (orthogonal Procrustes), with its film strip, and
    `embedding/<layer>/neighbours`, the nearest of each picture of the probe by features and by pixels. As scalars:
    `embedding/<layer>/...`

    - `knn_accuracy`, leave-one-out by features, and `embedding/pixels/knn_accuracy` by pixels;
    - `explained_variance` of the two components shown, and `effective_dimension`, over how many the variance is spread;
    - `neighbours_kept`, the share of the nearest neighbours that were so at the last snapshot;
    - `embedding/not_finite`, how many samples were left out because a feature of theirs is NaN or infinite, if any;
    - `cka_with_start`, the similarity (debiased linear CKA) to the features at the start: what training changed.

    Features are harvested from the validation loop, without a forward pass more. Where there is none at that moment (at
    the start, without validation data, with `every_n_train_steps`, or if the loader shuffles or has an order of its own),
    500 of the samples are read and run; the panels say so. The numbers and the film strip are of these 500 at every
    step.

    Args:
        layers: dotted names of layers whose outputs to embed, one or several, averaged over places; by default what the
            last linear layer is given.
        max_points: samples to keep, chosen by a hash of their position in the data: the same each time.
        class_balanced: choose as many of each class.
        neighbours: how many nearest neighbours to show and to count.
        per_class: also log the accuracy of each class, `knn_accuracy/<class>`.
        dataloaders: which validation loaders to look at; of several, the tags end in `/dataloader_<index>`.
        max_snapshots: how many the Projector keeps, spread over the whole run.
        seed: of the choice of samples.
        common: the options of every callback, see `VizCallback`.
    """

    def __init__(
        self,
        layers: str | list[str] | None = None,
        max_points: int = 2000,
        class_balanced: bool = False,
        neighbours: int = 5,
        per_class: bool = False,
        dataloaders: list[int] | None = None,
        max_snapshots: int = 20,
        seed: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        check_layers(layers)
        for name, value, least in (
            ("max_points", max_points, 1),
            ("neighbours", neighbours, 1),
            ("max_snapshots", max_snapshots, 1),
            ("seed", seed, 0),
        ):
            check_count(name, value, least)
        if max_points > LARGEST:
            raise ValueError(
                f"max_points={shown(max_points)} is more than TensorBoard's Projector takes; give {LARGEST} or less"
            )
        check_flag("class_balanced", class_balanced)
        check_flag("per_class", per_class)
        check_indices("dataloaders", dataloaders)
        self.layers = layers
        self.max_points = max_points
        self.class_balanced = class_balanced
        self.neighbours = neighbours
        self.per_class = per_class
        self.dataloaders = dataloaders
        self.max_snapshots = max_snapshots
        self.seed = seed
        self._samples: dict[int, tuple[Samples, str]] = {}  # by loader, while they are drawn
        self._stage = "fit"  # that is drawn
        self._votes: dict[str, tuple[bytes, Tensor]] = {}  # of the pixels, by tag

    def distinction(self) -> dict[str, Any]:
        return {"layers": self.layers, "dataloaders": self.dataloaders}

    def check(self, network: nn.Module) -> None:
        for layer in named(self.layers):
            resolve_layer(network, layer)

    def passes(self, count: int) -> float:
        return (count + len(self._loaders) * min(self.max_points, FOLLOWED)) / 3

    def begin(self, network: nn.Module, probe: Probe) -> None:
        for layer in named(self.layers):
            embeddings(network, probe.images[:1], layer)

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Item]:
        places = self._places(network, probe.images)
        queries = Queries.of(network, probe, places, self._memory.portions)
        for loader, (samples, origin) in self._samples.items():
            where = f"/dataloader_{loader}" if len(self._loaders) > 1 else ""
            every = samples
            followed = self._followed(every)
            samples, dropped = _finite(every)
            rows = _rows_of(every.positions[followed], samples.positions)
            if dropped:
                yield Scalar(f"embedding/not_finite{where}", float(dropped))
            if (rows < 0).all():
                self._say_nothing(places, dropped, len(every))
                continue
            notes = [f"{origin}; {dropped} more left out, whose features are not finite" if dropped else origin]
            pixels = shrunk(samples.images, PIXELS)
            points: dict[str, Tensor] = {}
            for layer, features in samples.features.items():
                tag = f"embedding/{layer}{where}"
                remembered = tag if self._stage == "fit" else f"{self._stage}/{tag}"  # other data: not to be compared
                features = features.to(probe.images.device)
                space = Space(self._memory.kept, remembered, every.positions[followed], rows, features, self.neighbours)
                points |= {layer: features, f"{layer}, principal components": space.coordinates}
                yield self._scatter(tag, space, samples, every.labels[followed], probe, notes)
                yield from queries.panel(f"{tag}/neighbours", layer, samples, pixels, self.neighbours, notes)
                yield from self._numbers(tag, space, samples, probe)
            tag = f"embedding/pixels{where}"
            vote = partial(self._vote_of_pixels, tag)
            there = rows[rows >= 0]
            yield from self._accuracy(tag, pixels[there], samples.at(there), probe, vote)
            thumbnails = partial(probe.shown, samples.images)
            name = f"projector{where.replace('/', '-')}"
            yield Embedding(name, points, table(samples, probe), thumbnails, self.max_snapshots)
        self._samples = {}

    def _say_nothing(self, places: Mapping[str, Place], dropped: int, count: int) -> None:
        """Once: a network that has diverged seldom comes back."""
        if "nothing" not in self._memory.said:
            self._memory.said.add("nothing")
            rank_zero_warn(
                f"lightning_viz has nothing to embed: the features of {', '.join(places)} are not finite for "
                f"{dropped} of {count} samples; look at the loss"
            )

    def _followed(self, samples: Samples) -> Ints:
        """The rows of the samples that are compared over time: the first choice, whatever their features are."""
        keeper = Keeper(FOLLOWED, by_chance(self.seed), class_balanced=self.class_balanced)
        keys = chances(samples.positions, self.seed)
        return np.sort(keeper.choose(keys, samples.positions, samples.labels, FOLLOWED))

    def _scatter(
        self, tag: str, space: Space, samples: Samples, followed: Ints, probe: Probe, notes: Sequence[str]
    ) -> Scatter:
        """`followed` are the classes of those that are followed."""
        known = (samples.labels >= 0) & (samples.predicted >= 0)
        has_labels = (followed >= 0).any()
        return Scatter(
            f"{tag}/pca",
            space.coordinates[:, :2],
            (float(space.pca.explained[0]), float(space.pca.explained[1])),
            samples.labels if has_labels else None,
            samples.labels == samples.predicted if known.all() else None,
            probe.name,
            ("principal components, turned to those of the snapshot before", *notes),
            space.film,
            followed if has_labels else None,
            space.is_new,
        )

    def _numbers(self, tag: str, space: Space, samples: Samples, probe: Probe) -> Iterator[Scalar]:
        vote = partial(leave_one_out, k=self.neighbours)
        yield from self._accuracy(tag, space.followed, samples.at(space.rows), probe, vote)
        found = space.pca if len(space.rows) == len(samples) else pca(space.followed)
        yield Scalar(f"{tag}/explained_variance", float(found.explained[:2].sum()))
        yield Scalar(f"{tag}/effective_dimension", effective_dimension(space.followed))
        yield Scalar(f"{tag}/cka_with_start", space.cka_with_start)
        if space.neighbours_kept is not None:
            yield Scalar(f"{tag}/neighbours_kept", space.neighbours_kept)

    def _vote_of_pixels(self, tag: str, pixels: Tensor, labels: Tensor) -> Tensor:
        """As `leave_one_out`. Pictures stay the same, and are most of the work: they vote once."""
        key = sha256(pixels.numpy().tobytes() + labels.numpy().tobytes()).digest()
        if tag not in self._votes or self._votes[tag][0] != key:
            self._votes[tag] = key, leave_one_out(pixels, labels, self.neighbours)
        return self._votes[tag][1]

    def _accuracy(
        self, tag: str, points: Tensor, samples: Samples, probe: Probe, vote: Callable[[Tensor, Tensor], Tensor]
    ) -> Iterator[Scalar]:
        """Leave-one-out, over the samples whose class is known."""
        known = samples.labels >= 0
        if known.sum() < 2:
            return
        labels = torch.from_numpy(samples.labels[known])
        correct = vote(points[torch.from_numpy(known)], labels).cpu()
        yield Scalar(f"{tag}/knn_accuracy", float(correct.double().mean()))
        for label, name in distinct_names(sorted(set(labels.tolist())), probe).items() if self.per_class else []:
            yield Scalar(f"{tag}/knn_accuracy/{name}", float(correct[labels == label].double().mean()))


def _finite(samples: Samples) -> tuple[Samples, int]:
    """The samples whose features are finite at every layer, and how many others there are."""
    rows = finite_rows(*samples.features.values())
    return samples.at(rows), len(samples) - len(rows)


def _rows_of(positions: Ints, among: Ints) -> Ints:
    """Where these positions are among others, both ascending; -1 for one that is not."""
    return np.where(np.isin(positions, among), np.searchsorted(among, positions), -1)
