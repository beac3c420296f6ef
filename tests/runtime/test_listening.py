"""Probe.hardest, in real runs: what was listened to becomes the probe."""

import pytest
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from lightning_viz import FilterLogger, GradCAMLogger, Panel, Probe, VizCallback
from lightning_viz.collect.samples import Keeper
from lightning_viz.render import SignedPixels

from ..support import Events, Lit, dataset, loader, trainer


class Watching(VizCallback):
    """Draws its probe, and keeps what it saw."""

    def __init__(self, **common):
        super().__init__(on_error="raise", **common)
        self.seen, self.expected, self.calls = [], [], 0

    def draw(self, network, probe):
        self.seen.append((self._memory.last_steps["fit"], probe))
        images, labels = dataset().tensors
        losses = nn.functional.cross_entropy(network(images), labels, reduction="none")
        self.expected.append(images[losses.argsort(descending=True)[: self.max_images]].detach())
        yield Panel("watched/probe", probe.images, SignedPixels())


def test_the_hardest_are_chosen_after_the_first_epoch_and_kept(tmp_path):
    watching = Watching(probe=Probe.hardest(), max_images=5)
    trainer(tmp_path, [watching], max_epochs=3).fit(Lit(), loader(), loader())
    assert [step for step, _ in watching.seen] == [3, 7, 11]  # at the start no loss is known
    for _, probe in watching.seen:
        assert torch.equal(probe.images, watching.expected[0])
    assert not torch.equal(watching.expected[0], watching.expected[2])
    assert "highest loss" in watching.seen[0][1].origin
    events = Events(tmp_path / "run/version_0")
    assert events.image_steps("watched/probe/history") == [3, 7, 11]


def test_the_hardest_of_each_epoch(tmp_path, our_warnings):
    watching = Watching(probe=Probe.hardest(refresh=True), max_images=5)
    trainer(tmp_path, [watching], max_epochs=3).fit(Lit(), loader(), loader())
    for (_, probe), expected in zip(watching.seen, watching.expected, strict=True):
        assert torch.equal(probe.images, expected)
    assert Events(tmp_path / "run/version_0").image_tags == ["watched/probe"]  # no film strip of changing pictures
    assert our_warnings() == []


def test_a_full_sanity_check_gives_the_first_picture(tmp_path):
    watching = Watching(probe=Probe.hardest(), max_images=5)
    trainer(tmp_path, [watching], num_sanity_val_steps=-1).fit(Lit(), loader(), loader())
    assert [step for step, _ in watching.seen] == [0, 3, 7]
    assert torch.equal(watching.seen[0][1].images, watching.expected[0])


def test_the_hardest_survive_a_resume(tmp_path):
    first, second = (Watching(probe=Probe.hardest(), max_images=5) for _ in range(2))
    saving = ModelCheckpoint(tmp_path, filename="saved")
    trainer(tmp_path, [first, saving], enable_checkpointing=True).fit(Lit(), loader(), loader())
    run = trainer(tmp_path, [second], max_epochs=4)
    run.fit(Lit(), loader(), loader(), ckpt_path=str(tmp_path / "saved.ckpt"))
    assert [step for step, _ in second.seen] == [11, 15]
    assert torch.equal(second.seen[1][1].images, first.seen[0][1].images)
    assert torch.equal(second.seen[1][1].labels, first.seen[0][1].labels)


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_the_hardest_of_a_finished_model(verb, tmp_path):
    callback = GradCAMLogger(probe=Probe.hardest(), on_error="raise")
    run = trainer(tmp_path, [callback])
    module = Lit()
    getattr(run, verb)(module, loader(), verbose=False)
    probe = callback._memory.probes["fit" if verb == "validate" else "test"]
    images, labels = dataset().tensors
    losses = nn.functional.cross_entropy(module.eval()(images), labels, reduction="none")
    assert torch.equal(probe.images, images[losses.argsort(descending=True)[:8]])


def test_filters_at_the_start_are_remembered_before_the_hardest_are_known(tmp_path):
    callback, module = FilterLogger(probe=Probe.hardest(), on_error="raise"), Lit()
    before = module.network[0].weight.detach().clone()
    trainer(tmp_path, [callback]).fit(module, loader(), loader())
    assert torch.equal(callback._memory.kept["network.0"], before)


def test_without_losses_it_says_so_and_rests(tmp_path, our_warnings):
    class Unlabelled(Lit):
        def validation_step(self, batch, batch_idx):
            self(batch["image"])

    data = [{"image": image} for image, _ in dataset()]
    trainer(tmp_path, [GradCAMLogger(probe=Probe.hardest())]).fit(Unlabelled(), loader(), loader(data))
    (warning,) = our_warnings()
    assert "found no loss in the validation loop" in warning


def test_without_a_validation_loop_it_fails_at_once(tmp_path):
    with pytest.raises(ValueError, match="needs a validation loop"):
        trainer(tmp_path, [GradCAMLogger(probe=Probe.hardest())]).fit(Lit(), loader())


def test_the_loop_has_as_many_forward_passes_as_without(tmp_path):
    class Counting(Lit):
        passes = 0

        def validation_step(self, batch, batch_idx):
            hook = self.network.register_forward_pre_hook(lambda *args: setattr(self, "passes", self.passes + 1))
            super().validation_step(batch, batch_idx)
            hook.remove()

    module = Counting()
    trainer(tmp_path, [GradCAMLogger(probe=Probe.hardest(True))], max_epochs=3).fit(module, loader(), loader())
    assert module.passes == 2 + 3 * 4  # the sanity check, and three epochs


def test_gradients_take_the_hardest_of_a_loop_in_inference_mode(tmp_path):
    class Differentiating(VizCallback):
        def draw(self, network, probe):
            torch.autograd.grad(network(probe.images).sum(), list(network.parameters()))
            yield Panel("own/probe", probe.images, SignedPixels())

    callback = Differentiating(probe=Probe.hardest(), on_error="raise")
    trainer(tmp_path, [callback]).validate(Lit(), loader(), verbose=False)
    assert Events(tmp_path / "run/version_0").image_steps("own/probe") == [0]


def test_what_broke_listens_no_more_and_keeps_no_errors(tmp_path, monkeypatch, our_warnings):
    broke = []

    def take(self, seen):
        broke.append(seen.loader)
        raise RuntimeError("no room")

    monkeypatch.setattr(Keeper, "take", take)
    callback = GradCAMLogger(probe=Probe.hardest())
    trainer(tmp_path, [callback], max_epochs=4, num_sanity_val_steps=0).fit(Lit(), loader(), loader())
    assert len(broke) == 1
    assert callback._memory.failures == []
    (warning,) = our_warnings()
    assert "no room" in warning


def test_choosing_what_to_listen_for_may_break(tmp_path, monkeypatch, our_warnings):
    def collectors(self, trainer, stage):
        raise RuntimeError("no data")

    monkeypatch.setattr(GradCAMLogger, "collectors", collectors)
    run = trainer(tmp_path, [GradCAMLogger(), FilterLogger()])
    run.fit(Lit(), loader(), loader())
    assert run.global_step == 2 * len(loader())
    (warning,) = our_warnings()
    assert "no data" in warning
    assert Events(tmp_path / "run/version_0").image_tags[0].startswith("filters/")


def test_nothing_of_the_loop_is_held_after_the_run(tmp_path):
    callback = GradCAMLogger(probe=Probe.hardest(refresh=True))
    trainer(tmp_path, [callback]).fit(Lit(), loader(), loader())
    assert callback._memory.harvest is None
