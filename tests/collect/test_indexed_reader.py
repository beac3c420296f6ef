import numpy as np
import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler, Subset, SubsetRandomSampler, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from lightning_viz.collect.accumulator import RecordedBatch
from lightning_viz.collect.indexed_reader import IndexedReader, UnreadableError
from lightning_viz.collect.sample_selector import SampleSelector, by_hash
from lightning_viz.data.batch import unpack_batch

from ..support import dataset, loader, small_network


def reader_of(data, count=24, prepare=lambda batch: batch):
    return IndexedReader(data, unpack_batch, prepare, count)


def read(data, size=10, count=24, network=None, class_balanced=False):
    """The samples that a callback would read of this loader."""
    network = small_network().eval() if network is None else network
    reader, selector = reader_of(data, count), SampleSelector(size, by_hash(0), class_balanced=class_balanced)
    reader.run(network, selector, reader.choose(size, 0, class_balanced))
    return selector.compute()


def test_the_samples_are_those_that_a_loop_would_leave():
    images, labels = dataset().tensors
    selector = SampleSelector(10, by_hash(0))
    selector.update(RecordedBatch(images, labels, None, {}, np.arange(24)))
    expected, found = selector.compute(), read(loader())
    assert np.array_equal(found.positions, expected.positions)
    assert torch.equal(found.images, expected.images)
    assert np.array_equal(found.labels, expected.labels)


def test_predictions_and_losses_are_the_networks():
    network = small_network().eval()
    found = read(loader(), network=network)
    scores = network(found.images)
    assert found.predicted.tolist() == scores.argmax(dim=1).tolist()
    losses = torch.nn.functional.cross_entropy(scores, torch.from_numpy(found.labels), reduction="none")
    assert found.losses == pytest.approx(losses.detach().numpy(), rel=1e-4)


def test_batches_have_the_loaders_size():
    sizes = [(len(batch.images), part.tolist()) for batch, part in reader_of(loader()).batches(np.arange(3, 11))]
    assert sizes == [(6, [3, 4, 5, 6, 7, 8]), (2, [9, 10])]


def test_batches_are_prepared_as_in_the_loop():
    reader = reader_of(loader(), prepare=lambda batch: (batch[0] + 1, batch[1]))
    batch, _ = next(reader.batches(np.arange(2)))
    assert torch.equal(batch.images, dataset().tensors[0][:2] + 1)


def test_no_more_than_the_loop_would_see():
    assert read(loader(), size=100, count=7).positions.tolist() == list(range(7))


def test_listed_classes_are_balanced():
    labels = dataset().tensors[1]
    uneven = Subset(dataset(), [*np.flatnonzero(labels == 0), *np.flatnonzero(labels == 1), 2, 3])
    found = read(loader(uneven), size=8, count=len(uneven), class_balanced=True)
    assert np.bincount(found.labels).tolist() == [3, 3, 1, 1]


def test_data_that_only_workers_can_read_cannot_be_read():
    class WorkersOnly(torch.utils.data.Dataset):
        def __len__(self):
            return 24

        def __getitem__(self, index):
            raise RuntimeError("no connection in this process")

    with pytest.raises(UnreadableError, match="no connection in this process"):
        read(DataLoader(WorkersOnly(), batch_size=4))


def test_an_error_of_the_accumulator_is_raised_as_it_is():
    class Failing(SampleSelector):
        def update(self, batch):
            raise RuntimeError("no room")

    with pytest.raises(RuntimeError, match="no room") as raised:
        reader_of(loader()).run(small_network(), Failing(3, by_hash(0)), np.arange(3))
    assert not isinstance(raised.value, UnreadableError)


def test_no_hook_stays():
    network = small_network().eval()
    read(loader(), network=network)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in network.modules())


PART = [20, 3, 22, 5]


def test_only_the_samplers_part_is_read():
    """The rest may be training data."""
    found = read(loader(sampler=SubsetRandomSampler(PART)))
    assert found.positions.tolist() == sorted(PART)
    assert torch.equal(found.images, dataset().tensors[0][sorted(PART)])


def test_only_the_part_is_read_under_the_sampler_that_lightning_makes():
    from lightning_fabric.utilities.distributed import DistributedSamplerWrapper

    wrapped = DistributedSamplerWrapper(SubsetRandomSampler(PART), num_replicas=2, rank=0, shuffle=False)
    assert isinstance(wrapped, DistributedSampler)
    assert read(loader(sampler=wrapped)).positions.tolist() == sorted(PART)


def test_a_part_is_balanced():
    part = SubsetRandomSampler([0, 4, 8, 12, 16, 20, 1, 2])  # of class 0, but for the last two
    assert np.bincount(read(loader(sampler=part), size=4, class_balanced=True).labels).tolist() == [2, 1, 1]


@pytest.mark.parametrize("batches", [BatchSampler(SequentialSampler(range(24)), 6, False), [[4, 5], [0, 1, 2]]])
def test_a_batch_sampler_is_read(batches):
    assert len(read(DataLoader(dataset(), batch_sampler=batches), size=100)) == 24


def test_of_crops_the_first_is_read():
    """A position is of a sample, whatever the number of its crops."""
    images, labels = dataset().tensors
    crops = loader([(torch.stack([image, image.flip(-1)]), label) for image, label in dataset()])
    found = read(crops)
    assert torch.equal(found.images, images[found.positions])
    assert np.array_equal(found.labels, labels[found.positions].numpy())


def test_bytes_stay_bytes():
    data = loader([((image * 255).byte(), label) for image, label in dataset()])

    class Scaling(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small_network()

        def forward(self, images):
            assert images.dtype == torch.uint8
            return self.inner(images / 255)

    found = read(data, network=Scaling().eval())
    assert found.images.dtype == torch.uint8


def test_of_too_many_classes_some_are_chosen_with_several_samples_each():
    labels = torch.arange(400).repeat_interleave(10)
    data = TensorDataset(torch.zeros(4000, 1, 1, 1), labels)
    chosen = IndexedReader(DataLoader(data), None, lambda batch: batch, 4000).choose(500, each=6)
    counts = labels[chosen].unique(return_counts=True)[1]
    assert len(chosen) == 500
    assert counts.min() >= 6
    assert len(counts) == 500 // 6


def test_classes_that_are_few_are_not_chosen():
    data = TensorDataset(torch.zeros(4000, 1, 1, 1), torch.arange(4000) % 10)
    reader = IndexedReader(DataLoader(data), None, lambda batch: batch, 4000)
    assert (reader.choose(500, each=6) == reader.choose(500)).all()
