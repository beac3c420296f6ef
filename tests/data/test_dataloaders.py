import pytest
from pytorch_lightning.utilities import CombinedLoader
from torch.utils.data import DataLoader

from lightning_viz.data.dataloaders import count_samples, first_loader, loaders_in

from ..support import Stream, dataset

ONE, TWO = DataLoader(dataset(), batch_size=6), DataLoader(dataset(8), batch_size=4)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (ONE, [ONE]),
        ([ONE, TWO], [ONE, TWO]),
        ((ONE, TWO), [ONE, TWO]),
        ({"a": ONE, "b": [TWO]}, [ONE, TWO]),
        (CombinedLoader({"a": ONE, "b": TWO}, "max_size"), [ONE, TWO]),
        (None, []),
        ([], []),
        (["no loader", ONE], [ONE]),
    ],
    ids=["one", "list", "tuple", "dict", "CombinedLoader", "None", "empty", "beside something else"],
)
def test_loaders_are_found_in_any_structure(given, expected):
    assert loaders_in(given) == expected
    assert first_loader(given) is (expected[0] if expected else None)


@pytest.mark.parametrize(
    ("loader", "batches", "world_size", "count"),
    [
        (ONE, float("inf"), 1, 24),
        (ONE, 2, 1, 12),
        (ONE, 2, 2, 24),
        (ONE, 1, 2, 12),
        (DataLoader(dataset(), batch_sampler=[[1, 2], [3]]), 1, 1, 24),
        (DataLoader(Stream()), 3, 1, None),
    ],
    ids=["all", "limited batches", "two processes", "two processes, limited", "custom batches", "stream"],
)
def test_the_number_of_samples_that_a_loop_sees(loader, batches, world_size, count):
    assert count_samples(loader, batches, world_size) == count
