"""Where people run: several processes, sharded weights, compiled networks, tuners."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy

from lightning_viz.callbacks.processes import is_sharded

from ..careful import differences
from ..support import SUITE, Events, trainer

HERE = Path(__file__).parent


def run_two(folder, accelerator):
    """What the two processes of `several.py` have found; those that wait for each other for ever are ended."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        common = {**os.environ, "MASTER_ADDR": "localhost", "MASTER_PORT": str(free.getsockname()[1])}
    command = [sys.executable, "-W", "ignore", str(HERE / "several.py"), str(folder), accelerator]
    running = [
        subprocess.Popen(command, env={**common, "LOCAL_RANK": rank}, stderr=subprocess.PIPE, text=True)
        for rank in "01"
    ]
    try:
        said = [one.communicate(timeout=120)[1] for one in running]
    finally:
        for one in running:
            one.kill()
    assert [one.returncode for one in running] == [0, 0], "\n".join(text[-3000:] for text in said)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in "01"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("several")


@pytest.fixture(scope="module")
def together(folder):
    return run_two(folder, "cpu")


def check_processes(folder, found):
    for process in found:
        assert differences(process["without"], process["with"]) == []
    assert {tag.split("/")[0] for tag in Events(folder / "with/run/version_0").image_tags} == SUITE
    weights = [process["with"]["weights and buffers"] for process in found]
    assert torch.equal(weights[0]["network.2.weight"], weights[1]["network.2.weight"])
    assert found[0]["with"]["losses"] != found[1]["with"]["losses"]


def test_two_processes_train_bit_identically(folder, together):
    """With a layer that waits for the other process in training mode, and more batches to validate with in one of them."""
    check_processes(folder, together)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="SyncBatchNorm trains on CUDA devices, one for each process")
def test_two_processes_train_bit_identically_with_sync_batchnorm(tmp_path):
    check_processes(tmp_path, run_two(tmp_path, "gpu"))


def test_sharded_weights_are_not_drawn_which_is_said_once(folder, together):
    for rank, process in enumerate(together):
        warnings, steps, kinds = process["sharded"]
        assert "DTensor" in kinds
        assert steps == 2
        assert len(warnings) == (1 if rank == 0 else 0)
    assert "ModelParallelStrategy shards weights" in together[0]["sharded"][0][0]
    assert Events(folder / "sharded/run/version_0").image_tags == []


@pytest.mark.parametrize(
    ("strategy", "sharded"),
    [
        (FSDPStrategy, True),
        (ModelParallelStrategy, True),
        (DeepSpeedStrategy, True),
        (type("Own", (FSDPStrategy,), {}), True),
        (DDPStrategy, False),
    ],
)
def test_strategies_that_shard_are_known(strategy, sharded, tmp_path):
    """By the name that they have in each Lightning."""
    run = trainer(tmp_path)
    assert not is_sharded(run)
    run._accelerator_connector.strategy = strategy.__new__(strategy)  # most of them start on a GPU only
    assert is_sharded(run) == sharded
