import os
import warnings

os.environ["OMP_NUM_THREADS"] = "1"  # two test processes share two cores; their children inherit it

import pytest
import torch

torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With `--dist loadgroup`, a file's tests share a process and its fixtures; those of the contract, which come last, fill
    both processes."""
    for item in items:
        if item.path.name != "test_contract.py":
            item.add_marker(pytest.mark.xdist_group(str(item.path)))


@pytest.fixture(autouse=True)
def same_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def our_warnings(recwarn: pytest.WarningsRecorder):
    """The warnings of this library so far, as texts."""
    warnings.simplefilter("always")
    return lambda: [
        str(one.message)
        for one in recwarn.list
        if "lightning_viz" in str(one.message) or "draws no more" in str(one.message)
    ]
