"""Where the pictures come from: shared ones of the data, those given, and the hardest of a loop."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.utilities import CombinedLoader
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    get_worker_info,
)

from lightning_viz import FilterLogger, Probe

from ..stub import TAGS, Stub, fit, tiny, tiny_network
from ..support import CLASSES, Events, Lit, dataset, loader, trainer

# Shared ones.


def test_a_given_probe_is_used_as_it_is(tmp_path):
    images = torch.rand(3, 3, 12, 12)
    stub = Stub(probe=Probe(images))
    fit(tmp_path, stub)
    assert torch.equal(stub.ctx.probe.images, images)


def test_without_validation_data_training_data_are_shown_and_a_warning_says_so_once(tmp_path, our_warnings):
    one, two = Stub(tag="one"), Stub(tag="two")
    events = fit(tmp_path, one, two, given=(loader(), None))
    (warning,) = our_warnings()
    assert "no validation data" in warning
    assert "probe=" in warning
    assert "training data" in one.ctx.probe.note
    assert events.image_steps("one/images") == [0, 3]


class Stream(IterableDataset):
    def __iter__(self):
        yield from dataset()


@pytest.mark.parametrize("kind", ["train only", "both"])
def test_streams_are_shown_from_the_first_batch(kind, tmp_path):
    stub = Stub(max_images=4)
    fit(tmp_path, stub, given=(loader(Stream()), loader(Stream()) if kind == "both" else None))
    assert torch.equal(stub.ctx.probe.images, dataset().tensors[0][:4])


def levels(level, count=24):
    return TensorDataset(torch.full((count, 3, 12, 12), level), torch.arange(count) % CLASSES)


class Levels(IterableDataset):
    def __iter__(self):
        yield from levels(0.9)


def by_batches(data):
    return BatchSampler(SequentialSampler(data), 4, drop_last=False)


@pytest.mark.parametrize(
    ("validation", "options", "level", "name"),
    [
        (DataLoader(Levels(), 6), {}, 0.9, "validation"),
        (DataLoader(Levels(), 6), {"num_sanity_val_steps": 0}, 0.1, "training"),
        (DataLoader(levels(0.9), batch_sampler=by_batches(levels(0.9))), {}, 0.9, "validation"),
        (loader(levels(0.9)), {"num_sanity_val_steps": 0}, 0.9, "validation"),
        (loader(levels(0.9)), {"num_sanity_val_steps": 0, "check_val_every_n_epoch": 2}, 0.1, "training"),
        ([loader(levels(0.9)), loader(levels(0.5))], {}, 0.9, "validation"),
    ],
    ids=["stream", "stream, no sanity check", "batch sampler", "no sanity check", "not yet loaded", "two loaders"],
)
def test_the_pictures_are_of_the_data_that_the_note_names(validation, options, level, name, tmp_path):
    class Either(Lit):
        def validation_step(self, batch, batch_idx, dataloader_idx=0):
            pass

    stub = Stub(max_images=4)
    fit(tmp_path, stub, module=Either(tiny_network()), given=(loader(levels(0.1)), validation), max_epochs=2, **options)
    assert stub.ctx.probe.images.unique().item() == pytest.approx(level)
    assert f"pictures of the {name} data" in stub.ctx.probe.note


def test_a_sampler_of_a_part_is_respected(tmp_path):
    both = ConcatDataset([levels(0.1), levels(0.9)])
    samplers = [SubsetRandomSampler(range(start, start + 24)) for start in (0, 24)]
    stub = Stub()
    fit(tmp_path, stub, given=[loader(both, sampler=sampler) for sampler in samplers])
    assert stub.ctx.probe.images.unique().item() == pytest.approx(0.9)


@pytest.mark.parametrize("sanity", [0, 2])
def test_augmentation_on_the_device_knows_that_it_is_not_training(sanity, tmp_path):
    class Augmenting(Lit):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return (batch[0] / 2, batch[1]) if self.trainer.training else batch

    stub, both = Stub(), (loader(levels(0.1)), loader(levels(0.9)))
    fit(tmp_path, stub, module=Augmenting(tiny_network()), given=both, num_sanity_val_steps=sanity)
    assert stub.ctx.probe.images.unique().item() == pytest.approx(0.9)


def test_the_users_batch_transfer_is_respected(tmp_path):
    class Doubling(Lit):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return batch[0] * 2, batch[1]

    stub = Stub()
    fit(tmp_path, stub, module=Doubling(tiny_network()), given=(loader(), loader()))
    assert stub.ctx.probe.images.max() > 1


class WorkersOnly(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        assert get_worker_info().dataset is not None
        return dataset()[index]


def test_a_dataset_for_workers_only_is_shown_from_the_batch(tmp_path):
    data = loader(WorkersOnly(), num_workers=1)
    assert fit(tmp_path, Stub(), given=(data, data)).image_tags == TAGS


def test_data_that_the_loop_combines_are_shown_from_the_batch(tmp_path):
    class Combined(Lit):
        def validation_step(self, batch, batch_idx):
            self(batch["one"][0])

    data = CombinedLoader({"one": loader(), "other": loader()}, "max_size")
    stub = Stub(unpack=lambda batch: batch["one"], on_error="raise")
    fit(tmp_path, stub, module=Combined(tiny_network()), given=(loader(), data))
    assert stub.ctx.probe.images.shape == (6, 3, 12, 12)


class Unscored(Lit):
    def validation_step(self, batch, batch_idx):
        pass


def test_unlabelled_pictures_are_shown(tmp_path):
    data = TensorDataset(torch.rand(8, 3, 12, 12), torch.full((8,), -1))
    stub = Stub()
    trainer(tmp_path, [stub]).validate(Unscored(tiny_network()), loader(data), verbose=False)
    assert stub.ctx.probe.labels is None


def test_film_strips_of_other_pictures_start_again(tmp_path, our_warnings):
    """A split without a seed: after the resume other pictures are validated on."""
    run = trainer(tmp_path, [Stub()], max_epochs=1)
    run.fit(tiny(), loader(), loader(levels(0.9)))
    run.save_checkpoint(tmp_path / "saved.ckpt")
    stub = Stub()
    again = trainer(tmp_path, [stub], max_epochs=2)
    again.fit(tiny(), loader(), loader(levels(0.5)), ckpt_path=str(tmp_path / "saved.ckpt"))
    assert [frame.step for frame in stub.runner.state.films["stub/images"]] == [7]
    (warning,) = our_warnings()
    assert "starts its film strips again" in warning


def test_class_names_come_from_the_data(tmp_path):
    class Named(pl.LightningDataModule):
        class_names = ["ant", "bee", "cat", "dog"]

        def train_dataloader(self):
            return loader()

        val_dataloader = train_dataloader

    stub = Stub()
    trainer(tmp_path, [stub], max_epochs=1).fit(tiny(), Named())
    assert stub.ctx.probe.class_name(2) == "cat"


# The hardest: what a loop has recorded becomes the probe.


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
