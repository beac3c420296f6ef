import pytest
import torch
from torch import nn

from lightning_viz.collect.accumulator import HookPoint, RecordedBatch
from lightning_viz.collect.recorder import ForwardRecorder, Recording, modules_returning_scores
from lightning_viz.data.batch import BatchError, unpack_batch
from lightning_viz.methods.model.modes import evaluating
from lightning_viz.runtime.network import find_network

from ..support import Lit, loader, small_network
from .loop import accumulate, run_loop


class KeepAll:
    """An accumulator that keeps each batch."""

    def __init__(self, points=None):
        self.points, self.batches = points or {}, []

    def hook_points(self, network, images):
        return self.points

    def update(self, batch):
        self.batches.append(batch)

    def state(self):
        return self.batches

    def merge_state(self, states):
        self.batches = [one for state in states for one in state]

    def compute(self):
        return self.batches


class FailsIn(KeepAll):
    """Fails in one of its methods, or where its value is reduced."""

    def __init__(self, where):
        super().__init__()
        self.where = where

    def hook_points(self, network, images):
        self._fail("hook_points")
        return {"bn": HookPoint(network[1], lambda activation, images: self._fail("reduce"))}

    def update(self, batch):
        self._fail("update")

    def state(self):
        self._fail("state")

    def merge_state(self, states):
        self._fail("merge_state")

    def _fail(self, where):
        if where == self.where:
            raise RuntimeError("no room")


def recorded(network, batches, step=None, points=None, **options):
    """The batches that an accumulator gets, each run by `step`."""
    return accumulate(network, batches, KeepAll(points), step=step, **options).compute()


def hooks_of(network):
    return [hook for part in network.modules() for hook in (*part._forward_hooks, *part._forward_pre_hooks)]


def names(modules, network):
    by_module = {module: name for name, module in network.named_modules()}
    return [by_module[module] for module in modules]


@pytest.fixture
def network():
    return small_network().eval()


@pytest.fixture
def batch():
    return next(iter(loader()))


# Which modules return the scores.


def test_the_head_and_the_network_return_the_scores(network):
    assert names(modules_returning_scores(network, torch.rand(1, 3, 12, 12)), network) == ["9", ""]


def test_the_scores_inside_a_dict_are_those_of_the_head():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = small_network()

        def forward(self, images):
            return {"logits": self.body(images), "loss": torch.zeros(())}

    network = Wrapped()
    assert names(modules_returning_scores(network, torch.rand(1, 3, 12, 12)), network) == ["body.9", "body", ""]


