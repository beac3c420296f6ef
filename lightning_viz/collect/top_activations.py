"""TopActivations: the samples with the largest activations of each unit of some layers, over a whole loop."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.capture import activation_functions
from lightning_viz.methods.model.layers import channel_maps, resolve_layer
from lightning_viz.methods.model.token_order import reorder, token_order

from .accumulator import HookPoint, RecordedBatch
from .top_samples import Peaks, TopSamples

SHUFFLES = 20  # of the labels, for the level of pure noise
MEMORY = 2**28  # bytes of images to keep while it is not known which units are shown


@dataclass(frozen=True, eq=False)
class LayerTopActivations:
    """The largest activations of U units of a layer."""

    channels: list[int]  #: (U,)
    top: TopSamples
    moments: Tensor  #: count, sum and sum of squares of each unit's largest activation per sample, (3, U), float64

    @property
    def count(self) -> int:
        return int(self.moments[0].max())

    @property
    def mean(self) -> Tensor:
        """Each unit's mean over all samples, (U,)."""
        return self.moments[1] / self.moments[0]

    @property
    def is_constant(self) -> Tensor:
        """Which units have the same activation for every sample, (U,)."""
        return self.contrast.isnan()

    @property
    def contrast(self) -> Tensor:
        """Standard deviations by which the top samples' mean exceeds that of all, (U,); NaN where all are equal."""
        deviation = (self.moments[2] / self.moments[0] - self.mean**2).clamp_min(0).sqrt()
        present = self.top.positions >= 0
        top_mean = self.top.values.double().where(present, 0).sum(dim=1) / present.sum(dim=1)
        return (top_mean - self.mean) / deviation.where(deviation > 1e-6 * self.mean.abs(), torch.nan)

    def most_selective(self, count: int) -> list[int]:
        """The rows of at most `count` units: first by purity, then by contrast.

        A unit with a top sample below the mean of all is active too rarely; it is chosen only if there is no other.
        """
        present, contrast = self.top.positions >= 0, self.contrast.nan_to_num(-torch.inf)
        alive = ((self.top.values > self.mean[:, None]) | ~present).all(dim=1) & contrast.isfinite()
        order = torch.arange(len(contrast))
        for measure in (contrast, self.top.purity.nan_to_num(0), alive.double()):  # the last decides first
            order = order[measure[order].argsort(descending=True, stable=True)]
        return [row for row in order.tolist() if alive[row] or not alive.any()][:count]

    @property
    def above_mean(self) -> TopSamples:
        """The top samples without those that do not exceed the unit's mean over all samples."""
        above = (self.top.values > self.mean[:, None]) & ~self.is_constant[:, None]
        values, positions = self.top.values.where(above, -torch.inf), self.top.positions.where(above, -1)
        return replace(self.top, values=values, positions=positions)

    @property
    def purity(self) -> float:
        """The share of each unit's most frequent class, over all its top samples above the mean; NaN without labels."""
        _, counts, labelled = self.above_mean.majority
        return float(counts.sum() / labelled.sum())

    def shuffled_purity(self, class_counts: Mapping[int, int], most_selective: int | None = None) -> float:
        """The mean `purity` with shuffled labels, of the `most_selective` units where they are chosen by their labels.

        `class_counts` are the labels of all samples, of which the top samples draw theirs without replacement.
        """
        labels = torch.tensor([one for one, count in sorted(class_counts.items()) for _ in range(count)])
        positions = self.top.positions.where(self.top.labels >= 0, -1)
        values, index = positions.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        generator, found = torch.Generator().manual_seed(0), []
        for _ in range(SHUFFLES):
            drawn = labels[torch.randperm(len(labels), generator=generator)[: len(values)]]
            drawn = torch.cat([drawn, drawn.new_full((len(values) - len(drawn),), -1)])  # where some came unlabelled
            top = replace(self.top, labels=drawn[index].where(positions >= 0, -1))
            one = replace(self, top=top)
            found.append((one if most_selective is None else one.at(one.most_selective(most_selective))).purity)
        return float(torch.tensor(found).nanmean())

    def at(self, rows: list[int]) -> "LayerTopActivations":
        channels = [self.channels[row] for row in rows]
        return LayerTopActivations(channels, self.top.at(torch.tensor(rows)), self.moments[:, rows])


#: What one process has: by layer its top samples, images by position, by layer its number of channels, samples by class.
State = tuple[dict[str, LayerTopActivations], dict[int, Tensor], dict[str, int], dict[int, int]]


