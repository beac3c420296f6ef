import pytest
import torch
from torchvision.transforms import v2

from lightning_viz.methods.synthesis.colours import Normalisation

CPU = torch.device("cpu")


def test_equals_torchvision_and_is_inverted():
    mean, std, images = (0.4, 0.5, 0.6), (0.1, 0.2, 0.3), torch.rand(2, 3, 4, 4)
    normalisation = Normalisation.of(mean, torch.tensor(std), 3, CPU)
    assert torch.allclose(normalisation.normalise(images), v2.functional.normalize(images, mean, std), atol=1e-6)
    assert torch.allclose(normalisation.denormalise(normalisation.normalise(images)), images, atol=1e-6)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5, 0.5), None, "mean=.*does not fit 3 channels"),
        (None, float("nan"), "std=nan does not fit"),
        (None, (0.1, 0.0, 0.1), "std=.*is invalid; give numbers above 0"),
    ],
)
def test_wrong_values(mean, std, message):
    with pytest.raises(ValueError, match=message):
        Normalisation.of(mean, std, 3, CPU)
