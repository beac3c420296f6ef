import pytest
import torch
from scipy.stats import spearmanr

from lightning_viz.methods.features.similarity import cosine, linear_cka, rank_correlation

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


def test_equal_up_to_a_factor():
    assert cosine(MAPS, 3 * MAPS).tolist() == pytest.approx([1, 1])
    assert rank_correlation(MAPS, MAPS**3).tolist() == pytest.approx([1, 1])


def test_rounding_does_not_exceed_one():
    maps = torch.rand(200, 6, 6)
    assert cosine(maps, maps).max() <= 1


def test_opposite_maps():
    assert cosine(MAPS, -MAPS).tolist() == pytest.approx([-1, -1])
    assert rank_correlation(MAPS, -MAPS).tolist() == pytest.approx([-1, -1])


@pytest.mark.parametrize("measure", [cosine, rank_correlation])
def test_a_zero_map_has_no_similarity(measure):
    assert measure(MAPS, torch.zeros_like(MAPS)).tolist() == [0, 0]


SIZES = [(50, 8, 5), (10, 80, 60), (12, 3, 70), (12, 70, 3)]  # features' products are cheaper, Gram matrices, ...


def spaces(count, width, other):
    """Two spaces that share three directions."""
    shared = torch.randn(count, 3)
    return tuple(3 + shared @ torch.randn(3, size) + torch.randn(count, size) for size in (width, other))


def hsic(one, other):
    """Kornblith et al. 2019, eq. 3: with Gram matrices and centring matrices."""
    count = len(one)
    centring = torch.eye(count).double() - 1 / count
    k, l = one @ one.T, other @ other.T  # noqa: E741
    return (k @ centring @ l @ centring).trace() / (count - 1) ** 2


def unbiased_hsic(one, other):
    """HSIC_1 of Song et al. 2012, written out."""
    count, ones = len(one), torch.ones(len(one)).double()
    k, l = one @ one.T, other @ other.T  # noqa: E741
    k, l = k - k.diag().diag(), l - l.diag().diag()  # noqa: E741
    means = (ones @ k @ ones) * (ones @ l @ ones) / ((count - 1) * (count - 2))
    return ((k @ l).trace() + means - 2 / (count - 2) * (ones @ k @ l @ ones)) / (count * (count - 3))


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize(("debiased", "reference"), [(False, hsic), (True, unbiased_hsic)])
def test_cka_equals_the_formula(sizes, debiased, reference):
    one, other = (space.double() for space in spaces(*sizes))
    expected = reference(one, other) / (reference(one, one) * reference(other, other)).sqrt()
    assert linear_cka(one, other, debiased=debiased) == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("debiased", [False, True])
def test_cka_is_invariant_to_rotation_scale_and_translation(sizes, debiased):
    one, other = spaces(*sizes)
    rotated = 1e-3 * one.double() @ torch.linalg.qr(torch.randn(one.shape[1], one.shape[1]).double())[0] - 7
    assert linear_cka(one, rotated, debiased=debiased) == pytest.approx(1)
    expected = linear_cka(one, other, debiased=debiased)
    assert linear_cka(rotated, other, debiased=debiased) == pytest.approx(expected)
    assert linear_cka(other, one, debiased=debiased) == pytest.approx(expected)
    assert abs(expected) < 0.99


def test_cka_of_few_points_in_many_dimensions_is_biased():
    one, other = torch.randn(2, 20, 2000)
    assert linear_cka(one, other) > 0.9
    assert abs(linear_cka(one, other, debiased=True)) < 0.2


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e30])
def test_cka_of_a_constant_space(debiased, value):
    constant, other = torch.full((11, 4), value).double() / 3, torch.randn(11, 6)  # whose mean is off by rounding
    assert linear_cka(constant, other, debiased=debiased) == 0
    assert linear_cka(other, constant, debiased=debiased) == 0
    assert linear_cka(constant, constant, debiased=debiased) == 0


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_cka_of_any_scale(scale):
    one, other = spaces(20, 5, 6)
    assert linear_cka(scale * one, other) == pytest.approx(linear_cka(one, other), rel=1e-5)


@pytest.mark.parametrize(
    ("one", "other", "options", "message"),
    [
        (torch.rand(5, 2), torch.rand(4, 2), {}, "hold 5 and 4 points"),
        (torch.rand(3, 2), torch.rand(3, 2), {"debiased": True}, "4 or more for debiased=True"),
        (torch.rand(3, 2), torch.full((3, 2), torch.nan), {}, "other of .* NaN"),
    ],
)
def test_cka_wrong_arguments(one, other, options, message):
    with pytest.raises(ValueError, match=message):
        linear_cka(one, other, **options)
