"""The samples that activate units most."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

#: Of each image and channel the largest activation, and the row and the column of its place: (B, U) each.
Peaks = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Top:
    """Of U units of a layer the n samples each that activate them most, strongest first, (U, n) each."""

    values: Tensor  #: the largest activation of the sample; -inf where there is no such sample
    positions: Tensor  #: in the data's order; -1 where there is none
    rows: Tensor  #: of the place that is activated most
    columns: Tensor
    labels: Tensor  #: -1 where unknown

    @classmethod
    def of(cls, peaks: Peaks, positions: Tensor, labels: Tensor) -> "Top":
        """A batch, in its order. What is not finite is no activation; position -1 is a repeated sample."""
        values, rows, columns = (one.T for one in peaks)
        there = values.isfinite() & (positions >= 0)
        values = values.where(there, -torch.inf)
        return cls(values, positions.expand_as(values).where(there, -1), rows, columns, labels.expand_as(rows))

    @classmethod
    def joined(cls, parts: Sequence["Top"]) -> "Top":
        """The samples of all parts, of the same units."""
        return cls(*(torch.cat([getattr(part, one.name) for part in parts], dim=1) for one in fields(cls)))

    def strongest(self, count: int) -> "Top":
        """The `count` largest; of equals those that come first in the data, whatever the order here."""
        order = self._rank.topk(min(count, self.values.shape[1]), dim=1).indices
        return self._map(lambda one: one.gather(1, order))

    def at(self, units: Tensor) -> "Top":
        """These rows alone."""
        return self._map(lambda one: one[units])

    def cpu(self) -> "Top":
        return self._map(lambda one: one.cpu())

    @property
    def _rank(self) -> Tensor:
        """A different whole number for each sample, higher the stronger, then the earlier it is; one sort decides by both.

        The bits of a float, read as an integer, are in the order of the floats; those of negative ones backwards.
        """
        bits = (self.values.float() + 0.0).view(torch.int32).long()  # -0.0 becomes 0.0
        return (bits.where(bits >= 0, bits ^ 0x7FFFFFFF) << 32) - self.positions

    def _map(self, change: Callable[[Tensor], Tensor]) -> "Top":
        return Top(*(change(getattr(self, one.name)) for one in fields(self)))

    @property
    def classes(self) -> tuple[Tensor, Tensor, Tensor]:
        """Each unit's most frequent class, how many of its samples are of it, and of how many the class is known: (U,).

        Of equally frequent classes that of the strongest sample.
        """
        known = (self.labels >= 0) & (self.positions >= 0)
        same = (self.labels[:, :, None] == self.labels[:, None, :]) & known[:, None, :] & known[:, :, None]
        counts, first = same.sum(dim=2).max(dim=1)
        return self.labels.gather(1, first[:, None])[:, 0], counts, known.sum(dim=1)

    @property
    def purity(self) -> Tensor:
        """The share of the most frequent class, (U,); NaN where no class is known."""
        _, counts, known = self.classes
        return counts.double() / known  # 0 / 0 is NaN
