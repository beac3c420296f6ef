"""Runs in which something goes badly wrong; each is started in a process of its own by `test_faults.py`."""

import contextlib
import ctypes
import gc
import importlib
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import warnings
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from tensorboard.compat.tensorflow_stub.io.gfile import LocalFileSystem

from lightning_viz import EmbeddingProjectorLogger, FilterLogger, Panel, SaliencyLogger, VizCallback
from lightning_viz.render.colour import SignedPixels
from lightning_viz.runtime.session import session_of

from ..processes import make_read_only, small_disk
from ..support import Lit, dataset, loader, quick_suite, trainer

torch.set_num_threads(1)


class Silent(Lit):
    """Logs nothing to TensorBoard: what is written there is the callbacks'."""

    def log(self, *args, **options):
        super().log(*args, **{**options, "logger": False})


class At(pl.Callback):
    """Does something before the step of this number."""

    def __init__(self, step, act):
        self.step, self.act = step, act

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            if queue := session_of(trainer).queue(trainer):
                queue.flush()
            self.act()


# The disk.


def fill(disk):
    """Leaves a few pages, enough for the numbers of a training and for no picture."""
    free = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(free.f_bavail * free.f_bsize - 80 * 1024))


DISK_FAULTS = {"full": fill, "read-only": make_read_only, "gone": lambda disk: shutil.rmtree(disk / "run")}


