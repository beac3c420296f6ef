"""The samples with the largest activations of each unit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

#: The largest activation of each image and channel, and its row and column in the map: (B, U) each.
Peaks = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class TopSamples:
    """The n samples with the largest activations of each of U units, largest first, (U, n) each."""

    values: Tensor  #: the largest activation of the sample; -inf where there is no such sample
    positions: Tensor  #: in the data's order; -1 where there is none
    rows: Tensor  #: of the largest activation in the map
    columns: Tensor
    labels: Tensor  #: -1 where unknown

    @classmethod
    def of(cls, peaks: Peaks, positions: Tensor, labels: Tensor) -> "TopSamples":
        """A batch, in its order. Values that are not finite, and repeated samples (position -1), do not count."""
        values, rows, columns = (one.T for one in peaks)
        valid = values.isfinite() & (positions >= 0)
        values = values.where(valid, -torch.inf)
        return cls(values, positions.expand_as(values).where(valid, -1), rows, columns, labels.expand_as(rows))

    @classmethod
    def concatenated(cls, parts: Sequence["TopSamples"]) -> "TopSamples":
        return cls(*(torch.cat([getattr(part, one.name) for part in parts], dim=1) for one in fields(cls)))

    def largest(self, count: int) -> "TopSamples":
        """The `count` largest; of equal ones those that come first in the data, whatever the order here."""
        # The bits of a float, read as an integer, are in the order of the floats; those of negative ones in reverse order.
        bits = (self.values.float() + 0.0).view(torch.int32).long()  # -0.0 becomes 0.0
        rank = (bits.where(bits >= 0, bits ^ 0x7FFFFFFF) << 32) - self.positions  # then the earlier in the data
        order = rank.topk(min(count, self.values.shape[1]), dim=1).indices
        return self._map(lambda one: one.gather(1, order))

    def at(self, units: Tensor) -> "TopSamples":
        return self._map(lambda one: one[units])

    def cpu(self) -> "TopSamples":
        return self._map(lambda one: one.cpu())

    def _map(self, change: Callable[[Tensor], Tensor]) -> "TopSamples":
        return TopSamples(*(change(getattr(self, one.name)) for one in fields(self)))

    @property
    def majority(self) -> tuple[Tensor, Tensor, Tensor]:
        """Each unit's most frequent class, the number of its samples in that class, and of labelled samples: (U,) each.

        Of equally frequent classes the one of the largest activation.
        """
        known = (self.labels >= 0) & (self.positions >= 0)
        same = (self.labels[:, :, None] == self.labels[:, None, :]) & known[:, None, :] & known[:, :, None]
        counts, first = same.sum(dim=2).max(dim=1)
        return self.labels.gather(1, first[:, None])[:, 0], counts, known.sum(dim=1)

    @property
    def purity(self) -> Tensor:
        """The share of the most frequent class among labelled samples, (U,); NaN where none is labelled."""
        _, counts, known = self.majority
        return counts.double() / known  # 0 / 0 is NaN
