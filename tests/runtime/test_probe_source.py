"""Where the pictures come from: shared ones of the data, and those given."""

import pytest
import pytorch_lightning as pl
import torch
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
from torchvision.transforms import v2

from lightning_viz import FilterLogger, Probe
from lightning_viz.collect.sample_selector import SampleSelector, by_loss

from ..stub import TAGS, Stub, fit, tiny, tiny_network
from ..support import CLASSES, Events, Lit, Scaling, dataset, loader, trainer

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


# Batches that are no images, or not alone.


class Indifferent(Lit):
    """Trains on whatever its batches are."""

    def training_step(self, batch, batch_idx):
        images, labels = dataset()[:4]
        loss = nn.functional.cross_entropy(self(images), labels)
        self.losses.append(loss.item())
        return loss

    def validation_step(self, batch, batch_idx, dataloader_idx=0):
        self(dataset()[:4][0])

    test_step = validation_step


def of(make, collate=None):
    """A loader of 8 samples, in batches of 4."""
    return loader([make(index) for index in range(8)], batch_size=4, collate_fn=collate)


def collate_lists(samples):
    return [one for one, _ in samples], [other for _, other in samples]


class Odd:
    """What a batch of graphs may be: it has neither a length nor items."""


UNREADABLE = {
    "text": lambda: of(lambda index: f"sentence {index}"),
    "text and labels": lambda: of(lambda index: (f"sentence {index}", index % CLASSES)),
    "volumes": lambda: of(lambda index: (torch.rand(1, 8, 12, 12), 0)),
    "video": lambda: of(lambda index: (torch.rand(6, 2, 12, 12), 0)),
    "several sizes": lambda: of(lambda index: (torch.rand(3, 12, 12 + index), {}), collate_lists),
    "unknown keys": lambda: of(lambda index: {"picture": torch.rand(3, 12, 12)}),
    "channels last": lambda: of(lambda index: (torch.rand(12, 12, 3), 0)),
    "graphs": lambda: of(lambda index: index, lambda samples: Odd()),
    "empty": lambda: of(lambda index: index, lambda samples: (torch.rand(0, 3, 12, 12), torch.rand(0))),
    "whole numbers": lambda: of(lambda index: (torch.zeros(3, 12, 12, dtype=torch.int16), 0)),
}


@pytest.fixture(params=[*UNREADABLE])
def unreadable(request):
    return UNREADABLE[request.param]()


def test_unreadable_batches_are_warned_of_once_and_stop_nothing(unreadable, tmp_path, our_warnings):
    stubs, filters, module = [Stub(tag="one"), Stub(tag="two")], FilterLogger(), Indifferent(tiny_network())
    events = fit(tmp_path, *stubs, filters, module=module, given=(unreadable, unreadable), max_epochs=2)
    assert len(module.losses) == 4
    (warning,) = our_warnings()
    assert "unpack=" in warning
    assert [one.runner.disabled for one in (*stubs, filters)] == [True, True, False]
    assert events.image_steps("filters/network.0") == [0, 1, 3]


@pytest.mark.parametrize("verb", ["validate", "test"])
def test_nor_do_they_stop_an_evaluation(unreadable, verb, tmp_path, our_warnings):
    filters = FilterLogger()
    run = trainer(tmp_path, [Stub(), filters])
    getattr(run, verb)(Indifferent(tiny_network()), unreadable, verbose=False)
    assert len(our_warnings()) == 1
    assert not filters.runner.disabled
    prefix = "test/" if verb == "test" else ""
    assert f"{prefix}filters/network.0" in Events(tmp_path / "run/version_0").image_tags


def test_unreadable_batches_raise_where_that_is_wanted(tmp_path):
    data = UNREADABLE["text"]()
    with pytest.raises(ValueError, match="the batch holds str"):
        fit(tmp_path, Stub(on_error="raise"), module=Indifferent(tiny_network()), given=(data, data))


def test_with_a_probe_given_they_do_not_matter(unreadable, tmp_path, our_warnings):
    stub = Stub(accumulators=lambda: [SampleSelector(2, by_loss)], probe=Probe(torch.rand(2, 3, 12, 12)))
    fit(tmp_path, stub, module=Indifferent(tiny_network()), given=(unreadable, unreadable), max_epochs=2)
    assert stub.steps == [0, 1, 3]
    assert our_warnings() == []


def test_what_needs_samples_of_them_says_why_there_are_none(unreadable, tmp_path, our_warnings):
    def collect(ctx):
        make = lambda: SampleSelector(2, by_loss)  # noqa: E731
        ctx.collect(lambda one: True, make, lambda reader: reader.choose(2))

    options = {"accumulators": lambda: [SampleSelector(2, by_loss)], "probe": Probe(torch.rand(2, 3, 12, 12))}
    stubs = [Stub(collect, tag="one", **options), Stub(collect, tag="two", **options)]
    fit(tmp_path, *stubs, module=Indifferent(tiny_network()), given=(unreadable, unreadable), max_epochs=2)
    (warning,) = our_warnings()
    assert "BatchError" in warning
    assert [one.runner.disabled for one in stubs] == [True, True]


