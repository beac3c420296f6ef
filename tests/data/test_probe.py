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


def test_bytes_are_shown_as_they_are_however_dark():
    images = torch.randint(0, 3, (2, 3, 4, 4), dtype=torch.uint8)
    probe = Probe(images)
    assert (probe.pictures == images.permute(0, 2, 3, 1).numpy()).all()
    assert probe.in_bytes
    assert probe.head(1).in_bytes
    assert "uint8 values shown as they are" in probe.note
    mean, std = probe.normalisation
    assert torch.equal((probe.images * std + mean) * 255, images.float())


def test_a_subclass_of_a_tensor_becomes_a_plain_one():
    class Special(torch.Tensor):
        pass

    images, labels = torch.rand(2, 3, 4, 4).as_subclass(Special), torch.tensor([0, 1]).as_subclass(Special)
    probe = Probe(images, labels)
    assert type(probe.images) is type(probe.labels) is torch.Tensor
    assert torch.equal(probe.images, images.as_subclass(torch.Tensor))


def test_colours_between_0_and_1_are_taken_as_they_are():
    images = torch.rand(2, 3, 4, 4)
    probe = Probe(images)
    assert (probe.pictures == (images * 255).round().byte().permute(0, 2, 3, 1).numpy()).all()
    assert "as they are" in probe.note


def test_other_colours_are_scaled_from_the_range_and_the_note_says_so():
    probe = Probe(normalised(torch.rand(2, 3, 4, 4)))
    assert (probe.pictures.min(), probe.pictures.max()) == (0, 255)
    assert "colours scaled from the value range" in probe.note


def test_scaled_colours_keep_their_order():
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
    assert Probe(torch.rand(1, 3, 4, 4), torch.tensor([1]), np.array(["cat", "dog"])).class_name(1) == "dog"


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
    assert [Probe(torch.rand(1, 3, 4, 4), class_names=["cat", "dog"]).class_name(index) for index in (1, 2)] == [
        "dog",
        "2",
    ]


def test_head_takes_labels_along():
    probe = Probe(torch.rand(4, 3, 4, 4), torch.arange(4)).head(2)
    assert (len(probe), probe.labels.tolist()) == (2, [0, 1])


def test_one_negative_label_unlabels_its_own_picture_only():
    probe = Probe(torch.rand(3, 3, 4, 4), torch.tensor([2, -100, 0]))
    assert probe.labels.tolist() == [2, -1, 0]


def test_negative_labels_alone_are_none():
    assert Probe(torch.rand(2, 3, 4, 4), torch.tensor([-1, -100])).labels is None


def test_some_of_the_pictures_keep_their_labels():
    part = Probe(torch.rand(4, 3, 4, 4), torch.arange(4), class_names=list("abcd"), origin="here").subset(slice(1, 3))
    assert (len(part), part.labels.tolist(), part.class_name(2), part.origin) == (2, [1, 2], "c", "here")


def test_names_that_two_classes_share_get_their_index():
    probe = Probe(torch.rand(1, 3, 4, 4), class_names=["cat", "dog", "cat", ""])
    assert probe.unique_names([0, 1, 2, 3]) == {0: "cat (0)", 1: "dog", 2: "cat (2)", 3: "(3)"}


@pytest.mark.parametrize("names", [("cat", "dog"), np.array(["cat", "dog"]), ["cat", "dog"]], ids=type)
def test_class_names_may_be_any_sequence(names):
    assert Probe(torch.rand(1, 3, 4, 4), class_names=names).class_names == ("cat", "dog")


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_three_channels_are_shown(channels):
    pictures = torch.rand(2, channels, 4, 4)
    shown = Probe(pictures).to_rgb(pictures)
    assert shown.shape == (2, 3, 4, 4)
    expected = pictures[:, :3] if channels >= 3 else pictures.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert torch.equal(shown, expected)


# Bands.


def bands_of(channels, **options):
    """A probe whose channel k has the value (k + 1) / 20 everywhere."""
    values = (torch.arange(channels) + 1) / 20
    return Probe(values.reshape(1, channels, 1, 1).expand(1, channels, 2, 2) + 0.0, mean=0, std=1, **options)


@pytest.mark.parametrize(
    ("channels", "bands", "shown", "note"),
    [
        (13, None, [0, 1, 2], "channels 0, 1, 2 of 13 shown as RGB"),
        (13, [3, 2, 1], [3, 2, 1], "channels 3, 2, 1 of 13 shown as RGB"),
        (13, (12, 0, 5), [12, 0, 5], "channels 12, 0, 5 of 13 shown as RGB"),
        (13, [7], [7, 7, 7], "channel 7 of 13 shown in grey"),
        (13, 7, [7, 7, 7], "channel 7 of 13 shown in grey"),
        (4, torch.tensor([2, 1, 0]), [2, 1, 0], "channels 2, 1, 0 of 4 shown as RGB"),
        (3, [2, 1, 0], [2, 1, 0], "channels 2, 1, 0 of 3 shown as RGB"),
        (3, None, [0, 1, 2], None),
        (2, [1], [1, 1, 1], "channel 1 of 2 shown in grey"),
        (1, None, [0, 0, 0], None),
    ],
)
def test_bands_are_shown_everywhere_and_the_note_says_which(channels, bands, shown, note):
    probe = bands_of(channels, bands=bands)
    expected = [round(255 * (channel + 1) / 20) for channel in shown]
    assert probe.pictures[0, 0, 0].tolist() == expected
    assert probe.to_pixels(probe.images.numpy())[0, 0, 0].tolist() == expected
    assert (probe.to_rgb(probe.images)[0, :, 0, 0] * 255).round().tolist() == expected
    assert probe.note == ("probe given" if note is None else f"probe given; {note}")


