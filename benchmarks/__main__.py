"""Run all short benchmarks and write their tables to docs/benchmarks.md: `make bench`, at most ten minutes on two cores.

python -m benchmarks [--device cuda] [--only methods space]
"""

import argparse
import datetime
import logging
import platform
import re
import statistics
import subprocess
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks import growth, methods, projector, space, synthesis, waiting

PAGE = Path(__file__).parent.parent / "docs/benchmarks.md"
PEERS = "captum", "grad-cam", "torchcam", "torch-lucent", "scikit-learn", "tensorboard"


def imports(device: str) -> Iterator[str]:
    """Seconds to import `lightning_viz` after Lightning, each time in a new process."""
    program = (
        "import time, pytorch_lightning; start = time.perf_counter(); import lightning_viz; "
        "from lightning_viz import viz_callbacks; print(time.perf_counter() - start)"
    )
    spent = [
        float(subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True).stdout)
        for _ in range(5)
    ]
    yield from ["| import, after pytorch_lightning | seconds |", "| --- | ---: |"]
    yield f"| `lightning_viz` and all its callbacks | {statistics.median(spent):.3f} |"
    yield ""


PARTS = {
    "methods": methods.tables,
    "synthesis": synthesis.tables,
    "waiting": waiting.tables,
    "projector": projector.tables,
    "space": space.tables,
    "growth": growth.tables,
    "imports": imports,
}


def heading(device: str) -> str:
    peers = ", ".join(f"{name} {version(name)}" for name in PEERS)
    machine = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()}"
    return (
        f"{datetime.date.today()}, {machine}, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {peers}. Medians, interleaved in one process.\n"
    )


def write(name: str, lines: list[str]) -> None:
    """Replace the lines between the marks of this name in the page."""
    marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
    text = PAGE.read_text()
    pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
    block = "\n".join([marks[0], "", *lines, marks[1]])
    PAGE.write_text(pattern.sub(lambda _: block, text) if pattern.search(text) else f"{text}\n{block}\n")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    for name in arguments.only:
        lines = [heading(arguments.device)]
        for line in PARTS[name](arguments.device):
            print(line, flush=True)
            lines.append(line)
        write(f"{name} on {arguments.device}", lines)


if __name__ == "__main__":
    main()
