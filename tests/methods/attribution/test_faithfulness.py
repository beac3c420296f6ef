import pytest
import torch
from torch import nn

from lightning_viz.methods import insertion_deletion

from ...support import small_network


class Brightness(nn.Module):
    """A model whose one score is the mean brightness of the left half."""

    def forward(self, images):
        return images[:, 0, :, : images.shape[3] // 2].mean(dim=(1, 2))


def left(value):
    maps = torch.zeros(2, 8, 8)
    maps[:, :, :4] = value
    return maps


IMAGES = torch.ones(2, 1, 8, 8)


def test_the_best_map_adds_first_what_the_score_depends_on():
    found = insertion_deletion(Brightness(), IMAGES, left(1.0), steps=4, fill=0.0)
    assert found.insertion.tolist() == [[0, 0.5, 1, 1, 1]] * 2
    assert found.deletion.tolist() == [[1, 0.5, 0, 0, 0]] * 2
    assert found.insertion_area.tolist() == [0.75] * 2
    assert found.deletion_area.tolist() == [0.25] * 2


def test_the_worst_map_adds_it_last():
    found = insertion_deletion(Brightness(), IMAGES, left(-1.0), steps=4, fill=0.0)
    assert found.insertion_area.tolist() == [0.25] * 2
    assert found.deletion_area.tolist() == [0.75] * 2


def test_a_constant_map_is_no_better_than_chance():
    found = insertion_deletion(Brightness(), torch.ones(1, 1, 64, 64), torch.zeros(1, 64, 64), fill=0.0)
    assert found.insertion_area.item() == pytest.approx(0.5, abs=0.03)
    assert found.deletion_area.item() == pytest.approx(0.5, abs=0.03)


def test_curves_go_from_the_blank_to_the_image_in_probability():
    model, images = small_network().eval(), torch.rand(3, 3, 8, 8)
    found = insertion_deletion(model, images, torch.rand(3, 8, 8), 2, steps=5)
    blank = images.mean(dim=(0, 2, 3)).reshape(1, 3, 1, 1).expand(3, -1, 8, 8)
    with torch.no_grad():
        start, end = (model(one).softmax(dim=1)[:, 2] for one in (blank, images))
    assert found.insertion.shape == found.deletion.shape == (3, 6)
    assert torch.allclose(found.insertion[:, 0], start, atol=1e-6)
    assert torch.allclose(found.insertion[:, -1], end, atol=1e-6)
    assert torch.allclose(found.deletion[:, 0], end, atol=1e-6)
    assert torch.allclose(found.deletion[:, -1], start, atol=1e-6)


def test_an_image_that_is_not_finite_changes_no_other():
    model, images, maps = small_network().eval(), torch.rand(3, 3, 8, 8), torch.rand(3, 8, 8)
    images[1, 0, 2, 2] = maps[1, 2, 2] = torch.nan
    found = insertion_deletion(model, images, maps, 1, steps=3)
    alone = insertion_deletion(model, images[[0, 2]], maps[[0, 2]], 1, steps=3)
    for one, other in zip(found, alone, strict=True):
        assert torch.allclose(one[[0, 2]], other, atol=1e-6)
    assert found.insertion_area[1].isnan()


def test_maps_are_resized_to_the_images():
    found = insertion_deletion(Brightness(), IMAGES, torch.tensor([[[1.0, 0.0]]] * 2), steps=2, fill=0.0)
    assert found.insertion.tolist() == [[0, 1, 1]] * 2


def test_the_score_is_the_probability_where_the_output_is_one_already():
    model, images, maps = small_network(), torch.rand(3, 3, 8, 8), torch.rand(3, 8, 8)
    expected = insertion_deletion(model, images, maps, 1, steps=3)
    found = insertion_deletion(nn.Sequential(model, nn.Softmax(dim=1)), images, maps, 1, steps=3)
    assert torch.allclose(found.insertion, expected.insertion, atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_the_cost_is_as_documented_and_the_batch_size_changes_memory_only(batch_size):
    model, seen = small_network(), []
    images, maps = torch.rand(3, 3, 8, 8), torch.rand(3, 8, 8)
    expected = insertion_deletion(model, images, maps, 1, steps=5)
    model.register_forward_pre_hook(lambda module, args: seen.append(len(args[0])))
    found = insertion_deletion(model, images, maps, 1, steps=5, batch_size=batch_size)
    assert torch.allclose(found.insertion, expected.insertion, atol=1e-6)
    assert sum(seen) == 3 + 3 * 2 * 6  # one pass of the images fixes the target
    assert max(seen) <= max(batch_size, 3)


@pytest.mark.parametrize(
    ("maps", "options", "message"),
    [
        (torch.full((2, 8, 8), torch.inf), {}, "not finite"),
        (torch.rand(3, 8, 8), {}, "does not fit 2 images"),
        (torch.rand(2, 1, 8, 8), {}, "does not fit 2 images"),
        (torch.full((2, 8, 8), torch.nan), {}, "not finite"),
        (torch.rand(2, 8, 8), {"steps": 0}, "steps=0"),
    ],
)
def test_invalid_arguments(maps, options, message):
    with pytest.raises(ValueError, match=message):
        insertion_deletion(Brightness(), IMAGES, maps, **options)
