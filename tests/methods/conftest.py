import pytest
from torch import Tensor, nn

from .references import NETWORKS, calibrated, images_of


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    """Each of the reference networks, a copy that the test may change."""
    return calibrated(request.param)


@pytest.fixture
def images() -> Tensor:
    return images_of(64)
