import pytest
import torch

from lightning_viz.methods.features.points import as_rows, finite_rows


@pytest.mark.parametrize(("dtype", "expected"), [(torch.float64, torch.float64), (torch.bfloat16, torch.float32)])
def test_points_are_flattened_and_detached(dtype, expected):
    points = torch.rand(4, 2, 3, dtype=dtype, requires_grad=True)
    rows = as_rows(points)
    assert (rows.shape, rows.dtype, rows.requires_grad) == ((4, 6), expected, False)


def test_values_whose_sum_overflows_are_finite():
    assert as_rows(torch.full((3, 2), 3e38)).shape == (3, 2)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (torch.rand(3), r"queries of shape \(3,\) is invalid; give points"),
        (torch.tensor([[0.0, torch.nan]]), "queries of shape .* hold NaN or infinite"),
    ],
)
def test_wrong_points(points, message):
    with pytest.raises(ValueError, match=message):
        as_rows(points, "queries")


def test_finite_rows_are_finite_in_all():
    first, second = torch.zeros(5, 3), torch.zeros(5, 2, 2)
    first[1, 2], second[3, 0, 1], second[3, 1, 1] = torch.nan, torch.inf, -torch.inf
    assert finite_rows(first, second).tolist() == [0, 2, 4]
    assert finite_rows(second).tolist() == [0, 1, 2, 4]
