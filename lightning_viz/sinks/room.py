"""Whether the disk takes a picture: to be known before TensorBoard's writer tries, which one failure ends for good."""

import os
import tempfile
from pathlib import Path

RESERVE = 2**20  # bytes that pictures leave to the numbers of the training


class DiskError(OSError):
    """The folder of a logger takes no more."""


def check_room(folder: str | Path, size: int) -> None:
    """Raise DiskError unless `size` bytes can be written to `folder` now, and leave some room.

    An event file's writer that fails once has half a record in the file and raises in whoever logs next, which stops the
    training. So the room is taken on trial, in a file without a name, which tells of quotas and of a folder that is gone or
    read-only as well. Folders that are no local ones are not tried.
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
