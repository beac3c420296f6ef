"""Several processes: what they find together is what one finds alone, and none waits for another."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ..support import Events
from .several import fit
from .test_embedding_projector import snapshots

HERE = Path(__file__).parent


def run(program, *arguments):
    command = [sys.executable, "-W", "ignore", str(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Of one process, and of two."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    fit(str(alone), 1)
    run(HERE / "several.py", str(together), "2")
    return alone, together


@pytest.fixture(scope="module")
def found(folders):
    return [torch.load(folder / "found.pt") for folder in folders]


def test_the_same_features_of_the_same_samples(folders):
    alone, together = map(snapshots, folders)
    assert len(alone[0]) == 8
    for one, both in zip(alone[0].values(), together[0].values(), strict=True):  # after half as many steps each
        assert both == pytest.approx(one, rel=1e-4, abs=1e-5)
    assert alone[1] == together[1]


def test_the_same_numbers(folders):
    alone, together = (Events(folder / "run/version_0") for folder in folders)
    tags = [tag for tag in alone.scalar_tags if tag.startswith(("activations/", "patches/", "embedding/"))]
    assert {tag.split("/")[0] for tag in tags} == {"activations", "embedding", "patches"}
    for tag in tags:
        assert together.scalars(tag) == pytest.approx(alone.scalars(tag), rel=1e-3, abs=1e-6), tag


def test_the_same_patches_activate_the_units_most(found):
    """Units that are chosen at first, then pinned."""
    alone, together = (one["patches"] for one in found)
    assert len(alone) == len(together) > 4
    for (layer, channels, where, values, images), other in zip(alone, together, strict=True):
        assert (layer, channels) == other[:2]
        assert all(map(torch.equal, where, other[2]))
        torch.testing.assert_close(values, other[3])
        assert images.keys() == other[4].keys()
        assert all(torch.equal(images[n], other[4][n]) for n in images)


def test_the_same_pictures_are_the_hardest(found):
    assert torch.equal(*(one["hardest"] for one in found))


BROKEN = """
import sys
sys.path.insert(0, sys.argv[3])
from tests.support import *
from lightning_viz import GradCAMLogger, Probe
from lightning_viz.callbacks.samples import Keeper

def take(self, seen):
    if torch.distributed.get_rank() == 0:
        raise RuntimeError("no room")
Keeper.take = take
run = pl.Trainer(
    accelerator="cpu", devices=int(sys.argv[2]), strategy="ddp", max_epochs=3, logger=TensorBoardLogger(sys.argv[1]),
    enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    callbacks=[GradCAMLogger(probe=Probe.hardest())],
)
run.fit(Lit(), loader(), loader(batch_size=4))
"""

UNEVEN = """
import sys
sys.path.insert(0, sys.argv[3])
from tests.support import *
from lightning_viz import GradCAMLogger, Probe

class Sharded(Lit):
    def train_dataloader(self):
        return loader()
    def val_dataloader(self):
        return loader(dataset(12 if self.global_rank == 0 else 8), batch_size=4)
    def validation_step(self, batch, batch_idx):
        self(batch[0])
run = pl.Trainer(
    accelerator="cpu", devices=int(sys.argv[2]), strategy="ddp", max_epochs=2, logger=TensorBoardLogger(sys.argv[1]),
    enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False, use_distributed_sampler=False,
    callbacks=[GradCAMLogger(probe=Probe.hardest(), on_error="raise")],
)
run.fit(Sharded())
"""


@pytest.mark.parametrize("program", [BROKEN, UNEVEN], ids=["the first breaks", "a whole sanity check for one alone"])
def test_no_process_waits_for_another(program, tmp_path):
    """The sanity check is two batches: all that the second process has, and not all of the first's."""
    (tmp_path / "program.py").write_text(program)
    run(tmp_path / "program.py", str(tmp_path), "2", str(HERE.parent.parent))
