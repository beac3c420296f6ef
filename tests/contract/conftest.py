import pytest
import torch

from ..cases import CASES
from .recording import record_evaluation, record_training, train

by_case = {"params": CASES, "ids": [case.name for case in CASES], "scope": "session"}


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """All that the training leaves without any callback."""
    return train(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(**by_case)
def case(request):
    """Each callback in turn."""
    return request.param


@pytest.fixture(scope="session")
def recorded(case, tmp_path_factory):
    """The recorded training of a callback, made once."""
    return record_training(case, tmp_path_factory.mktemp(case.name))


@pytest.fixture(scope="session")
def evaluated(case, tmp_path_factory):
    """The recorded `validate` and `test` of a callback, made once, and what its tiles must say."""
    torch.manual_seed(0)
    return record_evaluation(case, tmp_path_factory.mktemp(case.name))
