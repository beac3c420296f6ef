import numpy as np
import pytest
import torch

from lightning_viz import Probe

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def normalised(pictures):
    mean, std = torch.tensor(MEAN).reshape(3, 1, 1), torch.tensor(STD).reshape(3, 1, 1)
    return (pictures - mean) / std


def test_pictures_undo_the_normalisation():
    pictures = torch.randint(0, 256, (2, 3, 8, 8)).float() / 255
    probe = Probe(normalised(pictures), mean=MEAN, std=STD)
    assert np.abs(probe.pictures.astype(int) - (pictures * 255).permute(0, 2, 3, 1).numpy()).max() <= 1
    assert probe.pictures.dtype == np.uint8


def test_colours_between_0_and_1_are_taken_as_they_are():
    images = torch.rand(2, 3, 4, 4)
    probe = Probe(images)
    assert (probe.pictures == (images * 255).round().byte().permute(0, 2, 3, 1).numpy()).all()
    assert "as they are" in probe.note


def test_other_colours_are_estimated_from_the_range_and_it_says_so():
    probe = Probe(normalised(torch.rand(2, 3, 4, 4)))
    assert (probe.pictures.min(), probe.pictures.max()) == (0, 255)
    assert "estimated" in probe.note


def test_an_estimate_keeps_the_order_of_the_colours():
    images = torch.linspace(-5, 20, 16).reshape(1, 1, 4, 4)
    pictures = Probe(images).pictures[0, ..., 0].flatten()
    assert pictures.tolist() == [round(255 * step / 15) for step in range(16)]


def test_values_up_to_255_are_shown_in_range():
    pixels = torch.randint(0, 256, (1, 3, 8, 8)).float()
    probe = Probe((pixels - 120) / 60, mean=[120] * 3, std=[60] * 3)
    assert np.abs(probe.pictures.astype(int) - pixels.permute(0, 2, 3, 1).numpy()).max() <= 1


@pytest.mark.parametrize("brightest", [1, 255])
def test_normalisation_brings_images_to_0_and_1(brightest):
    pictures = torch.rand(2, 3, 4, 4)
    mean, std = [0.5 * brightest] * 3, [0.2 * brightest] * 3
    probe = Probe((pictures - 0.5) / 0.2, mean=mean, std=std)
    found = probe.normalisation
    assert torch.allclose(probe.images * found[1] + found[0], pictures, atol=1e-6)


def test_class_names_may_be_an_array():
    assert Probe(torch.rand(1, 3, 4, 4), torch.tensor([1]), np.array(["cat", "dog"])).name(1) == "dog"


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_any_number_of_channels_gives_rgb(channels):
    assert Probe(torch.rand(2, channels, 5, 6)).pictures.shape == (2, 5, 6, 3)


def test_one_channel_is_grey():
    pictures = Probe(torch.rand(1, 1, 4, 4)).pictures
    assert (pictures[..., 0] == pictures[..., 2]).all()


def test_what_is_not_finite_gives_a_picture_all_the_same():
    images = torch.rand(1, 3, 4, 4)
    images[0, 0, 0, 0], images[0, 0, 0, 1] = torch.nan, torch.inf
    assert Probe(images, mean=MEAN, std=STD).pictures.shape == (1, 4, 4, 3)


def test_name_falls_back_to_the_index():
    assert [Probe(torch.rand(1, 3, 4, 4), class_names=["cat", "dog"]).name(index) for index in (1, 2)] == ["dog", "2"]


def test_head_takes_labels_along():
    probe = Probe(torch.rand(4, 3, 4, 4), torch.arange(4)).head(2)
    assert (len(probe), probe.labels.tolist()) == (2, [0, 1])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(images=np.zeros((1, 3, 4, 4))), TypeError, "ndarray"),
        (dict(images=torch.zeros(1, 3, 4, 4, dtype=torch.uint8)), TypeError, "uint8"),
        (dict(images=torch.zeros(3, 4, 4)), ValueError, r"\(3, 4, 4\)"),
        (dict(images=torch.zeros(0, 3, 4, 4)), ValueError, r"\(0, 3, 4, 4\)"),
        (dict(images=torch.zeros(2, 3, 4, 4), labels=torch.arange(3)), ValueError, r"\(3,\); they must be 2"),
        (dict(images=torch.zeros(2, 3, 4, 4), labels=torch.rand(2)), ValueError, "float32"),
        (dict(images=torch.zeros(2, 3, 4, 4), labels=torch.tensor([-1, 0])), ValueError, "0 and more"),
        (
            dict(images=torch.zeros(2, 3, 4, 4), labels=torch.tensor([0, 2]), class_names=["a", "b"]),
            ValueError,
            "class_names has 2 names, and the labels go up to 2",
        ),
        (dict(images=torch.zeros(2, 3, 4, 4), mean=MEAN), ValueError, "belong together"),
        (dict(images=torch.zeros(2, 1, 4, 4), mean=MEAN, std=STD), ValueError, "3 values, and the images 1"),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        Probe(**arguments)
