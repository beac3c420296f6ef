import pytest
import torch
from torch import nn
from torchvision import models

from lightning_viz.collect.recorder import Harvest, Seen, Tap, output_modules
from lightning_viz.data.batch import unpack_batch
from lightning_viz.runtime.network import find_network

from ..support import Lit, loader, small_network


class Recording:
    """A collector that keeps all it is given."""

    def __init__(self, taps=None):
        self.made, self.seen = taps or {}, []

    def taps(self, network, images):
        return self.made

    def take(self, seen):
        self.seen.append(seen)

    def share(self):
        return self.seen

    def merge(self, shares):
        self.seen = [one for share in shares for one in share]


def listened(network, batches, step, taps=None):
    """What a collector hears of these batches, each done by `step`."""
    collector = Recording(taps)
    harvest = Harvest(network, [collector], unpack_batch)
    harvest.open(batches[0][0])
    for batch in batches:
        harvest.start(batch)
        step(batch)
        harvest.end(batch, 0, None)
    harvest.gather()
    if harvest.error:
        raise harvest.error
    return collector.seen


def called(modules, network):
    names = {module: name for name, module in network.named_modules()}
    return [names[module] for module in modules]


def test_the_modules_that_return_the_logits_are_found():
    network = small_network()
    assert called(output_modules(network, torch.rand(1, 3, 12, 12)), network) == ["9", ""]


def test_the_logits_inside_a_dict_are_those_of_the_head():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = small_network()

        def forward(self, images):
            return {"logits": self.body(images), "loss": torch.zeros(())}

    network = Wrapped()
    assert called(output_modules(network, torch.rand(1, 3, 12, 12)), network) == ["body.9", "body", ""]


def test_a_network_that_flattens_its_scores_returns_them_itself():
    network = models.squeezenet1_1(num_classes=5).eval()
    assert called(output_modules(network, torch.rand(1, 3, 64, 64)), network) == [""]


@pytest.mark.parametrize("call", ["module", "network", "head"])
def test_the_logits_are_heard_whatever_the_step_calls(call):
    module = Lit().eval()
    batches = list(loader())

    def step(batch):
        if call == "module":
            module(batch[0])
        elif call == "network":
            module.network(batch[0])
        else:
            module.network[9](module.network[:9](batch[0]))

    seen = listened(find_network(module, None), batches, step)
    for one, batch in zip(seen, batches, strict=True):
        assert torch.equal(one.logits, module(batch[0]))
        assert torch.allclose(one.losses, nn.functional.cross_entropy(module(batch[0]), batch[1], reduction="none"))


def test_a_tap_is_taken_before_the_next_layer_overwrites_it():
    network = small_network().eval()
    taps = {"bn": Tap(network[1], lambda activation, images: activation.amin(dim=(1, 2, 3)))}
    (seen,) = listened(network, [next(iter(loader()))], lambda batch: network(batch[0]), taps)
    assert (seen.taken["bn"] < 0).all()  # what an in-place ReLU would have made 0


def test_a_tap_of_the_input_is_what_the_module_is_given():
    network = small_network().eval()
    taps = {"embedding": Tap(network[9], lambda given, images: given.clone(), of_input=True)}
    (seen,) = listened(network, [next(iter(loader()))], lambda batch: network(batch[0]), taps)
    assert torch.equal(seen.taken["embedding"], network[:9](seen.images))


def test_calls_with_other_pictures_are_not_heard():
    network = small_network().eval()

    def step(batch):
        network(batch[0])
        network(torch.rand(2, 3, 12, 12))  # a sanity check of the user's own

    (seen,) = listened(network, [next(iter(loader()))], step)
    assert torch.equal(seen.logits, network(seen.images))


def test_no_logits_no_losses():
    network = nn.Conv2d(3, 1, 1)
    (seen,) = listened(network, [next(iter(loader()))], lambda batch: network(batch[0]))
    assert seen.logits is None
    assert seen.losses.isnan().all()


def test_an_error_in_a_tap_is_kept_and_stops_nothing():
    network = small_network().eval()

    def fail(activation, images):
        raise RuntimeError("no room")

    harvest = Harvest(network, [Recording({"bn": Tap(network[1], fail)})], unpack_batch)
    batch = next(iter(loader()))
    harvest.open(batch[0])
    harvest.start(batch)
    network(batch[0])
    assert str(harvest.error) == "no room"
    assert not any(module._forward_hooks for module in network.modules())
    harvest.gather()


@pytest.mark.parametrize("call", ["returns one number", "is called by keyword"])
def test_a_tap_of_nothing_to_take_stops_nothing(call):
    """The hooks run in the user's own validation step."""
    network, criterion = small_network().eval(), nn.CrossEntropyLoss()
    batch = next(iter(loader()))
    if call == "returns one number":
        taps = {"loss": Tap(criterion, lambda activation, images: activation)}
        (seen,) = listened(network, [batch], lambda batch: criterion(network(batch[0]), batch[1]), taps)
    else:
        taps = {"head": Tap(network[9], lambda given, images: given, of_input=True)}
        (seen,) = listened(network, [batch], lambda batch: network[9](input=network[:9](batch[0])), taps)
    assert seen.taken == {}
    assert torch.equal(seen.logits, network(seen.images))


def test_an_output_that_cannot_be_looked_into_stops_nothing():
    class Strange:
        @property
        def logits(self):
            raise RuntimeError("not now")

    class Moody(nn.Module):
        strange = False

        def forward(self, images):
            return Strange() if self.strange else images.mean(dim=(2, 3))

    network = Moody()
    harvest = Harvest(network, [Recording()], unpack_batch)
    batch = next(iter(loader()))
    harvest.open(batch[0])
    harvest.start(batch)
    network.strange = True
    network(batch[0])
    assert str(harvest.error) == "not now"


def test_unlabelled_pictures_have_no_loss():
    labels = torch.tensor([0, -1, 1, -100])
    losses = Seen(torch.zeros(4, 3, 2, 2), labels, torch.zeros(4, 3), {}, torch.arange(4).numpy()).losses
    assert losses.isnan().tolist() == [False, True, False, True]


def test_hooks_are_gone_when_the_loop_is_over():
    network = small_network().eval()
    taps = {"a": Tap(network[0], lambda a, i: None), "b": Tap(network[9], lambda a, i: None, of_input=True)}
    listened(network, [next(iter(loader()))], lambda batch: network(batch[0]), taps)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
