import pytest
import torch

from lightning_viz.methods import activations, choose_channels

from ...support import small_network


def test_output_is_the_layers_own():
    model, pictures = small_network().eval(), torch.rand(2, 3, 8, 8)
    output = activations(model, pictures, "1")
    assert torch.equal(output, model[:2](pictures))
    assert (output < 0).any()  # the ReLU after it works in place
    assert not output.requires_grad


def test_any_layers_output_is_returned_as_it_is():
    model, pictures = small_network().eval(), torch.rand(2, 3, 8, 8)
    assert torch.equal(activations(model, pictures, "9"), model(pictures))


def test_network_is_left_as_it_was():
    model = small_network().train()
    with torch.inference_mode():
        activations(model, torch.rand(2, 3, 8, 8), "1")
    assert all(module.training for module in model.modules())
    assert model[1].num_batches_tracked == 0
    assert not any(module._forward_hooks for module in model.modules())


def test_unknown_layer():
    with pytest.raises(ValueError, match="layer='conv9' is not in Sequential"):
        activations(small_network(), torch.rand(2, 3, 8, 8), "conv9")


def maps():
    """Four channels of two images of 1×2: silent, loud and alike, two-sided, soft and different."""
    first = [[-5, -5], [3, 3], [4, -9], [0, 0]]
    second = [[-5, -5], [3, 3], [4, -9], [2, 2]]
    return torch.tensor([first, second]).float()[:, :, None]


@pytest.mark.parametrize(("by", "expected"), [("active", [1, 2, 3, 0]), ("varying", [3, 0, 1, 2])])
def test_channels_come_by_their_measure(by, expected):
    assert choose_channels(maps(), 4, by).tolist() == expected
    assert choose_channels(maps(), 2, by).tolist() == expected[:2]
    assert choose_channels(maps(), 9, by).tolist() == expected


@pytest.mark.parametrize("by", ["active", "varying"])
def test_channels_that_are_not_finite_come_last(by):
    broken = maps()
    broken[0, 3, 0, 0] = torch.nan
    broken[1, 1, 0, 1] = torch.inf
    assert set(choose_channels(broken, 4, by)[2:].tolist()) == {1, 3}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((maps(), 0), "count=0 chooses no channel"),
        ((maps(), 1, "loud"), "by='loud' is no measure.*'active', 'varying'"),
        ((torch.rand(2, 3), 1), r"\(2, 3\) are no feature maps"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_channels(*arguments)
