import pytest
import torch
from scipy.stats import spearmanr

from lightning_viz.methods.similarity import cosine, rank_correlation

MAPS, OTHERS = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(0)).split([2, 1])


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_equals_scipy(ties):
    generator = torch.Generator().manual_seed(1)
    one, other = torch.rand(2, 3, 6, 7, generator=generator)
    if ties:
        one, other = (one * 4).floor(), (other * 4).floor()
    expected = [
        spearmanr(first.flatten(), second.flatten()).statistic for first, second in zip(one, other, strict=True)
    ]
    assert rank_correlation(one, other).tolist() == pytest.approx(expected)


def test_alike_up_to_a_factor():
    assert cosine(MAPS, 3 * MAPS).tolist() == pytest.approx([1, 1])
    assert rank_correlation(MAPS, MAPS**3).tolist() == pytest.approx([1, 1])


def test_rounding_does_not_make_maps_more_than_alike():
    maps = torch.rand(200, 6, 6)
    assert cosine(maps, maps).max() <= 1


def test_opposite():
    assert cosine(MAPS, -MAPS).tolist() == pytest.approx([-1, -1])
    assert rank_correlation(MAPS, -MAPS).tolist() == pytest.approx([-1, -1])


@pytest.mark.parametrize("measure", [cosine, rank_correlation])
def test_nothing_is_like_nothing(measure):
    assert measure(MAPS, torch.zeros_like(MAPS)).tolist() == [0, 0]
