"""Several processes: training is bit-identical, they record together what one records alone, and none waits for another."""

from pathlib import Path

import pytest
import torch

from ..careful import differences
from ..processes import run_two
from ..sinks.projector_backend import ProjectorBackend
from ..support import SUITE, Events
from .together import record

PROGRAM = Path(__file__).with_name("together.py")


class Two:
    """What two processes found, part by part: all parts in one pair of processes."""

    def __init__(self, folder, accelerator):
        self.folder, self.said = folder, run_two(PROGRAM, folder, accelerator)

    def __getitem__(self, part):
        files = [self.folder / f"{part}-{rank}.pt" for rank in (0, 1)]
        assert all(one.exists() for one in files), self.said
        return [torch.load(one, weights_only=False) for one in files]

    def events(self, part):
        return Events(self.folder / part / "run/version_0")


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return Two(tmp_path_factory.mktemp("two"), "cpu")


# Training.


def check_processes(two):
    found = two["train"]
    for process in found:
        assert differences(process["without"], process["with"]) == []
    assert {tag.split("/")[0] for tag in two.events("with").image_tags} == SUITE
    weights = [process["with"]["weights and buffers"] for process in found]
    assert torch.equal(weights[0]["network.2.weight"], weights[1]["network.2.weight"])
    assert found[0]["with"]["losses"] != found[1]["with"]["losses"]


def test_two_processes_train_bit_identically(two):
    """With a layer that waits for the other process in training mode, and more batches to validate with in one of them."""
    check_processes(two)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="SyncBatchNorm trains on CUDA devices, one for each process")
def test_two_processes_train_bit_identically_with_sync_batchnorm(tmp_path):
    check_processes(Two(tmp_path, "gpu"))


def test_sharded_weights_are_not_drawn_which_is_said_once(two):
    for rank, (warnings, steps, kinds) in enumerate(two["sharded"]):
        assert "DTensor" in kinds
        assert steps == 2
        assert len(warnings) == (1 if rank == 0 else 0)
    assert "ModelParallelStrategy shards weights" in two["sharded"][0][0][0]
    assert two.events("sharded").image_tags == []


# Recording.


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of one process, and what it found."""
    folder = tmp_path_factory.mktemp("alone")
    return folder, record(folder)


def test_the_same_features_of_the_same_samples(two, alone):
    one, both = (ProjectorBackend(folder / "run/version_0") for folder in (alone[0], two.folder / "recorded"))
    names = [*one.embeddings], [*both.embeddings]
    assert len(names[0]) == len(names[1]) == 8
    for name, other in zip(*names, strict=True):  # after half as many steps each
        assert both.tensor(other) == pytest.approx(one.tensor(name), rel=1e-4, abs=1e-5)
    assert one.lines(names[0][-1]) == both.lines(names[1][-1])


def test_the_same_numbers(two, alone):
    one, both = Events(alone[0] / "run/version_0"), two.events("recorded")
    tags = [tag for tag in one.scalar_tags if tag.startswith(("activations/", "patches/", "embedding/"))]
    assert {tag.split("/")[0] for tag in tags} == {"activations", "embedding", "patches"}
    for tag in tags:
        assert both.scalars(tag) == pytest.approx(one.scalars(tag), rel=1e-3, abs=1e-6), tag


def test_the_same_patches_activate_the_units_most(two, alone):
    """Units that are chosen at first, then pinned."""
    one, both = alone[1]["patches"], two["recorded"][0]["patches"]
    assert len(one) == len(both) > 4
    for (layer, channels, where, values, images), other in zip(one, both, strict=True):
        assert (layer, channels) == other[:2]
        assert all(map(torch.equal, where, other[2]))
        torch.testing.assert_close(values, other[3])
        assert images.keys() == other[4].keys()
        assert all(torch.equal(images[n], other[4][n]) for n in images)


def test_the_same_pictures_are_the_hardest(two, alone):
    assert torch.equal(alone[1]["hardest"], two["recorded"][0]["hardest"])


def test_pinned_channels_and_units_are_the_same_in_all_processes(two):
    first, second = (process["pins"] for process in two["recorded"])
    assert first == second
    *_, last = first
    assert last.keys() == {"ActivationLogger", "Spied"}
    assert all(last["ActivationLogger"]["channels"].values())
    assert len(last["Spied"]["units"]) == 2


# Failures.


@pytest.mark.parametrize("rank", [0, 1])
def test_what_fails_to_record_in_one_process_is_dropped_in_both_alone(two, rank):
    for process in two[f"broken in {rank}"]:
        assert [name for name, disabled in process["disabled"].items() if disabled] == ["hardest", "breaks"]
        assert process["steps"] == 6
    first, second = two[f"broken in {rank}"]
    assert second["warnings"] == []
    causes = "no room for the hardest", "no room for statistics"
    assert len(first["warnings"]) == len(causes)
    for warning, cause in zip(first["warnings"], causes, strict=True):
        assert f"RuntimeError: {cause}" in warning
        assert ("another process failed to record" in warning) == (rank == 1)


@pytest.mark.parametrize("rank", [0, 1])
def test_where_one_process_fails_to_record_all_else_goes_on(two, rank):
    events = two.events(f"broken in {rank}")
    steps = {tag: events.image_steps(tag) for tag in events.image_tags}
    broken = {tag: found for tag, found in steps.items() if tag.startswith(("breaks/", "hardest/"))}
    assert {tuple(found) for found in broken.values()} == {(0, 1)}
    assert {tag.partition("/")[0] for tag in broken} == {"breaks"}
    others = {tag: found for tag, found in steps.items() if tag not in broken}
    assert {tag.partition("/")[0] for tag in others} == {"filters", "activations", "patches", "embedding"}
    assert {tuple(found) for found in others.values()} == {(0, 1, 3, 5)}
    dead = [tag for tag in events.scalar_tags if tag.startswith("activations/") and tag.endswith("/dead")]
    assert dead
    assert all(events.scalar_steps(tag) == [1, 3, 5] for tag in dead)  # recorded in both processes
    assert len(list((two.folder / f"broken in {rank}/saved").iterdir())) == 3


def test_no_process_waits_for_another_after_a_sanity_check_that_is_complete_in_one_alone(two):
    assert two["uneven"] == [8, 8]