def test_a_network_that_flattens_its_scores_returns_them_itself():
    network = nn.Sequential(nn.Conv2d(3, 5, 1), nn.AdaptiveAvgPool2d(1))

    class Flattening(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = network

        def forward(self, images):
            return torch.flatten(self.body(images), 1) * 2

    flattening = Flattening()
    assert names(modules_returning_scores(flattening, torch.rand(1, 3, 12, 12)), flattening) == [""]


# What is recorded.


@pytest.mark.parametrize("call", ["module", "network", "head"])
def test_the_scores_are_recorded_whatever_the_step_calls(call):
    module = Lit().eval()
    batches = list(loader())

    def step(batch):
        if call == "module":
            module(batch[0])
        elif call == "network":
            module.network(batch[0])
        else:
            module.network[9](module.network[:9](batch[0]))

    found = recorded(find_network(module, None), batches, step)
    for one, batch in zip(found, batches, strict=True):
        assert torch.equal(one.scores, module(batch[0]))
        assert torch.allclose(one.losses, nn.functional.cross_entropy(module(batch[0]), batch[1], reduction="none"))


def test_positions_count_the_samples_of_the_loop(network):
    batches = list(loader(batch_size=10))
    assert [one.positions.tolist() for one in recorded(network, batches)] == [
        list(range(10)), list(range(10, 20)), list(range(20, 24))
    ]  # fmt: skip


def test_an_output_is_reduced_before_the_next_layer_overwrites_it(network, batch):
    points = {"bn": HookPoint(network[1], lambda activation, images: activation.amin(dim=(1, 2, 3)))}
    (found,) = recorded(network, [batch], points=points)
    assert (found.values["bn"] < 0).all()  # what an in-place ReLU would have made 0


def test_a_point_of_the_input_gets_the_modules_input(network, batch):
    points = {"embedding": HookPoint(network[9], lambda inputs, images: inputs.clone(), of_input=True)}
    (found,) = recorded(network, [batch], points=points)
    assert torch.equal(found.values["embedding"], network[:9](found.images))


def test_calls_with_other_images_are_not_recorded(network, batch):
    def step(batch):
        network(batch[0])
        network(torch.rand(2, 3, 12, 12))  # a sanity check of the user's own

    (found,) = recorded(network, [batch], step)
    assert torch.equal(found.scores, network(found.images))


def test_without_scores_there_are_no_losses(batch):
    (found,) = recorded(nn.Conv2d(3, 1, 1), [batch])
    assert found.scores is None
    assert found.losses.isnan().all()


def test_unlabelled_samples_have_no_loss():
    labels = torch.tensor([0, -1, 1, -100])
    losses = RecordedBatch(torch.zeros(4, 3, 2, 2), labels, torch.zeros(4, 3), {}, torch.arange(4).numpy()).losses
    assert losses.isnan().tolist() == [False, True, False, True]


def test_labels_beyond_the_classes_have_no_loss():
    batch = RecordedBatch(
        torch.zeros(2, 3, 2, 2), torch.tensor([99, 1]), torch.zeros(2, 3), {}, torch.arange(2).numpy()
    )
    assert batch.losses.isnan().tolist() == [True, False]


def test_one_negative_label_of_a_batch_unlabels_its_sample_alone(network, batch):
    images, labels = batch
    given = labels.clone()
    given[2] = -100
    (found,) = recorded(network, [(images, given)])
    assert found.labels.tolist() == [*labels[:2].tolist(), -1, *labels[3:].tolist()]
    assert found.losses.isnan().tolist() == [index == 2 for index in range(len(labels))]


def test_rows_of_a_batch_keep_together(batch):
    images, labels = batch
    scores, positions = torch.rand(6, 4), torch.arange(10, 16).numpy()
    rows = torch.tensor([4, 1]).numpy()
    part = RecordedBatch(images, labels, scores, {"layer": images[:, 0, 0]}, positions, 1).at(rows)
    assert torch.equal(part.images, images[[4, 1]])
    assert torch.equal(part.labels, labels[[4, 1]])
    assert torch.equal(part.scores, scores[[4, 1]])
    assert torch.equal(part.values["layer"], images[[4, 1], 0, 0])
    assert (part.positions.tolist(), part.loader) == ([14, 11], 1)


@pytest.mark.parametrize("call", ["returns one number", "is called by keyword"])
def test_a_point_without_a_value_stops_nothing(call, network, batch):
    """The hooks run in the user's own validation step."""
    criterion = nn.CrossEntropyLoss()
    if call == "returns one number":
        points = {"loss": HookPoint(criterion, lambda activation, images: activation)}
        (found,) = recorded(network, [batch], lambda batch: criterion(network(batch[0]), batch[1]), points)
    else:
        points = {"head": HookPoint(network[9], lambda inputs, images: inputs, of_input=True)}
        (found,) = recorded(network, [batch], lambda batch: network[9](input=network[:9](batch[0])), points)
    assert found.values == {}
    assert torch.equal(found.scores, network(found.images))


# Compiled networks.


def test_a_loop_that_skips_hooks_is_rerun_once_per_batch_for_all(network):
    """As that of a compiled network: its own pass records nothing."""
    batches, runs = list(loader()), []
    network.register_forward_pre_hook(lambda module, inputs: runs.append(len(inputs[0])))
    points = {"bn": HookPoint(network[1], lambda activation, images: activation.amin(dim=(1, 2, 3)))}
    accumulators = [KeepAll(points), KeepAll()]
    run_loop(
        network,
        batches,
        [Recording([one]) for one in accumulators],
        step=lambda batch: None,
        rerun=lambda: evaluating(network),
    )
    assert runs == [1, 6, 6, 6, 6]
    for one in accumulators:
        assert [torch.equal(found.scores, network(found.images)) for found in one.compute()] == [True] * 4
    assert all("bn" in found.values for found in accumulators[0].compute())


def test_a_network_that_overwrites_its_input_leaves_the_batch_to_the_loop():
    network = nn.Sequential(nn.Threshold(2, 0, inplace=True), *small_network()).eval()
    batches = list(loader())
    given = [batch[0].clone() for batch in batches]
    recorded(network, batches, step=lambda batch: None, rerun=lambda: evaluating(network))
    assert all(torch.equal(batch[0], before) for batch, before in zip(batches, given, strict=True))


# Errors.


@pytest.mark.parametrize("where", ["hook_points", "reduce", "update", "state", "merge_state"])
def test_an_error_in_one_accumulator_drops_it_alone(where, network):
    broken, healthy = Recording([FailsIn(where)]), Recording([KeepAll()])
    run_loop(network, list(loader()), [broken, healthy])
    assert str(broken.error) == "no room"
    assert healthy.error is None
    assert len(healthy.accumulators[0].compute()) == 4
    assert hooks_of(network) == []


def test_after_an_error_nothing_more_is_reduced(network):
    calls = []

    def fail(activation, images):
        calls.append(len(images))
        raise RuntimeError("no room")

    run_loop(network, list(loader()), [Recording([KeepAll({"bn": HookPoint(network[1], fail)})])])
    assert calls == [6]


def test_an_error_in_what_all_share_is_an_error_of_each(network, batch):
    class Broken(nn.Module):
        def forward(self, images):
            raise RuntimeError("does not run")

    recordings = [Recording([KeepAll()]), Recording([KeepAll()])]
    run_loop(Broken(), [batch], recordings, step=lambda batch: None)
    assert [str(one.error) for one in recordings] == ["does not run"] * 2


def test_an_output_that_cannot_be_read_stops_nothing():
    class Strange:
        @property
        def logits(self):
            raise RuntimeError("not now")

    class Moody(nn.Module):
        strange = False

        def forward(self, images):
            return Strange() if self.strange else images.mean(dim=(2, 3))

    network, recording = Moody(), Recording([KeepAll()])

    def step(batch):
        network.strange = True
        network(batch[0])

    run_loop(network, [next(iter(loader()))], [recording], step)
    assert str(recording.error) == "not now"


def test_hooks_are_removed_after_the_loop(network, batch):
    points = {
        "a": HookPoint(network[0], lambda activation, images: None),
        "b": HookPoint(network[9], lambda activation, images: None, of_input=True),
    }
    recorded(network, [batch], points=points)
    assert hooks_of(network) == []


def test_without_accumulators_nothing_listens_to_layers(network, batch):
    seen = []
    run_loop(network, [batch], [Recording()], step=lambda batch: seen.append(hooks_of(network[0])))
    assert seen == [[]]


# Whether a recording may be drawn.


@pytest.mark.parametrize(
    ("change", "fresh"),
    [({}, True), ({"complete": False}, False), ({"error": RuntimeError()}, False), ({"global_step": 4}, False)],
    ids=["complete loop", "part of a loop", "error", "other weights"],
)
def test_a_recording_is_fresh_after_a_complete_loop_with_these_weights(change, fresh):
    assert Recording(**{"global_step": 3, **change}).is_fresh(3) is fresh


def test_before_the_loop_is_over_nothing_is_fresh():
    assert not Recording().is_fresh(0)


def test_each_accumulator_merges_its_own_states():
    first, second = KeepAll(), KeepAll()
    Recording([first, second]).merge([[[1], ["a"]], [[2], ["b"]], [[3], []]])
    assert (first.compute(), second.compute()) == ([1, 2, 3], ["a", "b"])


# Batches of other kinds.

BATCH = torch.rand(6, 3, 12, 12), torch.arange(6) % 4


class Special(torch.Tensor):
    pass


def recorded_loop(batches, loaders, network=None):
    """The batches that are recorded of a loop over loaders, and the recording's error; each runs if it is of images."""
    network = small_network().eval() if network is None else network
    accumulator = KeepAll({"conv": HookPoint(network[0], lambda activation, images: activation)})
    recording = Recording([accumulator])
    recorder = ForwardRecorder(network, unpack_batch, [recording])
    recorder.open(batches[0])
    for batch, number in zip(batches, loaders, strict=True):
        recorder.start(batch, number)
        if isinstance(batch, tuple) and isinstance(batch[0], torch.Tensor) and batch[0].ndim == 4:
            network(batch[0])
        recorder.end(number, None)
    recorder.merge(0)
    return accumulator.batches, recording.error


def test_a_further_loader_of_another_kind_is_left_out():
    volumes = torch.rand(6, 1, 8, 12, 12), None
    found, error = recorded_loop([BATCH, ["some", "text"], ["some", "text"], volumes], [0, 1, 1, 2])
    assert error is None
    assert [one.loader for one in found] == [0]


def test_a_loader_that_ends_before_those_it_is_combined_with_is_recorded_to_its_end():
    found, error = recorded_loop([BATCH, BATCH, None, None], [0, 0, 0, 0])
    assert error is None
    assert [one.positions.tolist() for one in found] == [[*range(6)], [*range(6, 12)]]


def test_an_unreadable_batch_in_the_middle_is_an_error():
    """The positions of the samples after it are not known."""
    _, error = recorded_loop([BATCH, ["some", "text"], BATCH], [0, 0, 0])
    assert isinstance(error, BatchError)
    assert "str" in str(error)


def test_a_batch_whose_other_images_the_loop_runs_too_is_not_recorded_loop():
    """Which of them an activation is of is not known."""
    found, error = recorded_loop([((BATCH[0], BATCH[0].flip(-1)), BATCH[1]), BATCH], [0, 0])
    assert error is None
    assert len(found) == 1


def test_what_the_loop_computes_of_a_subclass_of_tensors_is_recorded_as_plain():
    images, labels = (one.as_subclass(Special) for one in BATCH)
    (found,), error = recorded_loop([(images, labels)], [0])
    assert error is None
    for one in (found.images, found.labels, found.scores, found.values["conv"]):
        assert type(one) is torch.Tensor
