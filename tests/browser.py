"""A real TensorBoard and a real Chromium that looks at it, neither of which can reach beyond this machine."""

import contextlib
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

OPTIONS = [
    "--no-sandbox",
    "--use-gl=angle",  # WebGL without a graphics card
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


@contextlib.contextmanager
def tensorboard(folder: Path, *options: str) -> Iterator[str]:
    """The address of a TensorBoard on this folder, on the loopback interface, once it has found a run."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", folder, "--host", "127.0.0.1", "--port", str(port)]
    board = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/data/runs") as answer:
                if answer.read().strip() != b"[]":
                    break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        board.terminate()
        board.wait()


@contextlib.contextmanager
def chromium(height: int) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=OPTIONS)
        yield browser.new_page(viewport={"width": 1400, "height": height})
        browser.close()
