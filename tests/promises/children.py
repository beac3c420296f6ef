"""Processes of their own for what must not happen to the tests': quickly, forked from one that has imported all."""

import ctypes
import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

CLONE_NEWNS = 0x20000  # <linux/sched.h>


@contextmanager
def forking(*modules: str) -> Iterator[Callable[..., ForkServerProcess]]:
    """Starts functions of these modules, with arguments, in processes that have them imported."""
    context = multiprocessing.get_context("forkserver")
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    server._stop()  # that of another test file has imported other modules
    context.set_forkserver_preload([*modules])

    def start(work: Callable[..., None], *arguments: Any) -> ForkServerProcess:
        process = context.Process(target=work, args=arguments)
        process.start()
        return process

    yield start
    server._stop()


def finished(process: ForkServerProcess) -> int:
    """Its exit code; one that hangs is killed, and fails the test."""
    process.join(120)
    hangs = process.is_alive()
    if hangs:
        process.kill()
        process.join()
    assert not hangs, "hangs"
    assert process.exitcode is not None
    return process.exitcode


def small_disk(folder: Path, size: str) -> None:
    """A disk of its own at this folder, which only this process sees, and which ends with it."""
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise PermissionError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)


def make_read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
