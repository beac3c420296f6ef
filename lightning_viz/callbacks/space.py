"""A layer's features at one snapshot, seen against those of earlier ones."""

from functools import cached_property

import torch
from torch import Tensor

from lightning_viz.methods import linear_cka, nearest, pca, procrustes, stability

from .samples import Ints


class Space:
    """What one layer makes of N samples now, and, of those that are followed, what is remembered in `kept`.

    Args:
        kept: a callback's tensors that survive in checkpoints; this takes those under `tag`.
        tag: what the space is called.
        positions: which samples these are, (N,).
        rows: those of them that are followed: the same samples each time.
        features: (N, D), finite.
    """

    def __init__(self, kept: dict[str, Tensor], tag: str, positions: Ints, rows: Ints, features: Tensor) -> None:
        self.rows, self.features = rows, features
        self._kept, self._tag, self._followed = kept, tag, torch.from_numpy(rows).to(features.device)
        now, before = torch.from_numpy(positions[rows]), kept.get(f"{tag}/positions")
        start = kept.get(f"{tag}/start")
        #: Whether other samples than before are followed, or in another space: nothing can be compared.
        self.is_new = before is None or start is None or not torch.equal(before, now)
        self.is_new = self.is_new or start is None or start.shape[1] != features.shape[1]
        if self.is_new:
            for name in ("coordinates", "neighbours"):
                kept.pop(f"{tag}/{name}", None)
            mine = self.followed
            # Half precision as parts of the largest: CKA does not ask for the scale.
            kept |= {f"{tag}/positions": now, f"{tag}/start": (mine / mine.abs().max().clamp_min(1e-12)).half().cpu()}
        self.pca = pca(features, 3)

    @cached_property
    def coordinates(self) -> Tensor:
        """Principal components (N, 3), the first two turned, in their plane, to those of the snapshot before, the third
        mirrored to it; on the CPU."""
        found = self.pca.coordinates.cpu()
        before, mine = self._kept.get(f"{self._tag}/coordinates"), found[self._followed.cpu()]
        if before is not None:
            parts = [
                found[:, axes] @ procrustes(mine[:, axes], before[:, axes]).to(found)
                for axes in (slice(2), slice(2, 3))
            ]
            found = torch.cat(parts, dim=1)
        self._kept[f"{self._tag}/coordinates"] = found[self._followed.cpu()]
        return found

    @property
    def followed(self) -> Tensor:
        """The features of the samples followed, which alone give numbers that can be compared over time."""
        return self.features[self._followed]

    @property
    def cka_with_start(self) -> float:
        """Linear CKA of the features followed and those at the start, debiased where there are points enough."""
        start = self._kept[f"{self._tag}/start"].float()
        return linear_cka(self.followed.cpu(), start, debiased=len(start) >= 4)

    def neighbours_kept(self, k: int) -> float | None:
        """The share of the k nearest neighbours, among those followed, that were so before; None the first time."""
        now = nearest(self.followed, self.followed, k, exclude=torch.arange(len(self.rows)))[1].cpu()
        before = self._kept.get(f"{self._tag}/neighbours")
        self._kept[f"{self._tag}/neighbours"] = now
        return None if before is None or before.shape != now.shape else stability(before, now)
