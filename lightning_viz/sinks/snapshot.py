"""The points that TensorBoard's Projector shows for one step, validated."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

LARGEST_COUNT = 100_000  #: TensorBoard sends at most this many rows to the browser


@dataclass(frozen=True, eq=False)
class Snapshot:
    """N points at one step. Raises ValueError for other values or shapes."""

    step: int  #: the global step
    #: Coordinates of the points, (N, D) and finite, by name; one entry of the Projector each.
    embeddings: Mapping[str, NDArray[np.floating[Any]]]
    metadata: Mapping[str, Sequence[str]] = field(default_factory=dict)  #: columns of N texts by name
    thumbnails: NDArray[np.uint8] | None = None  #: pictures of the points, (N, h, w, 3), of any aspect ratio

    def __post_init__(self) -> None:
        if self.step < 0:
            raise ValueError(f"step={self.step} is negative; pass the trainer's global_step")
        if not self.embeddings:
            raise ValueError("embeddings={} is empty; pass at least one array, (N, D)")
        counts: dict[str, int] = {}
        for name, embedding in self.embeddings.items():
            _check_embedding(f"embeddings[{name!r}]", embedding)
            counts[f"embeddings[{name!r}]"] = len(embedding)
        counts |= {f"metadata[{name!r}]": len(column) for name, column in self.metadata.items()}
        if (pictures := self.thumbnails) is not None:
            if pictures.ndim != 4 or pictures.shape[3] != 3 or 0 in pictures.shape:
                raise ValueError(f"thumbnails have the shape {pictures.shape}; pass (N, h, w, 3), grey repeated to RGB")
            if pictures.dtype != np.uint8:
                raise ValueError(f"thumbnails hold {pictures.dtype}; pass uint8, 0 to 255")
            counts["thumbnails"] = len(pictures)
        first = next(iter(counts))
        for name, count in counts.items():
            if count != self.count:
                raise ValueError(f"{name} has {count} rows, {first} has {self.count}; pass one row for each point")

    @property
    def count(self) -> int:
        """The number of points, N."""
        return len(next(iter(self.embeddings.values())))

    @property
    def nbytes(self) -> int:
        """About its size on disk in bytes, without the metadata."""
        pictures = 0 if self.thumbnails is None else self.thumbnails.nbytes
        return pictures + sum(4 * embedding.size for embedding in self.embeddings.values())


def _check_embedding(label: str, embedding: NDArray[np.floating[Any]]) -> None:
    if embedding.ndim != 2 or 0 in embedding.shape:
        raise ValueError(f"{label} has the shape {embedding.shape}; pass (N, D), one row for each point")
    if len(embedding) > LARGEST_COUNT:
        remedy = f"TensorBoard shows at most {LARGEST_COUNT}; pass a sample of them"
        raise ValueError(f"{label} has {len(embedding)} rows; {remedy}")
    if not np.issubdtype(embedding.dtype, np.floating):
        raise ValueError(f"{label} holds {embedding.dtype}; pass floating-point numbers")
    largest = np.abs(embedding).max()  # inf or nan if any is
    if not largest <= np.finfo(np.float32).max:
        raise ValueError(f"{label} holds {largest}; pass finite numbers that fit float32")