def test_an_unpack_that_fails_is_warned_of_once(tmp_path, our_warnings):
    stubs = [Stub(tag=tag, unpack=lambda batch: batch["nothing"]) for tag in ("one", "two")]
    module = tiny()
    fit(tmp_path, *stubs, module=module)
    assert len(module.losses) == 4
    assert len(our_warnings()) == 1


def test_a_callback_that_needs_no_images_has_no_probe(tmp_path, our_warnings):
    class Weights(Stub):
        NEEDS_IMAGES = False

    fit(tmp_path, Weights(), given=(loader(), None))
    (warning,) = our_warnings()  # and none of training pictures
    assert "NEEDS_IMAGES = False has no probe" in warning


READABLE = {
    "views": (lambda index: ([dataset()[index][0], torch.rand(3, 12, 12)], index), None, "the first of 2 images"),
    "crops": (lambda index: (torch.stack([dataset()[index][0]] * 5), index), None, "all 5 images of each sample"),
    "list": (lambda index: (dataset()[index][0], {"labels": index}), collate_lists, "pictures of the validation data;"),
    "nested": (
        lambda index: {"image": {"pixel_values": dataset()[index][0]}},
        None,
        "pictures of the validation data;",
    ),
}


@pytest.mark.parametrize("verb", ["fit", "test"])
@pytest.mark.parametrize("kind", [*READABLE])
def test_images_are_found_in_batches_of_other_structures_and_the_note_says_which(kind, verb, tmp_path, our_warnings):
    make, collate, note = READABLE[kind]
    data, stub = of(make, collate), Stub(on_error="raise", max_images=20)
    if verb == "fit":
        fit(tmp_path, stub, module=Indifferent(tiny_network()), given=(data, data))
    else:
        trainer(tmp_path, [stub]).test(Indifferent(tiny_network()), data, verbose=False)
    (probe,) = stub.runner.probes.values()
    known = [any(torch.equal(image, one) for one in dataset().tensors[0][:8]) for image in probe.images]
    assert all(known)
    assert note.replace("validation", "validation" if verb == "fit" else "test") in probe.note
    assert our_warnings() == []


def test_crops_have_the_labels_of_their_samples(tmp_path):
    data, stub = of(READABLE["crops"][0]), Stub(max_images=10)
    fit(tmp_path, stub, module=Indifferent(tiny_network()), given=(data, data))
    for image, label in zip(stub.ctx.probe.images, stub.ctx.probe.labels.tolist(), strict=True):
        assert torch.equal(image, dataset()[label][0])  # the label of a sample is its index here


@pytest.mark.parametrize("second", ["text", "volumes", "channels last"])
def test_a_second_loader_of_another_kind_is_left_out(second, tmp_path, our_warnings):
    stub = Stub(accumulators=lambda: [SampleSelector(2, by_loss)], on_error="raise")
    data = [loader(dataset(8), batch_size=4), UNREADABLE[second]()]
    fit(tmp_path, stub, module=Indifferent(tiny_network()), given=(data[0], data), max_epochs=2)
    assert [found[0].labels.shape for found in stub.found[1:]] == [(2,), (2,)]
    assert our_warnings() == []


@pytest.mark.parametrize("mode", ["max_size", "max_size_cycle", "min_size"])
@pytest.mark.parametrize("structure", [list, dict])
def test_of_loaders_that_are_combined_the_first_is_shown(structure, mode, tmp_path, our_warnings):
    several = {"one": loader(levels(0.9, 8), batch_size=4), "other": UNREADABLE["text"]()}
    data = CombinedLoader(several if structure is dict else [*several.values()], mode)
    stub = Stub(on_error="raise")
    fit(tmp_path, stub, module=Indifferent(tiny_network()), given=(loader(levels(0.1)), data))
    assert stub.ctx.probe.images.unique().item() == pytest.approx(0.9)
    assert our_warnings() == []


# Bytes, which the network scales.


@pytest.mark.parametrize("probe", [None, Probe((dataset().tensors[0][:4] * 255).byte()), Probe.hardest()])
def test_the_network_is_shown_the_bytes_that_it_trains_on(probe, tmp_path, our_warnings):
    def look(ctx):
        seen.append((ctx.network(ctx.probe.images), network.inner(ctx.probe.images / 255)))

    seen, network = [], Scaling(v2.ToDtype(torch.float32, scale=True), tiny_network())
    data = loader(TensorDataset((dataset().tensors[0] * 255).byte(), dataset().tensors[1]))
    stub = Stub(look, probe=probe, max_images=4, on_error="raise")
    fit(tmp_path, stub, module=Lit(network), given=(data, data), max_epochs=2)
    for shown, expected in seen:
        assert torch.allclose(shown, expected)
    assert len(seen) >= 2
    shown = (stub.ctx.probe.images.permute(0, 2, 3, 1)).numpy()
    assert (stub.ctx.probe.pictures == shown).all()
    assert our_warnings() == []
