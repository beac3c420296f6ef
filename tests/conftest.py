import os
import warnings

os.environ["OMP_NUM_THREADS"] = "1"  # two test processes share two cores; their children inherit it

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def same_seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def our_warnings(recwarn: pytest.WarningsRecorder):
    """The warnings of this library so far, as texts."""
    warnings.simplefilter("always")
    return lambda: [str(one.message) for one in recwarn.list if "lightning_viz" in str(one.message)]