def run_on_a_small_disk(fault, disk, result):
    """Four epochs of four steps; the disk fails in the second."""
    try:
        small_disk(disk, "32m")
    except (OSError, AttributeError) as error:
        result.write_bytes(pickle.dumps({"cannot": str(error)}))
        return
    module = Lit() if fault == "full" else Silent()
    found = {"raised": None, "checkpoints": 0}
    saving = ModelCheckpoint(result.parent / "saved", save_top_k=-1)
    callbacks = [FilterLogger(), SaliencyLogger(), EmbeddingProjectorLogger()]
    run = trainer(
        disk,
        [*callbacks, At(5, lambda: DISK_FAULTS[fault](disk)), saving],
        max_epochs=4,
        enable_checkpointing=True,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            run.fit(module, loader(), loader())
        except Exception as error:
            found["raised"] = repr(error)
    found["warnings"] = [str(one.message) for one in caught if "lightning_viz" in str(one.message)]
    found["losses"], found["checkpoints"] = len(module.losses), len(list((result.parent / "saved").iterdir()))
    if fault != "gone":
        shutil.copytree(disk / "run/version_0", result.parent / "copy")
    result.write_bytes(pickle.dumps(found))


# kill -9.


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class DiesDrawing(VizCallback):
    """Killed between its two panels, at its third drawing."""

    def draw(self, ctx):
        yield Panel("first/images", ctx.probe.images, SignedPixels())
        if ctx.step == 7:
            session_of(ctx.network.trainer).flush()
            die()
        yield Panel("second/images", ctx.probe.images, SignedPixels())


def run_until_killed_drawing(folder):
    trainer(folder, [FilterLogger(), DiesDrawing()], max_epochs=4).fit(Lit(), loader(), loader())


def run_until_killed_writing(folder):
    """Killed when half of a picture's record is in the event file, at the third drawing."""
    append = LocalFileSystem.append

    def half(self, filename, content, binary_mode=False):
        if b"saliency/gradient/history" in content and (folder / "third").exists():
            append(self, filename, content[: len(content) // 2], binary_mode)
            die()
        append(self, filename, content, binary_mode)

    LocalFileSystem.append = half
    callbacks = [FilterLogger(), SaliencyLogger(), At(4, (folder / "third").touch)]
    trainer(folder, callbacks, max_epochs=4).fit(Lit(), loader(), loader())


def run_for_ever(folder):
    """All of them, at every step, to be killed at any time."""
    trainer(folder, quick_suite(every_n_train_steps=1, max_images=2), max_epochs=-1).fit(Lit(), loader(), loader())


# Ctrl-C.


class Slow(SignedPixels):
    """Renders slowly, in the worker's thread."""

    def __call__(self, values, scale=None):
        time.sleep(0.02)
        return super().__call__(values, scale)


class ManyPanels(VizCallback):
    """More than the queue takes; interrupted when that is full."""

    def draw(self, ctx):
        self.drawn, session = [], session_of(ctx.network.trainer)
        session.flush()
        if ctx.step == 7:
            threading.Thread(target=self._interrupt, args=[session], daemon=True).start()
        for number in range(60):
            yield Panel(f"many/{number}", ctx.probe.images, Slow() if ctx.step == 7 else SignedPixels())
            self.drawn.append(f"many/{number}")

    def _interrupt(self, session):
        (queue,) = session._queues
        while queue._worker._free_slots._value > 0:
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGINT)


class LongDrawing(VizCallback):
    """Interrupted while it computes."""

    def draw(self, ctx):
        self.drawn = []
        yield Panel("long/images", ctx.probe.images, SignedPixels())
        self.drawn.append("long/images")
        if ctx.step == 7:
            threading.Thread(target=os.kill, args=[os.getpid(), signal.SIGINT], daemon=True).start()
            for _ in range(6000):
                time.sleep(0.01)
            self.drawn.append("all")


def run_until_interrupted(kind, folder, result):
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # where a shell has what it starts in the background ignore it
    callback = kind(history=0, max_images=1)
    try:
        trainer(folder, [FilterLogger(), callback], max_epochs=4).fit(Lit(), loader(), loader())
    except SystemExit as error:
        result.write_bytes(pickle.dumps({"code": error.code, "drawn": callback.drawn}))
        raise


# Workers that are forked while the thread paints.


class Importing(SignedPixels):
    """Imports, as painting does, a module that takes its time, anew for each picture."""

    def __call__(self, values, scale=None):
        importlib.import_module("takes_its_time")
        del sys.modules["takes_its_time"]
        return super().__call__(values, scale)


class Busy(VizCallback):
    def draw(self, ctx):
        for number in range(4):
            yield Panel(f"busy/{number}", ctx.probe.images, Importing(), captions=[()] * len(ctx.probe))


class ImportingToo(torch.utils.data.Dataset):
    def __len__(self):
        return 12

    def __getitem__(self, index):
        if torch.utils.data.get_worker_info() is not None:
            importlib.import_module("takes_its_time")
        return dataset()[index]


def run_forking(folder):
    (folder / "takes_its_time.py").write_text("import time\ntime.sleep(0.1)\n")
    sys.path.insert(0, str(folder))
    options = {"num_workers": 2, "multiprocessing_context": "fork", "persistent_workers": False, "timeout": 60}
    data = loader(ImportingToo(), **options)
    busy = Busy(every_n_train_steps=1, history=0, max_images=1)
    trainer(folder, [busy], max_epochs=3).fit(Lit(), data, loader(ImportingToo(), **options))


# Many epochs.


class Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of <malloc.h>: bytes over all arenas; `fordblks` are those that are free."""

    _fields_ = [("others", ctypes.c_size_t * 8), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t)]


def in_use():
    """MiB of the process's own resident memory, less what the allocator holds free.

    What is free goes back to the kernel or not as it lies: one piece of 16 MiB came and went between epochs.
    Pages of files, such as libraries, come and go as the kernel likes.
    """
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = Mallinfo
    libc.malloc_trim(0)
    sizes = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    own = sum(int(sizes[name].split()[0]) for name in ("RssAnon", "VmSwap")) * 1024
    return (own - libc.mallinfo2().fordblks) / 2**20


class Measuring(pl.Callback):
    """What is there after 50 epochs and after 200."""

    def __init__(self, result):
        self.result, self.found = result, {}

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch in (50, 199):
            session_of(trainer).flush()
            gc.collect()
            self.found[trainer.current_epoch] = {
                "MiB": in_use(),
                "tensors": sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects()),
                "arrays": sum(isinstance(one, np.ndarray) for one in gc.get_objects()),
                "threads": threading.active_count(),
                "files": len(os.listdir("/proc/self/fd")),
                "hooks": sum(
                    len(hooks)
                    for part in pl_module.modules()
                    for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks)
                ),
            }
            self.result.write_bytes(pickle.dumps(self.found))


def run_many_epochs(folder, result):
    callbacks = quick_suite(every_n_epochs=10, max_images=1, history=2, on_error="raise")
    data = loader(dataset(count=8), batch_size=8)
    run = trainer(folder, [*callbacks, Measuring(result)], max_epochs=200, log_every_n_steps=10**6)
    run.fit(Silent(), data, data)


def quietly(work, *arguments):
    """Without the words of the trainer, whose process is killed."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stderr(nowhere):
        work(*arguments)
