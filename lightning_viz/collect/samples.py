"""Samples of the data as the network sees them, kept from a loop's own forward passes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lightning_viz.data.class_balanced import balanced

from .recorder import Seen, Tap

Ints = NDArray[np.int64]
Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Samples:
    """N samples, in the order of the data."""

    positions: Ints  #: in the data's order, (N,)
    labels: Ints  #: true class, -1 where unknown, (N,)
    predicted: Ints  #: predicted class, -1 where unknown, (N,)
    losses: Floats  #: cross-entropy, NaN where unknown, (N,)
    images: Tensor  #: (N, C, h, w), on the CPU, as the model wants them
    features: Mapping[str, Tensor]  #: by tap, (N, D) each, float32, on the CPU

    def __len__(self) -> int:
        return len(self.positions)

    def at(self, rows: Ints) -> "Samples":
        """These rows alone."""
        arrays = {one.name: getattr(self, one.name)[rows] for one in fields(self) if one.name != "features"}
        return Samples(**arrays, features={name: values[rows] for name, values in self.features.items()})

    @classmethod
    def joined(cls, parts: Sequence["Samples"]) -> "Samples":
        """All parts, one below the other."""
        columns = [one.name for one in fields(cls) if one.name not in ("features", "images")]
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
        if len(sizes := {"×".join(map(str, part.images.shape[1:])) for part in parts}) > 1:
            raise ValueError(
                f"the pictures are {', '.join(sorted(sizes)[:3])}; resize them to one size in the data's transforms"
            )
        images = torch.cat([part.images for part in parts])
        names = parts[0].features
        return cls(**arrays, images=images, features={n: torch.cat([p.features[n] for p in parts]) for n in names})


#: From a batch to a number for each of its pictures, (B,): those with the smallest are kept. NaN is never kept.
Key = Callable[[Seen], Floats]


@dataclass(eq=False)
class Keeper:
    """Keeps the `size` samples with the smallest keys, whatever their order and number: a `Collector`.

    As the rule needs no memory of other passes, the same samples are kept each time, and those of several processes merge
    to those of one. Memory is bounded by twice the size.

    Args:
        size: how many to keep.
        key: what decides.
        listen: from the network and an image to the taps whose values are the features.
        class_balanced: as many of each class, as far as there are.
        loader: the dataloader to keep samples of.
        side: pictures are shrunk to fit into a square of this many pixels.
        expected: how many samples there are, where that is known and `key` asks for their positions alone: then what will
            not be kept is not looked at.
    """

    size: int
    key: Key
    listen: Callable[[nn.Module, Tensor], Mapping[str, Tap]] = lambda network, images: {}
    class_balanced: bool = False
    loader: int = 0
    side: int | None = None
    expected: int | None = None
    _kept: list[Samples] = field(default_factory=list)
    _keys: list[Floats] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _bound: float = np.inf

    def __post_init__(self) -> None:
        if self.expected is not None and self.expected > self.size and not self.class_balanced:
            everything = Seen(torch.empty(self.expected, 0), None, None, {}, np.arange(self.expected))
            self._bound = float(np.partition(self.key(everything), self.size)[self.size])

    def taps(self, network: nn.Module, images: Tensor) -> Mapping[str, Tap]:
        taps = self.listen(network, images)
        self._names = list(taps)
        return taps

    def take(self, seen: Seen) -> None:
        """Keep what of this batch may be among the smallest; an unheard tap leaves nothing to keep."""
        if seen.loader != self.loader or any(name not in seen.taken for name in self._names):
            return
        keys = np.asarray(self.key(seen), dtype=np.float64)
        rows = ((keys < self._bound) & (seen.positions >= 0)).nonzero()[0]  # NaN is never smaller
        if not len(rows):
            return
        self._kept.append(self._sampled(seen.at(rows)))
        self._keys.append(keys[rows])
        if sum(map(len, self._keys)) > 2 * self.size:
            self._prune()

    def share(self) -> tuple[list[Samples], list[Floats]]:
        """The smallest of this process."""
        if self._kept:
            self._prune()
        return self._kept, self._keys

    def merge(self, shares: Sequence[tuple[list[Samples], list[Floats]]]) -> None:
        self._kept = [one for kept, _ in shares for one in kept]
        self._keys = [one for _, keys in shares for one in keys]

    @property
    def is_of_hardest(self) -> bool:
        """Whether it keeps the highest losses."""
        return self.key is by_loss

    @property
    def samples(self) -> Samples | None:
        """What was kept, in the order of the data; None if nothing was."""
        if not self._kept:
            return None
        self._prune()
        (kept,) = self._kept
        return kept

    @property
    def best(self) -> Samples | None:
        """The same, smallest key first."""
        kept = self.samples
        return None if kept is None else kept.at(np.argsort(self._keys[0], kind="stable"))

    def choose(self, keys: Floats, positions: Ints, labels: Ints | None, count: int) -> Ints:
        """Which `count` of these to keep, the first choice first; without labels nothing is balanced."""
        order = np.lexsort((positions, keys))
        if self.class_balanced and labels is not None:
            return np.asarray(order[balanced(labels[order], count)])
        return np.asarray(order[:count])

    def _prune(self) -> None:
        kept, keys = Samples.joined(self._kept), np.concatenate(self._keys)
        chosen = self.choose(keys, kept.positions, kept.labels, self.size)
        if len(chosen) == self.size and not self.class_balanced:
            self._bound = float(keys[chosen[-1]])
        chosen = chosen[np.argsort(kept.positions[chosen])]
        self._kept, self._keys = [kept.at(chosen)], [keys[chosen]]

    def _sampled(self, seen: Seen) -> Samples:
        unknown = torch.full((len(seen.images),), -1)
        predicted = unknown if seen.logits is None else seen.logits.argmax(dim=1)
        labels = unknown if seen.labels is None else seen.labels
        images = seen.images.detach()
        return Samples(
            seen.positions,
            labels.cpu().numpy(),
            predicted.cpu().numpy(),
            seen.losses.cpu().numpy(),
            (shrunk(images, self.side) if self.side else images).float().cpu(),
            {name: seen.taken[name].float().cpu() for name in self._names},
        )


def finite_rows(*values: Tensor) -> Ints:
    """The rows that are finite in all of these, (N, ...) each."""
    finite = torch.stack([each.flatten(1).isfinite().all(dim=1) for each in values]).all(dim=0)
    return finite.nonzero()[:, 0].cpu().numpy()


def shrunk(images: Tensor, side: int) -> Tensor:
    """Images (N, C, h, w), or maps (N, h, w), that fit into a square of `side` pixels, float32; smaller ones as they are."""
    factor = side / max(images.shape[-2:])
    if factor >= 1:
        return images
    size = [max(1, round(length * factor)) for length in images.shape[-2:]]
    pictures = images.float().reshape(len(images), -1, *images.shape[-2:])
    smaller = nn.functional.interpolate(pictures, size, mode="bilinear", antialias=True, align_corners=False)
    return smaller.reshape(*images.shape[:-2], *size)


def by_chance(seed: int) -> Key:
    """A hash of the sample's position, uniform from 0 to 1: a random choice that is the same each time (splitmix64)."""

    return partial(_chances, seed)


def _chances(seed: int, seen: Seen) -> Floats:
    return chances(seen.positions, seed)


def chances(positions: Ints, seed: int) -> Floats:
    """The hash of each position."""
    bits = (positions.astype(np.uint64) + np.uint64(1 + (seed << 32))) * np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((bits ^ (bits >> np.uint64(31))) / 2.0**64)


def by_loss(seen: Seen) -> Floats:
    """The highest losses are the smallest keys."""
    return np.asarray(-seen.losses.cpu().numpy().astype(np.float64))
