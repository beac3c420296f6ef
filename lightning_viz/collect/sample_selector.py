"""SampleSelector: keeps the samples with the smallest keys, such as a random choice or the highest losses."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from lightning_viz.data.class_balanced import choose_rows, hash_uniform
from lightning_viz.methods.features.downscale import downscale

from .accumulator import HookPoint, RecordedBatch
from .samples import Floats, Ints, Samples

#: From a batch to a key for each of its samples, (B,): the smallest are kept, NaN never is.
Key = Callable[[RecordedBatch], Floats]


@dataclass(eq=False)
class SampleSelector:
    """Keeps the `size` samples with the smallest keys, whatever their order and number: an `Accumulator`.

    The same samples are kept in each loop, and those of several processes merge to those of one. Memory is bounded by
    twice the size.
    """

    size: int  #: how many to keep
    key: Key
    #: From the network and an image to the hook points whose values are the features.
    features_of: Callable[[nn.Module, Tensor], Mapping[str, HookPoint]] = lambda network, images: {}
    class_balanced: bool = False  #: as many of each class, as far as there are
    loader: int = 0  #: the dataloader to select from
    side: int | None = None  #: images are downscaled to fit into a square of this many pixels
    #: Samples there are, where known and `key` depends on positions alone: those that cannot be kept are skipped at once.
    expected: int | None = None
    _kept: list[Samples] = field(default_factory=list)
    _keys: list[Floats] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _bound: float = np.inf

    def __post_init__(self) -> None:
        if self.expected is not None and self.expected > self.size and not self.class_balanced:
            everything = RecordedBatch(torch.empty(self.expected, 0), None, None, {}, np.arange(self.expected))
            self._bound = float(np.partition(self.key(everything), self.size)[self.size])

    def hook_points(self, network: nn.Module, images: Tensor) -> Mapping[str, HookPoint]:
        points = self.features_of(network, images)
        self._names = list(points)
        return points

    def update(self, batch: RecordedBatch) -> None:
        """Keep what of this batch may be among the smallest; nothing where a hook point was not reached."""
        if batch.loader != self.loader or any(name not in batch.values for name in self._names):
            return
        keys = np.asarray(self.key(batch), dtype=np.float64)
        rows = ((keys < self._bound) & (batch.positions >= 0)).nonzero()[0]  # NaN is never smaller
        if not len(rows):
            return
        batch, unknown = batch.at(rows), torch.full((len(rows),), -1)
        classes, predicted = batch.classes, batch.output.predictions
        self._keys.append(keys[rows])
        self._kept.append(
            Samples(
                batch.positions,
                (unknown if classes is None else classes).cpu().numpy(),
                (unknown if predicted is None else predicted).cpu().numpy(),
                batch.losses.cpu().numpy(),
                self._picture_of(batch.images).detach().cpu(),
                {name: batch.values[name].float().cpu() for name in self._names},
                _label_sets(batch),
            )
        )
        if sum(map(len, self._keys)) > 2 * self.size:
            self._prune()

    def state(self) -> tuple[list[Samples], list[Floats]]:
        self._prune()
        return self._kept, self._keys

    def merge_state(self, states: Sequence[tuple[list[Samples], list[Floats]]]) -> None:
        self._kept = [one for kept, _ in states for one in kept]
        self._keys = [one for _, keys in states for one in keys]

    def compute(self) -> Samples | None:
        """The samples kept, in the order of the data; None where there are none."""
        self._prune()
        return self._kept[0] if self._kept else None

    def ranked(self) -> Samples | None:
        """The same, smallest key first."""
        kept = self.compute()
        return None if kept is None else kept.at(np.argsort(self._keys[0], kind="stable"))

    def _picture_of(self, images: Tensor) -> Tensor:
        if self.side:
            return downscale(images, self.side).float()
        return images.float() if images.is_floating_point() else images  # as the model expects them

    def _prune(self) -> None:
        if not self._kept:
            return
        kept, keys = Samples.concatenated(self._kept), np.concatenate(self._keys)
        chosen = choose_rows(keys, kept.positions, kept.labels if self.class_balanced else None, self.size)
        if len(chosen) == self.size and not self.class_balanced:
            self._bound = float(keys[chosen[-1]])
        chosen = chosen[np.argsort(kept.positions[chosen])]
        self._kept, self._keys = [kept.at(chosen)], [keys[chosen]]


def _label_sets(batch: RecordedBatch) -> Ints | None:
    """True and predicted labels of data with several, (B, 2, K), zeros and ones."""
    labels, predicted = batch.labels, batch.output.predicted_labels
    if labels is None or predicted is None or labels.shape != predicted.shape:
        return None
    return torch.stack([labels.long(), predicted.to(labels.device).long()], dim=1).cpu().numpy()


def by_hash(seed: int) -> Key:
    """A random choice that is the same each time: a hash of each sample's position."""
    return lambda batch: hash_uniform(batch.positions, seed)


def preferring(positions: Ints, key: Key) -> Key:
    """The samples at these positions first, then those with the smallest keys, which are 0 or more."""
    return lambda batch: key(batch) - np.isin(batch.positions, positions)


def by_loss(batch: RecordedBatch) -> Floats:
    """The highest losses have the smallest keys."""
    return np.asarray(-batch.losses.cpu().numpy().astype(np.float64))
