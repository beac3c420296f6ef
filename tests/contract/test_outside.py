"""Nothing outside is touched: no file outside the logger's folder, no network, whatever classes and tags are called."""

import json
import multiprocessing
import os
import sys

import pytest
import torch

from lightning_viz import Probe

from ..cases import CASES
from ..support import Events, Lit, loader, trainer

EVIL = ["../../escape", "/etc/passwd", "<script>alert(1)</script>", "a\tb\nc\0d"]
CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.symlink", "shutil.rmtree"}
ADDRESSES = {"socket.connect", "socket.getaddrinfo", "subprocess.Popen"}


def draw_and_watch(folder):
    """In a process of its own, since an audit hook stays for good."""
    touched, watching = [], False

    def watch(event, args):
        if not watching:
            return
        if event == "open":
            writes = isinstance(args[1], str) and set(args[1]) & set("wax+")
            if writes or (args[1] is None and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
                touched.append(os.fsdecode(args[0]))
        elif event in CHANGES:
            touched.append(os.fsdecode(args[0]))
        elif event in ADDRESSES:
            touched.append(f"{event} {args}")

    sys.addaudithook(watch)
    probe, found = Probe(torch.rand(4, 3, 12, 12), torch.arange(4), EVIL), {}
    for case in CASES:
        touched = []
        watched = case.make(probe=probe, tag="../../../tag", on_error="raise")
        run = trainer(folder / case.name, [watched], max_epochs=1)
        _ = run.logger.experiment
        watching = True
        run.fit(Lit(), loader(), loader())
        watching = False
        found[case.name] = touched, Events(folder / case.name / "run/version_0").image_tags
    (folder / "found.json").write_text(json.dumps(found))


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """By callback the folder of its run, the files and addresses that were touched, and the tags."""
    folder = tmp_path_factory.mktemp("outside")
    child = multiprocessing.get_context("fork").Process(target=draw_and_watch, args=(folder,))
    child.start()
    child.join(120)
    assert child.exitcode == 0
    found = json.loads((folder / "found.json").read_text())
    return {name: (folder / name, *one) for name, one in found.items()}


def test_only_the_loggers_folder_is_written(case, written):
    folder, touched, tags = written[case.name]
    inside = str(folder / "run/version_0")
    assert [path for path in touched if not os.path.abspath(path).startswith((inside, "/dev/null"))] == []
    assert touched  # among others the file of hyperparameters
    assert tags
