"""Checks that the disk has space before TensorBoard writes: a single failed write disables its writer for good."""

import os
import tempfile
from pathlib import Path

RESERVE = 2**20  # bytes that pictures leave free for the scalars of the training


class DiskError(OSError):
    """The folder of a logger cannot be written to."""


def check_disk_space(folder: str | Path, size: int) -> None:
    """Raise DiskError unless `size` bytes, and a reserve, can be written to `folder` now.

    An event file's writer that fails once leaves half a record in the file and raises at the next call, whoever makes it,
    which stops the training. So the space is allocated in a temporary file first, which also finds quotas and folders
    that are missing or read-only. Remote folders are not checked.
    """
    if "://" in str(folder):
        return
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size + RESERVE)
            else:
                file.write(bytes(size + RESERVE))
    except OSError as error:
        reason = error.strerror or error
        raise DiskError(f"cannot write to {folder}: {reason}; make room there, or log to another folder") from error
