"""Batches of images: sized to fit in memory, and several variants of one batch at once."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")

FORWARD = 1 / 3  #: the cost of a forward pass alone, where a forward and a backward pass count 1


@dataclass
class AutoBatch:
    """Splits work on images into batches that fit in memory.

    The work must treat each image independently, so that the batches together give what a single one would.
    """

    limit: int | None = None  #: the largest batch; halved each time memory runs out, and kept for later calls

    def cat(self, work: Callable[[slice], Tensor], count: int) -> Tensor:
        """`work(part)` of `count` images, (n, ...) for each batch, concatenated: (count, ...)."""
        return torch.cat(self.map(work, count))

    def map(self, work: Callable[[slice], Result], count: int) -> list[Result]:
        """The result of `work(part)` for each batch. Raises torch.OutOfMemoryError where a single image does not fit."""
        done, results = 0, list[Result]()
        while done < count:
            size = min(self.limit or count, count - done)
            try:
                results.append(work(slice(done, done + size)))
                done += size
                continue
            except torch.OutOfMemoryError as error:
                cause = str(error)  # the error itself keeps alive all that the attempt had allocated
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.empty_cache()
            if size == 1:
                raise torch.OutOfMemoryError(f"{cause} (tried down to 1 image of {count})")
            self.limit = (size + 1) // 2
        return results


def images_at_once(batch_size: int | None, images: Tensor) -> int:
    """How many images go through the model at once: `batch_size`, by default 16 on a CPU, else 64, which keep a GPU busy.

    Raises ValueError for a `batch_size` below 1.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size={batch_size} is too small; give 1 or more")
    return batch_size or (16 if images.device.type == "cpu" else 64)


def group_variants(variants: Iterable[Tensor], batch_size: int) -> Iterator[list[Tensor]]:
    """Variants of a batch (B, C, H, W) in groups of at most `batch_size` images, but at least one variant each."""
    rest = iter(variants)
    for first in rest:
        yield [first, *islice(rest, max(1, batch_size // len(first)) - 1)]
