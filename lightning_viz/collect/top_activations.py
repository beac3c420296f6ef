"""The samples that activate each unit of a layer most, kept from a loop's own forward passes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from lightning_viz.methods.model.layers import layer_maps, resolve_layer

from .recorder import Seen, Tap
from .top_samples import Peaks, Top

PENDING = 256  # samples that wait to be compared, so that it is seldom done
MEMORY = 2**28  # bytes of images to keep where it is not known yet of which units


@dataclass(frozen=True, eq=False)
class Answers:
    """What the units of a layer answered to all of a loop."""

    channels: list[int]  #: (U,), in the order of what follows
    top: Top
    moments: Tensor  #: count, sum and sum of squares of the samples' values, (3, U), float64

    @property
    def count(self) -> int:
        """Of how many samples."""
        return int(self.moments[0].max())

    @property
    def mean(self) -> Tensor:
        return self.moments[1] / self.moments[0]

    @property
    def silent(self) -> Tensor:
        """Which units answer all samples alike, (U,)."""
        return self.contrast.isnan()

    @property
    def contrast(self) -> Tensor:
        """By how many standard deviations of all samples the mean of the strongest exceeds that of all, (U,).

        NaN where all are alike.
        """
        deviation = (self.moments[2] / self.moments[0] - self.mean**2).clamp_min(0).sqrt()
        there = self.top.positions >= 0
        strongest = self.top.values.double().where(there, 0).sum(dim=1) / there.sum(dim=1)
        return (strongest - self.mean) / deviation.where(deviation > 1e-6 * self.mean.abs(), torch.nan)

    def most_selective(self, count: int) -> list[int]:
        """The rows of at most `count` units: first by purity, then by contrast.

        A unit of which one of the strongest samples is not even above the mean of all fires too seldom to be told by
        them, or never; such a one is chosen only if there is no other.
        """
        there, contrast = self.top.positions >= 0, self.contrast.nan_to_num(-torch.inf)
        alive = ((self.top.values > self.mean[:, None]) | ~there).all(dim=1) & contrast.isfinite()
        order = torch.arange(len(contrast))
        for measure in (contrast, self.top.purity.nan_to_num(0), alive.double()):  # the last decides first
            order = order[measure[order].argsort(descending=True, stable=True)]
        return [row for row in order.tolist() if alive[row] or not alive.any()][:count]

    @property
    def shown(self) -> Top:
        """The strongest, without those that do not exceed the mean of all samples: they activate nothing."""
        above = (self.top.values > self.mean[:, None]) & ~self.silent[:, None]
        return replace(
            self.top,
            values=self.top.values.where(above, -torch.inf),
            positions=self.top.positions.where(above, -1),
        )

    def at(self, rows: list[int]) -> "Answers":
        return Answers([self.channels[row] for row in rows], self.top.at(torch.tensor(rows)), self.moments[:, rows])


@dataclass(frozen=True, eq=False)
class Share:
    """What one process has, by layer; images by position."""

    tops: dict[str, Top]
    moments: dict[str, Tensor]
    images: dict[int, Tensor]
    channels: dict[str, list[int]]
    of: dict[str, int]


@dataclass(eq=False)
class Winners:
    """Keeps of each unit the `count` samples that activate it most, exactly, whatever their order: a `Collector`.

    What the layers return is reduced at once to each image's largest activation and its place. Memory is bounded by the
    number of units; with `keep_images` the images of the current winners stay as well, on the CPU, each once. If the units
    are not given, those are of as many channels, evenly spread, as `MEMORY` holds images of, and only these compete.

    Args:
        count: how many samples of each unit.
        listen: from the network and an image to the names of the layers.
        units: from the name of a layer to its channels; None for all.
        keep_images: whether to keep the winners' images.
        loader: the dataloader to look at.
    """

    count: int
    listen: Callable[[nn.Module, Tensor], Sequence[str]]
    units: Callable[[str], list[int] | None] = lambda layer: None
    keep_images: bool = False
    loader: int = 0
    images: dict[int, Tensor] = field(default_factory=dict)  #: by position in the data
    channels: dict[str, list[int]] = field(default_factory=dict)  #: that compete, by layer
    of: dict[str, int] = field(default_factory=dict)  #: how many channels the layer has
    _tops: dict[str, list[Top]] = field(default_factory=dict)
    _moments: dict[str, Tensor] = field(default_factory=dict)
    _layers: Sequence[str] = ()

    def taps(self, network: nn.Module, images: Tensor) -> Mapping[str, Tap]:
        self._layers = self.listen(network, images)
        modules = {layer: resolve_layer(network, layer)[1] for layer in self._layers}
        return {layer: Tap(module, partial(self._peaks, layer, module)) for layer, module in modules.items()}

    def take(self, seen: Seen) -> None:
        if seen.loader != self.loader:
            return
        for layer in self._layers:
            if layer in seen.taken:
                self._add(layer, seen.taken[layer], seen)
        if self.keep_images:
            self._keep_images(dict(zip(seen.positions.tolist(), seen.images, strict=True)))

    def share(self) -> Share:
        """The winners of this process."""
        tops = {layer: Top.joined(tops).strongest(self.count).cpu() for layer, tops in self._tops.items()}
        moments = {layer: one.cpu() for layer, one in self._moments.items()}
        return Share(tops, moments, self.images, self.channels, self.of)

    def merge(self, shares: Sequence[Share]) -> None:
        self._tops, self._moments = {}, {}
        for share in shares:
            self.images, self.of = self.images | share.images, self.of | share.of
            self.channels = self.channels | share.channels
            for layer, top in share.tops.items():
                self._tops.setdefault(layer, []).append(top)
                self._moments[layer] = self._moments.get(layer, torch.zeros(3, 1)) + share.moments[layer]
        if self.keep_images:
            self._tops = {layer: [Top.joined(tops).strongest(self.count)] for layer, tops in self._tops.items()}
            self._keep_images({})

    @property
    def answers(self) -> dict[str, Answers]:
        """By layer, those that were heard."""
        own = self.share()
        return {layer: Answers(own.channels[layer], top, own.moments[layer]) for layer, top in own.tops.items()}

    def _peaks(self, layer: str, module: nn.Module, output: Tensor, images: Tensor) -> Peaks:
        maps = output[:, :, None, None] if output.ndim == 2 else layer_maps(module, output, images)
        if layer not in self.channels:
            self.of[layer] = maps.shape[1]
            self.channels[layer] = self.units(layer) or self._competing(maps.shape[1], images[:1])
        if len(self.channels[layer]) < maps.shape[1]:
            maps = maps[:, self.channels[layer]]
        values, places = maps.flatten(2).max(dim=2)
        return values.float(), places // maps.shape[3], places % maps.shape[3]

    def _competing(self, channels: int, image: Tensor) -> list[int]:
        """The channels to keep images of: all, if that is little."""
        size = image.nbytes * self.count * len(self._layers)
        most = max(1, MEMORY // size) if self.keep_images else channels
        return sorted({round(place) for place in torch.linspace(0, channels - 1, min(most, channels)).tolist()})

    def _add(self, layer: str, peaks: Peaks, seen: Seen) -> None:
        device = peaks[0].device
        positions = torch.from_numpy(seen.positions).to(device)
        labels = torch.full_like(positions, -1) if seen.labels is None else seen.labels.to(positions)
        top = Top.of(peaks, positions, labels)
        values = top.values.double().where(top.positions >= 0, 0)
        moments = torch.stack([(top.positions >= 0).sum(dim=1), values.sum(dim=1), (values**2).sum(dim=1)])
        self._moments[layer] = self._moments.get(layer, torch.zeros_like(moments)) + moments
        tops = self._tops.setdefault(layer, [])
        tops.append(top)
        if self.keep_images or sum(one.values.shape[1] for one in tops) > self.count + PENDING:
            tops[:] = [Top.joined(tops).strongest(self.count)]

    def _keep_images(self, new: Mapping[int, Tensor]) -> None:
        """Of the images so far and the new ones those of current winners."""
        positions = [top.positions.flatten() for tops in self._tops.values() for top in tops]
        kept = torch.cat(positions).tolist() if positions else []
        self.images = {
            one: self.images[one] if one in self.images else new[one].detach().cpu().clone()
            for one in dict.fromkeys(kept)
            if one in self.images or one in new
        }