@dataclass(eq=False)
class TopActivations:
    """Keeps for each unit the `count` samples with its largest activations, exactly, in any order: an `Accumulator`.

    Each layer's output is reduced at once to the largest activation of each image, and its position. Memory is bounded by
    the number of units. With `keep_images` the images of the current top samples stay as well, on the CPU, each once; then
    where the units are not given, only as many channels, evenly spread, compete as `MEMORY` holds images of.
    """

    count: int  #: samples of each unit
    layers_of: Callable[[nn.Module, Tensor], Sequence[str]]  #: from the network and an image to the names of the layers
    units_of: Callable[[str], list[int] | None] = lambda layer: None  #: from a layer to its channels; None for all
    keep_images: bool = False
    loader: int = 0  #: the dataloader to look at
    images: dict[int, Tensor] = field(default_factory=dict)  #: by position in the data
    channels: dict[str, list[int]] = field(default_factory=dict)  #: that compete, by layer
    channel_counts: dict[str, int] = field(default_factory=dict)  #: of the layers
    class_counts: Counter[int] = field(default_factory=Counter)  #: samples of each class, of the labelled ones
    _tops: dict[str, list[TopSamples]] = field(default_factory=dict)
    _moments: dict[str, Tensor] = field(default_factory=dict)
    _layers: Sequence[str] = ()

    def hook_points(self, network: nn.Module, images: Tensor) -> Mapping[str, HookPoint]:
        self._layers = self.layers_of(network, images)
        modules = {layer: resolve_layer(network, layer)[1] for layer in self._layers}
        peaks = {
            layer: partial(self._peaks, layer, module, order=token_order(network, layer, images, "layers"))
            for layer, module in modules.items()
        }
        functions = activation_functions(network, images, self._layers)
        return {layer: HookPoint(module, peaks[layer], function=functions[layer]) for layer, module in modules.items()}

    def update(self, batch: RecordedBatch) -> None:
        if batch.loader != self.loader:
            return
        if (known := batch.classes) is not None and any(one in batch.values for one in self._layers):
            known = known.cpu()[torch.from_numpy(batch.positions >= 0)]
            self.class_counts.update(known[known >= 0].tolist())
        for layer in (one for one in self._layers if one in batch.values):
            positions = torch.from_numpy(batch.positions).to(batch.values[layer][0].device)
            classes = batch.classes
            labels = torch.full_like(positions, -1) if classes is None else classes.to(positions)
            top = TopSamples.of(batch.values[layer], positions, labels)
            values = top.values.double().where(top.positions >= 0, 0)
            moments = torch.stack([(top.positions >= 0).sum(dim=1), values.sum(dim=1), (values**2).sum(dim=1)])
            self._moments[layer] = self._moments.get(layer, torch.zeros_like(moments)) + moments
            tops = self._tops[layer] = [*self._tops.get(layer, ()), top]
            # Others wait to be compared, so that sorting is rare.
            if self.keep_images or sum(one.values.shape[1] for one in tops) > self.count + 256:
                self._tops[layer] = [TopSamples.concatenated(tops).largest(self.count)]
        if self.keep_images:
            self._keep_images(dict(zip(batch.positions.tolist(), batch.images, strict=True)))

    @property
    def recorded_layers(self) -> set[str]:
        """Those that ran."""
        return {*self._tops}

    def state(self) -> State:
        return self.compute(), self.images, self.channel_counts, dict(self.class_counts)

    def merge_state(self, states: Sequence[State]) -> None:
        self._tops, self._moments, self.class_counts = {}, {}, Counter()
        for layers, images, counts, classes in states:
            self.class_counts.update(classes)
            self.images, self.channel_counts = self.images | images, self.channel_counts | counts
            for layer, one in layers.items():
                self.channels[layer] = one.channels
                self._tops.setdefault(layer, []).append(one.top)
                self._moments[layer] = self._moments.get(layer, torch.zeros(3, 1)) + one.moments
        if self.keep_images:
            self._tops = {layer: [one.top] for layer, one in self.compute().items()}
            self._keep_images({})

    def compute(self) -> dict[str, LayerTopActivations]:
        """By layer, of those that ran."""
        tops = {layer: TopSamples.concatenated(tops).largest(self.count).cpu() for layer, tops in self._tops.items()}
        moments = {layer: one.cpu() for layer, one in self._moments.items()}
        return {layer: LayerTopActivations(self.channels[layer], top, moments[layer]) for layer, top in tops.items()}

    def _peaks(
        self, layer: str, module: nn.Module, output: Tensor, images: Tensor, order: Tensor | None = None
    ) -> Peaks:
        maps = reorder(channel_maps(module, output, images), order)
        if layer not in self.channels:
            self.channel_counts[layer] = maps.shape[1]
            self.channels[layer] = self.units_of(layer) or self._competing(maps.shape[1], images[:1].nbytes)
        if len(self.channels[layer]) < maps.shape[1]:
            maps = maps[:, self.channels[layer]]
        values, indices = maps.flatten(2).max(dim=2)
        return values.float(), indices // maps.shape[3], indices % maps.shape[3]

    def _competing(self, channels: int, image_bytes: int) -> list[int]:
        most = max(1, MEMORY // (image_bytes * self.count * len(self._layers))) if self.keep_images else channels
        return sorted({round(channel) for channel in torch.linspace(0, channels - 1, min(most, channels)).tolist()})

    def _keep_images(self, new: Mapping[int, Tensor]) -> None:
        """Keep the images of the current top samples, of those so far and the new ones."""
        positions = [top.positions.flatten() for tops in self._tops.values() for top in tops]
        kept = torch.cat(positions).tolist() if positions else []
        self.images = {
            one: self.images[one] if one in self.images else new[one].detach().cpu().clone()
            for one in dict.fromkeys(kept)
            if one in self.images or one in new
        }
