"""Pictures worked on in portions, where memory is too small for all of them at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

Result = TypeVar("Result")


@dataclass
class Portions:
    """Cuts a work on pictures into portions that memory takes, found by halving and stayed with: `most` at once.

    The work must treat each picture for itself, so that the portions together are what all in one go would be.
    """

    most: int | None = None

    def __call__(self, work: Callable[[slice], Tensor], count: int) -> Tensor:
        """`work(part)` of `count` pictures, (n, ...) for each part, put together: (count, ...)."""
        return torch.cat(self.each(work, count))

    def each(self, work: Callable[[slice], Result], count: int) -> list[Result]:
        """What `work` returns for each portion. Raises torch.OutOfMemoryError where one picture is too many."""
        done, results = 0, list[Result]()
        while done < count:
            size = min(self.most or count, count - done)
            try:
                results.append(work(slice(done, done + size)))
                done += size
                continue
            except torch.OutOfMemoryError as error:
                cause = str(error)  # the error itself keeps all that the attempt had allocated
            release()
            if size == 1:
                raise torch.OutOfMemoryError(f"{cause} (down to one picture of {count} was tried)")
            self.most = (size + 1) // 2
        return results


def release() -> None:
    """Give back what CUDA's allocator has cached."""
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
