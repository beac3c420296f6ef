"""Child processes: for what must not happen to the tests' own process, and for what needs a fresh one, or two."""

import ctypes
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CLONE_NEWNS = 0x20000  # <linux/sched.h>


def run_python(*arguments: object, cwd: Path = ROOT, code: int = 0) -> subprocess.CompletedProcess[str]:
    """`python arguments`, once, with these packages importable. Fails unless it ends with this exit code."""
    command = [sys.executable, "-W", "ignore", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment(), timeout=600)
    assert done.returncode == code, done.stderr[-3000:]
    return done


def run_two(program: Path, *arguments: object, timeout: float = 300) -> str:
    """Two processes of one run, as Lightning starts them on a cluster; what they write to stderr.

    Those that wait for each other forever are killed.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        common = {**environment(), "MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    command = [sys.executable, "-W", "ignore", str(program), *map(str, arguments)]
    running = [
        subprocess.Popen(command, env={**common, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    said = []
    for one in running:
        try:
            said.append(one.communicate(timeout=timeout)[1])
        except subprocess.TimeoutExpired:
            said.append("waits forever")
            for each in running:
                each.kill()
    return "\n".join(text[-3000:] for text in said if text)


def environment() -> dict[str, str]:
    """This process's, with the packages under test importable from any folder."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])}


@contextmanager
def forking(*modules: str) -> Iterator[Callable[..., ForkServerProcess]]:
    """Starts functions of these modules, with arguments, in processes forked from one that has them imported."""
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
    """Its exit code; a process that hangs is killed, and fails the test."""
    process.join(120)
    hangs = process.is_alive()
    if hangs:
        process.kill()
        process.join()
    assert not hangs, "hangs"
    assert process.exitcode is not None
    return process.exitcode


def small_disk(folder: Path, size: str) -> None:
    """A small disk at this folder, which only this process sees, and which ends with it."""
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise PermissionError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)


def make_read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)
