"""EmbeddingProjectorLogger: the feature space of the validation data."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Unpack

import numpy as np
from torch import Tensor, nn

from lightning_viz.collect.accumulator import Accumulator, HookPoint
from lightning_viz.collect.data_access import DataAccess
from lightning_viz.collect.sample_selector import SampleSelector, by_hash, by_loss, preferring
from lightning_viz.collect.samples import Ints, Samples
from lightning_viz.data.arguments import as_indices, as_list, as_names, check_count, check_flag
from lightning_viz.methods.features.downscale import downscale
from lightning_viz.methods.features.embeddings import (
    EmbeddingSource,
    find_embedding_source,
    pool_embedding,
    read_embeddings,
)
from lightning_viz.methods.features.feature_space import SpaceSnapshot, TrackedSpace, track_space
from lightning_viz.methods.features.points import finite_rows
from lightning_viz.methods.model.activation_functions import NO_FUNCTION
from lightning_viz.methods.model.batching import FORWARD
from lightning_viz.methods.model.capture import activation_functions
from lightning_viz.methods.model.layers import plain_name, resolve_layer
from lightning_viz.runtime.artifacts import Artifact, Embedding, Scalar, Scatter
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.state import CallbackState

from ._embedding_scalars import EmbeddingScalars, PixelVote
from ._neighbour_sheet import PIXELS, THUMBNAIL, NeighbourQueries
from ._options import CommonOptions
from ._tracked_samples import TRACKED, TrackedSamples
from .base import VizCallback

LARGEST = 100_000  # points: TensorBoard sends its Projector no more


@dataclass
class EmbeddingState(CallbackState):
    """What snapshots are compared with."""

    spaces: dict[str, TrackedSpace] = field(default_factory=dict)  #: by tag
    pixel_votes: dict[str, PixelVote] = field(default_factory=dict)  #: of the last drawing, by tag


class EmbeddingProjectorLogger(VizCallback):
    """The features of the validation data, of pinned samples, as the validation loop computes them.

    In the Projector, under the run `projector-<step>`: one entry for each snapshot, and one of its principal components. As
    pictures: `embedding/<layer>/pca`, Procrustes-aligned to the previous snapshot, with its film strip, and
    `embedding/<layer>/neighbours`, the nearest neighbours of each picture of the probe by features and by pixels. As
    scalars `embedding/<layer>/...`

    - `knn_accuracy`, leave-one-out by features, and `embedding/pixels/knn_accuracy` by pixels; beside each
      `knn_accuracy_ceiling`, of perfectly separated classes, and `knn_accuracy_chance`, with the labels shuffled;
    - `explained_variance` of the two components shown, and `effective_dimension`, over how many the variance is spread;
    - `neighbours_kept`, the share of the nearest neighbours that were nearest at the last snapshot, too;
    - `embedding/not_finite`, how many samples were left out because a feature is NaN or infinite, if any;
    - `cka_with_start`, the similarity (debiased linear CKA) to the features at the start.

    Of test data nothing is compared over time: neither of the last two is logged.

    Features are recorded in the validation loop, with no extra forward pass. Where there is none at that moment (at the
    start, without validation data, with `every_n_train_steps`, or if the loader shuffles or has a custom order), 500 of the
    samples are read by index; the panels say so. Scalars and film strips are about these 500 at every step.

    Args:
        layers: dotted names of layers whose outputs to embed, one or several, averaged over positions; by default the input
            of the last linear layer.
        max_points: samples to keep, chosen by a hash of their position in the data: the same each time.
        class_balanced: choose as many of each class.
        neighbours: how many nearest neighbours to show and to count.
        per_class: also log the accuracy of each class, `knn_accuracy/<class>` and, of the network itself,
            `embedding/class_accuracy/<class>`. The five lowest are printed under the panel in any case.
        dataloaders: indices of the validation loaders; of several, the tags end in `/dataloader_<index>`.
        max_snapshots: how many the Projector keeps, spread over the whole run.
        seed: of the choice of samples.
        common: the options of every callback, see `VizCallback`.
    """

    State = EmbeddingState
    PRIORITY = 1
    SECONDS = 1.0
    TAG_FIELDS = ("layers", "dataloaders")
    CHEAPER = "fewer points (max_points=)"
    SAMPLES_READ = TRACKED

    def __init__(
        self,
        layers: str | Sequence[str] | None = None,
        max_points: int = 2000,
        class_balanced: bool = False,
        neighbours: int = 5,
        per_class: bool = False,
        dataloaders: Sequence[int] | None = None,
        max_snapshots: int = 20,
        seed: int = 0,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(**common)
        if check_count("max_points", max_points, 1) > LARGEST:
            raise ValueError(
                f"max_points={max_points} is more than TensorBoard's Projector shows; give {LARGEST} or less"
            )
        self.layers = as_names("layers", layers)
        self.max_points = max_points
        self.class_balanced = check_flag("class_balanced", class_balanced)
        self.neighbours = check_count("neighbours", neighbours, 1)
        self.per_class = check_flag("per_class", per_class)
        self.dataloaders = as_indices("dataloaders", dataloaders)
        self.max_snapshots = check_count("max_snapshots", max_snapshots, 1)
        self.seed = check_count("seed", seed, 0)

    def estimated_passes(self, network: nn.Module, images: Tensor) -> float:
        return (len(images) + len(self._loaders) * min(self.max_points, TRACKED)) * FORWARD

    def check_images(self, ctx: DrawContext) -> None:
        images = ctx.probe.images[:1]
        for layer in as_list(self.layers):
            read_embeddings(ctx.network, images, {layer: find_embedding_source(ctx.network, images, layer)})

    def accumulators(self, data: DataAccess, state: EmbeddingState) -> list[SampleSelector]:
        counts, tracked = dict(enumerate(data.counts)), self._tracked
        every = {loader: (counts.get(loader), tracked.positions(data, loader)) for loader in self._loaders}
        return [self._selector(state, loader, self.max_points, *known) for loader, known in every.items()]

    def draw(self, ctx: DrawContext) -> Iterator[Artifact]:
        state = ctx.state(EmbeddingState)
        if (most := max(self._loaders)) >= (count := len(ctx.data.loaders)):
            raise ValueError(
                f"dataloaders={self.dataloaders}: there are {count} {ctx.data.name} loaders and none of index {most}; "
                "count from 0"
            )
        found = {loader: self._collect(ctx, state, loader) for loader in self._loaders}
        queries = NeighbourQueries.of(ctx, self._sources(state, ctx.network, ctx.probe.images))
        for loader, collected in found.items():
            if collected is not None:
                suffix = f"/dataloader_{loader}" if len(self._loaders) > 1 else ""
                yield from self._draw_loader(ctx, suffix, *collected, queries)

    @property
    def _loaders(self) -> list[int]:
        return self.dataloaders or [0]

    # Where the features come from.

    def _selector(
        self, state: EmbeddingState, loader: int, size: int, expected: int | None = None, tracked: Ints | None = None
    ) -> SampleSelector:
        points = partial(self._hook_points, state)
        key = by_hash(self.seed) if tracked is None else preferring(tracked, by_hash(self.seed))
        return SampleSelector(size, key, points, self.class_balanced, loader, THUMBNAIL, expected)

    def _hook_points(self, state: EmbeddingState, network: nn.Module, images: Tensor) -> Mapping[str, HookPoint]:
        sources = self._sources(state, network, images)
        outputs = [source.layer for source in sources.values() if source.side == "output"]
        functions = activation_functions(network, images, outputs) if outputs else {}
        return {
            name: HookPoint(
                resolve_layer(network, source.layer)[1],
                pool_embedding,
                source.side == "input",
                functions.get(source.layer, NO_FUNCTION),
            )
            for name, source in sources.items()
        }

    def _sources(self, state: EmbeddingState, network: nn.Module, images: Tensor) -> dict[str, EmbeddingSource]:
        """Where the features are read, by plain layer name; the default layer is found once."""
        if self.layers is None:
            state.layer = state.layer or find_embedding_source(network, images).layer
            name, module = resolve_layer(network, state.layer)
            sources = [EmbeddingSource(name, "input" if isinstance(module, nn.Linear) else "output")]
        else:
            sources = [find_embedding_source(network, images, layer) for layer in as_list(self.layers)]
        return {plain_name(source.layer): source for source in sources}

    def _collect(self, ctx: DrawContext, state: EmbeddingState, loader: int) -> tuple[Samples, Ints, str] | None:
        """The samples of a loader, the rows of those that are compared over time, and what they are."""
        size = min(self.max_points, TRACKED)

        def recorded(one: Accumulator) -> bool:
            is_choice = isinstance(one, SampleSelector) and one.key is not by_loss and one.loader == loader
            return is_choice and one.compute() is not None

        collected = ctx.collect(
            recorded,
            lambda: self._selector(state, loader, size),
            self._tracked.choose,
            loader,
            same_order=True,
        )
        if collected is None:
            return None
        samples: Samples = collected.accumulator.compute()
        tracked = self._tracked.rows(samples, self._tracked.positions(ctx.data, loader))
        return samples, tracked, f"{len(samples)} of the {collected.origin}"

    # What is drawn of them.

    def _draw_loader(
        self, ctx: DrawContext, suffix: str, every: Samples, tracked: Ints, origin: str, queries: NeighbourQueries
    ) -> Iterator[Artifact]:
        rows = finite_rows(*every.features.values())
        samples, dropped = every.at(rows), len(every) - len(rows)
        if dropped:
            yield Scalar(f"embedding/not_finite{suffix}", float(dropped))
        positions, labels = every.positions[tracked], every.labels[tracked]
        present = np.where(np.isin(positions, samples.positions), np.searchsorted(samples.positions, positions), -1)
        if (present < 0).all():
            layers = ", ".join(every.features)
            ctx.warn(f"lightning_viz cannot embed the features of {layers}: all are NaN or infinite; look at the loss")
            return
        notes = [f"{origin}; {dropped} more left out, whose features are not finite" if dropped else origin]
        state, scalars = ctx.state(EmbeddingState), self._scalars(ctx)
        by_class, lines = scalars.network_accuracy(f"embedding{suffix}", every)
        yield from by_class
        pixels, points = downscale(samples.images, PIXELS), dict[str, Tensor]()
        for layer in samples.features:
            tag = f"embedding/{layer}{suffix}"
            features = samples.features[layer].to(ctx.probe.images.device)
            previous = state.spaces.get(tag) if ctx.has_history else None  # other splits have other samples
            space = track_space(previous, positions, present, features, self.neighbours)
            if ctx.has_history:
                state.spaces[tag] = space.tracked
            points |= {layer: features, f"{layer}, principal components": space.coordinates}
            found = list(scalars.of_space(tag, space, samples))
            yield self._scatter(ctx, tag, space, samples, labels, [*notes, *scalars.describe(found), *lines])
            yield from queries.grid(f"{tag}/neighbours", layer, samples, pixels, self.neighbours, notes)
            yield from found
        tag, there = f"embedding/pixels{suffix}", present[present >= 0]
        yield from scalars.accuracy(tag, pixels[there], samples.at(there), state.pixel_votes)
        name, thumbnails = f"projector{suffix.replace('/', '-')}", partial(ctx.probe.to_pixels, samples.images)
        yield Embedding(name, points, samples.metadata(ctx.probe), thumbnails, self.max_snapshots)

    def _scalars(self, ctx: DrawContext) -> EmbeddingScalars:
        at_start = ctx.has_history and ctx.is_fit and ctx.global_step == 0
        return EmbeddingScalars(ctx.probe, self.neighbours, self.per_class, at_start)

    @property
    def _tracked(self) -> TrackedSamples:
        return TrackedSamples(self.max_points, self.seed, self.class_balanced, self.neighbours)

    def _scatter(
        self, ctx: DrawContext, tag: str, space: SpaceSnapshot, samples: Samples, tracked: Ints, notes: Sequence[str]
    ) -> Scatter:
        """`tracked` are the classes of the samples that are compared over time."""
        labels, film_labels = (samples.labels, tracked) if (tracked >= 0).any() else (None, None)
        known = (samples.labels >= 0) & (samples.predicted >= 0)
        correct = samples.labels == samples.predicted if known.all() else None
        shares = float(space.shares[0]), float(space.shares[1])
        aligned = "" if space.is_new else ", Procrustes-aligned to the previous snapshot"
        notes = [f"principal components{aligned}", *notes]
        points, name = space.coordinates[:, :2], ctx.probe.class_name
        return Scatter(
            f"{tag}/pca", points, shares, labels, correct, name, notes, space.film, film_labels, space.is_new
        )
