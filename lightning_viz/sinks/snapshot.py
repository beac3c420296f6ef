"""The points that TensorBoard's Projector shows for one step, validated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: TensorBoard sends at most this many rows to the browser.
LARGEST_COUNT = 100_000


@dataclass(frozen=True, eq=False)
class Snapshot:
    """N points at one step.

    Args:
        step: the global step.
        embeddings: coordinates of the points, (N, D) and finite, by name; one entry of the Projector each.
        metadata: columns of N texts by name.
        thumbnails: pictures of the points, (N, h, w, 3), of any aspect ratio.

    Raises ValueError for other values or shapes.
    """

    step: int
    embeddings: Mapping[str, NDArray[np.floating[Any]]]
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)
    thumbnails: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.step < 0:
            raise ValueError(f"step={self.step} is negative; pass the trainer's global_step")
        if not self.embeddings:
            raise ValueError("embeddings={} is empty; pass at least one array, (N, D)")
        for name, embedding in self.embeddings.items():
            _check_embedding(name, embedding)
        first = next(iter(self.embeddings))
        for name, embedding in self.embeddings.items():
            self._check_count(f"embeddings[{name!r}]", len(embedding), first)
        for name, column in self.metadata.items():
            self._check_count(f"metadata[{name!r}]", len(column), first)
        if self.thumbnails is not None:
            _check_thumbnails(self.thumbnails)
            self._check_count("thumbnails", len(self.thumbnails), first)

    @property
    def count(self) -> int:
        """The number of points, N."""
        return len(next(iter(self.embeddings.values())))

    @property
    def nbytes(self) -> int:
        """About its size on disk in bytes, without the metadata."""
        pictures = 0 if self.thumbnails is None else self.thumbnails.nbytes
        return pictures + sum(4 * embedding.size for embedding in self.embeddings.values())

    def _check_count(self, name: str, count: int, first: str) -> None:
        if count != self.count:
            raise ValueError(
                f"{name} has {count} rows, embeddings[{first!r}] has {self.count}; pass one row for each point"
            )


def _check_embedding(name: str, embedding: NDArray[np.floating[Any]]) -> None:
    label = f"embeddings[{name!r}]"
    if embedding.ndim != 2 or 0 in embedding.shape:
        raise ValueError(f"{label} has the shape {embedding.shape}; pass (N, D), one row for each point")
    if len(embedding) > LARGEST_COUNT:
        raise ValueError(
            f"{label} has {len(embedding)} rows; TensorBoard shows at most {LARGEST_COUNT}; pass a sample of them"
        )
    if not np.issubdtype(embedding.dtype, np.floating):
        raise ValueError(f"{label} holds {embedding.dtype}; pass floating-point numbers")
    largest = np.abs(embedding).max()  # inf or nan if any is
    if not largest <= np.finfo(np.float32).max:
        raise ValueError(f"{label} holds {largest}; pass finite numbers that fit float32")


def _check_thumbnails(thumbnails: NDArray[np.uint8]) -> None:
    if thumbnails.ndim != 4 or thumbnails.shape[3] != 3 or 0 in thumbnails.shape:
        raise ValueError(f"thumbnails have the shape {thumbnails.shape}; pass (N, h, w, 3), grey repeated to RGB")
    if thumbnails.dtype != np.uint8:
        raise ValueError(f"thumbnails hold {thumbnails.dtype}; pass uint8, 0 to 255")
