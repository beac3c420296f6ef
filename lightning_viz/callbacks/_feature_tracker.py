"""A layer's features at one snapshot, seen against those of earlier ones."""

import math

import torch
from torch import Tensor

from lightning_viz.collect.samples import Ints
from lightning_viz.methods import linear_cka, nearest, pca, procrustes, stability


class Space:
    """What one layer makes of N samples now, against what is remembered in `kept` of the F that are followed.

    Making one remembers it for the next.

    Args:
        kept: a callback's tensors that survive in checkpoints; this takes those under `tag`.
        tag: what the space is called.
        positions: the samples that are followed, the same each time, (F,).
        rows: where these are among the N, (F,); -1 for one that is missing this time.
        features: (N, D), finite.
        neighbours: how many nearest neighbours to compare.
    """

    def __init__(
        self, kept: dict[str, Tensor], tag: str, positions: Ints, rows: Ints, features: Tensor, neighbours: int
    ) -> None:
        self.rows, self.features = rows[rows >= 0], features
        self._there = torch.from_numpy(rows >= 0)
        now, start = torch.from_numpy(positions), kept.get(f"{tag}/start")
        #: Whether other samples than before are followed, or in another space: nothing can be compared.
        self.is_new = start is None or not torch.equal(kept[f"{tag}/positions"], now)
        self.is_new = self.is_new or start is None or start.shape[1] != features.shape[1]
        if self.is_new:
            for name in ("coordinates", "neighbours"):
                kept.pop(f"{tag}/{name}", None)
            # Half precision as parts of the largest: CKA does not ask for the scale.
            mine = self.followed / self.followed.abs().amax().clamp_min(1e-12) if len(self.rows) else self.followed
            kept |= {f"{tag}/positions": now, f"{tag}/start": self._of_all(mine).half()}
        self.pca = pca(features, 3)
        #: Principal components (N, 3), the first two turned, in their plane, to those of the snapshot before, the third
        #: mirrored to it; on the CPU.
        self.coordinates = self._turned(kept, f"{tag}/coordinates")
        #: The coordinates (F, 2) of those followed; NaN for one that is missing.
        self.film = self._of_all(self.coordinates[self.rows, :2])
        #: Linear CKA of the features followed and those at the start, debiased where there are points enough; NaN where
        #: none was there both times.
        self.cka_with_start = self._cka(kept[f"{tag}/start"].float())
        #: The share of the nearest neighbours, among those followed, that were so before; None the first time.
        self.neighbours_kept = self._stability(kept, f"{tag}/neighbours", neighbours)

    @property
    def followed(self) -> Tensor:
        """The features of the samples followed, which alone give numbers that can be compared over time."""
        return self.features[torch.from_numpy(self.rows).to(self.features.device)]

    def _turned(self, kept: dict[str, Tensor], name: str) -> Tensor:
        found, before = self.pca.coordinates.cpu(), kept.get(name)
        if before is not None:
            mine = self._of_all(found[self.rows])
            both = (mine.isfinite() & before.isfinite()).all(dim=1)
            parts = [
                found[:, axes] @ procrustes(mine[both, axes], before[both, axes]).to(found)
                for axes in (slice(2), slice(2, 3))
            ]
            found = torch.cat(parts, dim=1)
        mine = self._of_all(found[self.rows])
        kept[name] = mine if before is None else mine.where(self._there[:, None], before)
        return found

    def _cka(self, start: Tensor) -> float:
        now, both = self._of_all(self.followed), self._there & start.isfinite().all(dim=1)
        if not both.any():
            return math.nan
        return linear_cka(now[both], start[both], debiased=int(both.sum()) >= 4)

    def _stability(self, kept: dict[str, Tensor], name: str, neighbours: int) -> float | None:
        itself = torch.arange(len(self.rows))
        found = nearest(self.followed, self.followed, neighbours, exclude=itself)[1].cpu()
        now = self._of_all(self._there.nonzero()[:, 0][found].float()).nan_to_num(-1).long()
        before, kept[name] = kept.get(name), now
        if before is None or before.shape != now.shape:
            return None
        both = (now >= 0).all(dim=1) & (before >= 0).all(dim=1)
        return stability(before[both], now[both])

    def _of_all(self, values: Tensor) -> Tensor:
        """Values (P, ...) of those that are there as (F, ...), NaN for the others; on the CPU."""
        every = torch.full((len(self._there), *values.shape[1:]), torch.nan, dtype=torch.float32)
        every[self._there] = values.float().cpu()
        return every
