"""The hardest pictures: what a loop has recorded becomes the probe."""

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from lightning_viz import FilterLogger, Probe

from ..stub import TAGS, Stub, fit, tiny, tiny_network
from ..support import Events, Lit, dataset, loader, trainer


def watching(**options):
    """A stub that keeps its probes, and the pictures with the highest losses at that moment."""

    def look(ctx):
        images, labels = dataset().tensors
        losses = nn.functional.cross_entropy(ctx.network(images), labels, reduction="none")
        stub.probes.append(ctx.probe)
        stub.expected.append(images[losses.argsort(descending=True)[: stub.max_images]].detach())

    stub = Stub(look, max_images=5, on_error="raise", **options)
    stub.probes, stub.expected = [], []
    return stub


FULL = {"given": (loader(), loader())}


def test_the_hardest_are_chosen_after_the_first_epoch_and_kept(tmp_path):
    stub = watching(probe=Probe.hardest())
    events = fit(tmp_path, stub, module=Lit(), max_epochs=3, **FULL)
    assert stub.steps == [3, 7, 11]  # at the start no loss is known
    for probe in stub.probes:
        assert torch.equal(probe.images, stub.expected[0])
    assert not torch.equal(stub.expected[0], stub.expected[2])
    assert "highest loss" in stub.probes[0].origin
    assert events.image_steps("stub/images/history") == [3, 7, 11]


def test_the_hardest_of_each_epoch(tmp_path, our_warnings):
    stub = watching(probe=Probe.hardest(refresh=True))
    events = fit(tmp_path, stub, module=Lit(), max_epochs=3, **FULL)
    for probe, expected in zip(stub.probes, stub.expected, strict=True):
        assert torch.equal(probe.images, expected)
    assert events.image_tags == TAGS[:1]  # no film strip of changing pictures
    assert our_warnings() == []


def test_a_full_sanity_check_gives_the_first_picture(tmp_path):
    stub = watching(probe=Probe.hardest())
    fit(tmp_path, stub, module=Lit(), max_epochs=2, num_sanity_val_steps=-1, **FULL)
    assert stub.steps == [0, 3, 7]
    assert torch.equal(stub.probes[0].images, stub.expected[0])


def test_the_hardest_survive_a_resume(tmp_path):
    first, second = (watching(probe=Probe.hardest()) for _ in range(2))
    saving = ModelCheckpoint(tmp_path, filename="saved")
    fit(tmp_path, first, saving, max_epochs=2, enable_checkpointing=True, **FULL)
    run = trainer(tmp_path, [second], max_epochs=4)
    run.fit(tiny(), *FULL["given"], ckpt_path=str(tmp_path / "saved.ckpt"))
    assert second.steps == [11, 15]
    assert torch.equal(second.probes[1].images, first.probes[0].images)
    assert torch.equal(second.probes[1].labels, first.probes[0].labels)


@pytest.mark.parametrize(("verb", "split"), [("validate", "validation"), ("test", "test")])
def test_the_hardest_of_a_finished_model(verb, split, tmp_path):
    stub, module = Stub(probe=Probe.hardest(), on_error="raise"), Lit()
    getattr(trainer(tmp_path, [stub]), verb)(module, loader(), verbose=False)
    images, labels = dataset().tensors
    losses = nn.functional.cross_entropy(module.eval()(images), labels, reduction="none")
    assert torch.equal(stub.runner.probes[split].images, images[losses.argsort(descending=True)[:8]])


def test_filters_at_the_start_are_remembered_before_the_hardest_are_known(tmp_path):
    callback, module = FilterLogger(probe=Probe.hardest(), on_error="raise"), Lit()
    before = module.network[0].weight.detach().clone()
    fit(tmp_path, callback, module=module)
    assert torch.equal(callback.runner.state.start["network.0"], before)


def test_without_losses_it_is_disabled_and_says_why(tmp_path, our_warnings):
    class Unlabelled(Lit):
        def validation_step(self, batch, batch_idx):
            self(batch["image"])

    data = [{"image": image} for image, _ in dataset()]
    fit(tmp_path, Stub(probe=Probe.hardest()), module=Unlabelled(tiny_network()), given=(loader(), loader(data)))
    (warning,) = our_warnings()
    assert "found no loss in the validation loop" in warning


def test_without_a_validation_loop_the_hardest_fail_at_once(tmp_path):
    module = tiny()
    with pytest.raises(ValueError, match="needs a validation loop"):
        fit(tmp_path, Stub(probe=Probe.hardest()), module=module, given=(loader(), None))
    assert module.losses == []


def test_the_loop_has_as_many_forward_passes_as_without(tmp_path):
    class Counting(Lit):
        passes = 0

        def validation_step(self, batch, batch_idx):
            hook = self.network.register_forward_pre_hook(lambda *args: setattr(self, "passes", self.passes + 1))
            super().validation_step(batch, batch_idx)
            hook.remove()

    module = Counting(tiny_network())
    fit(tmp_path, Stub(probe=Probe.hardest(True)), module=module, max_epochs=3)
    assert module.passes == 2 + 3 * 4  # the sanity check, and three epochs


def test_gradients_take_the_hardest_of_a_loop_in_inference_mode(tmp_path):
    def differentiate(ctx):
        torch.autograd.grad(ctx.network(ctx.probe.images).sum(), list(ctx.network.parameters()))

    stub = Stub(differentiate, probe=Probe.hardest(), on_error="raise")
    trainer(tmp_path, [stub]).validate(tiny(), loader(), verbose=False)
    assert Events(tmp_path / "run/version_0").image_steps("stub/images") == [0]


def test_the_selected_pictures_are_let_go_after_the_run(tmp_path):
    stub = Stub(probe=Probe.hardest(refresh=True))
    fit(tmp_path, stub)
    assert stub.runner.recording is None


def test_pictures_that_are_not_finite_are_said_once(tmp_path, our_warnings):
    images = torch.rand(4, 3, 12, 12)
    images[1, 0, 3, 3] = torch.nan
    callbacks = [Stub(probe=Probe(images), max_images=count, tag=f"t{count}") for count in (3, 4)]
    trainer(tmp_path, callbacks, max_epochs=2).fit(Lit(), loader(), loader())
    assert len([text for text in our_warnings() if "1 of 3 pictures of the probe hold NaN" in text]) == 1
    assert len([text for text in our_warnings() if "hold NaN" in text]) == 1