def test_bands_go_along_with_some_of_the_pictures():
    assert bands_of(5, bands=(4, 3, 2)).head(1).to(torch.device("cpu")).bands == [4, 3, 2]


@pytest.mark.parametrize(
    ("bands", "error", "message"),
    [
        ([3, 2, 13], ValueError, r"bands=\[3, 2, 13\]: the images have the channels 0 to 12; give the channels of red"),
        ([3, 2], ValueError, r"bands=\[3, 2\] has 2 channels; give the channels of red, green and blue, or one"),
        ([0, 1, 2, 3], ValueError, "has 4 channels"),
        ([3, 2, -1], ValueError, r"bands=\[3, 2, -1\]: the images have the channels 0 to 12"),
        ([3, 2, 1.0], TypeError, r"bands=\[3, 2, 1.0\] is list; give the channels of red"),
        (True, TypeError, "bands=True is bool"),
        ("321", TypeError, "bands='321' is str"),
        ([], TypeError, r"bands=\[\] is list"),
    ],
)
def test_wrong_bands(bands, error, message):
    with pytest.raises(error, match=message):
        bands_of(13, bands=bands)


# Values.


def reflectances(channels=13):
    """Like Sentinel-2's: each band with a range of its own, far below the 10,000 that a few clouds reach."""
    pictures = torch.rand(4, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    images = 200 + pictures * torch.linspace(300, 2500, channels).reshape(channels, 1, 1)
    images[:, :, 0, 0] = 10_000.0
    return images


@pytest.mark.parametrize("scale", [1, 1e-4], ids=["counts", "reflectances of 0 to 1"])
def test_bands_of_satellites_are_neither_black_nor_white(scale):
    probe = Probe(reflectances() * scale, bands=[3, 2, 1])
    for channel in range(3):
        assert 100 < probe.pictures[..., channel].mean() < 155
    assert probe.note.endswith(
        "channels 3, 2, 1 of 13 shown as RGB; each channel scaled from its 2% to its 98% quantile"
    )


def test_one_band_of_large_counts_is_not_black():
    assert 100 < Probe(reflectances(1)).pictures.mean() < 155


def test_a_normalisation_that_leads_to_counts_does_not_whiten_the_pictures():
    """As that of a satellite's datamodule: the mean and the standard deviation of counts."""
    images = reflectances()
    mean, std = images.mean(dim=(0, 2, 3)), images.std(dim=(0, 2, 3))
    probe = Probe((images - mean.reshape(13, 1, 1)) / std.reshape(13, 1, 1), mean=mean, std=std)
    assert 100 < probe.pictures.mean() < 155
    assert "each channel scaled" in probe.note


def test_a_few_outliers_do_not_blacken_a_normalised_picture():
    pictures = torch.rand(2, 3, 40, 40)
    pictures[0, 0, 0, 0] = 9.0  # as of added noise
    shown = Probe(normalised(pictures), mean=MEAN, std=STD).pictures
    assert np.abs(shown.astype(int) - (pictures.clamp(max=1) * 255).permute(0, 2, 3, 1).numpy()).max() <= 1


def test_infinite_values_do_not_change_the_colours_of_the_others():
    images = torch.rand(1, 3, 4, 4)
    images[0, 0, 0, 0] = torch.inf
    assert (Probe(images).pictures[0, 1:] == (images[0, :, 1:] * 255).round().byte().permute(1, 2, 0).numpy()).all()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(images=np.zeros((1, 3, 4, 4))), TypeError, "ndarray"),
        (dict(images=torch.zeros(1, 3, 4, 4, dtype=torch.int16)), TypeError, "int16"),
        (dict(images=torch.zeros(1, 3, 4, 4, dtype=torch.uint8), mean=0.5, std=0.5), ValueError, "mean=0.5 .*uint8"),
        (dict(images=torch.zeros(2, 12, 16, 3)), ValueError, r"\(2, 12, 16, 3\), channels last"),
        (dict(images=torch.zeros(3, 4, 4)), ValueError, r"\(3, 4, 4\)"),
        (dict(images=torch.zeros(0, 3, 4, 4)), ValueError, r"\(0, 3, 4, 4\)"),
        (dict(images=torch.zeros(2, 3, 4, 4), labels=torch.arange(3)), ValueError, r"\(3,\); give 2 class indices"),
        (dict(images=torch.zeros(2, 3, 4, 4), labels=torch.rand(2)), ValueError, "float32"),
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
