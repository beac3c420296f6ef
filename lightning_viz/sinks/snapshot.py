"""What the Projector is given at one moment of the training, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: TensorBoard sends the browser no more rows than this.
LARGEST_COUNT = 100_000


@dataclass(frozen=True, eq=False)
class Snapshot:
    """The points of one step: where they are, what is known of them, what they look like.

    `embeddings`: a name for each cloud of the same N points, (N, D), finite. `table`: columns of N texts each. `thumbnails`:
    (N, h, w, 3), of any aspect ratio, or None. Raises ValueError for anything else.
    """

    step: int
    embeddings: Mapping[str, NDArray[np.floating[Any]]]
    table: Mapping[str, Sequence[str]] = field(default_factory=dict)
    thumbnails: NDArray[np.uint8] | None = None

    def __post_init__(self) -> None:
        if self.step < 0:
            raise ValueError(f"step={self.step} is negative; pass the trainer's global_step")
        if not self.embeddings:
            raise ValueError("embeddings={} holds nothing to show; pass at least one array, (N, D)")
        for name, embedding in self.embeddings.items():
            _check_embedding(name, embedding)
        first = next(iter(self.embeddings))
        for name, embedding in self.embeddings.items():
            self._check_count(f"embeddings[{name!r}]", len(embedding), first)
        for name, column in self.table.items():
            self._check_count(f"table[{name!r}]", len(column), first)
        if self.thumbnails is not None:
            _check_thumbnails(self.thumbnails)
            self._check_count("thumbnails", len(self.thumbnails), first)

    @property
    def count(self) -> int:
        """N, the number of points."""
        return len(next(iter(self.embeddings.values())))

    @property
    def nbytes(self) -> int:
        """About as much as it takes on disk, the table aside."""
        pictures = 0 if self.thumbnails is None else self.thumbnails.nbytes
        return pictures + sum(4 * embedding.size for embedding in self.embeddings.values())

    def _check_count(self, name: str, count: int, first: str) -> None:
        if count != self.count:
            raise ValueError(
                f"{name} has {count} rows, embeddings[{first!r}] has {self.count}; pass one row for each point in all"
            )


def _check_embedding(name: str, embedding: NDArray[np.floating[Any]]) -> None:
    label = f"embeddings[{name!r}]"
    if embedding.ndim != 2 or 0 in embedding.shape:
        raise ValueError(f"{label} has the shape {embedding.shape}; pass (N, D), one row for each point")
    if len(embedding) > LARGEST_COUNT:
        raise ValueError(f"{label} has {len(embedding)} rows; TensorBoard shows {LARGEST_COUNT}: choose that many")
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
