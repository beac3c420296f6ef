import pytest
import torch

from lightning_viz.methods.synthesis.goal import class_objective, gram_similarity, layer_objective

from ...support import small_network


def by_hand(one, other):
    """The cosine of two Gram matrices."""
    grams = [maps.flatten(1) @ maps.flatten(1).T for maps in (one, other)]
    return float(torch.cosine_similarity(grams[0].flatten(), grams[1].flatten(), dim=0))


@pytest.mark.parametrize("shape", [(4, 5, 5), (40, 2, 3), (6, 1, 1)])
def test_gram_similarity_is_the_mean_cosine_of_gram_matrices(shape):
    maps = torch.randn(6, *shape)
    found = gram_similarity(maps, 3)
    assert float(found[0]) == pytest.approx((by_hand(maps[0], maps[1]) + by_hand(maps[0], maps[2])) / 2, abs=1e-5)
    assert float(found[5]) == pytest.approx((by_hand(maps[5], maps[3]) + by_hand(maps[5], maps[4])) / 2, abs=1e-5)


def test_identical_copies_have_similarity_1():
    maps = torch.randn(2, 7, 12, 9).repeat_interleave(2, dim=0)
    assert torch.allclose(gram_similarity(maps, 2), torch.ones(4))


def test_large_maps_are_pooled():
    """Gram matrices do not depend on positions, and their cost must not grow with the image."""
    maps = torch.randn(2, 3, 4, 4)
    large = torch.nn.functional.interpolate(maps, scale_factor=32, mode="nearest")
    assert torch.allclose(gram_similarity(large, 2), gram_similarity(maps, 2), atol=1e-5)


def test_copies_of_a_target_are_consecutive():
    model, images = small_network().eval(), torch.rand(4, 3, 8, 8)
    objective, numbers = class_objective(model, [3, 1], 2, None)
    assert numbers == [3, 3, 1, 1]
    assert torch.equal(objective(images)[0], model(images)[range(4), numbers])
    objective, numbers = layer_objective(model, "3", [3, 1], None, 2)
    assert numbers == [3, 3, 1, 1]
    assert torch.allclose(objective(images)[0], model[:4](images)[range(4), numbers].mean(dim=(1, 2)))


def test_class_features_are_the_last_spatial_layers_output():
    model, images = small_network().eval(), torch.rand(4, 3, 8, 8)
    objective, _ = class_objective(model, [3, 1], 2, images[:1])
    scores, features = objective(images)
    assert torch.equal(scores, model(images)[range(4), [3, 3, 1, 1]])
    assert torch.equal(features, model[:7](images))


def test_layer_scores_are_means_over_the_selection():
    model, images = small_network().eval(), torch.rand(2, 3, 8, 8)
    maps = model[:4](images)
    units = [5, 2]

    def scores(unit, position):
        return layer_objective(model, "3", unit, position, 1)[0](images)[0]

    assert torch.allclose(scores(units, None), maps[[0, 1], units].mean(dim=(1, 2)))
    assert torch.equal(scores(units, (1, 3)), maps[[0, 1], units, 1, 3])
    assert torch.equal(scores(units, "middle"), maps[[0, 1], units, 2, 2])
    assert torch.allclose(scores(None, None), maps.square().mean(dim=(1, 2, 3)))
    assert torch.allclose(scores(None, (1, 3)), maps[:, :, 1, 3].square().mean(dim=1))
