import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from sklearn.decomposition import PCA as Reference

from lightning_viz.methods import aligned, effective_dimension, pca, procrustes
from lightning_viz.methods.features.projection import _with_scikit_learn, _with_torch


def points(count, dimensions):
    """Points off the origin, with falling variances in rotated directions."""
    scales = torch.arange(1, dimensions + 1) ** -0.7
    return 5 + torch.randn(count, dimensions) * scales @ rotation(dimensions)


def rotation(dimensions):
    return torch.linalg.qr(torch.randn(dimensions, dimensions))[0]


@pytest.mark.parametrize(("count", "dimensions"), [(60, 20), (20, 60), (30, 30), (40, 3)])
@pytest.mark.parametrize("components", [1, 2, 3])
def test_equals_scikit_learn(count, dimensions, components):
    cloud = points(count, dimensions)
    found = pca(cloud, components)
    reference = Reference(svd_solver="full").fit(cloud.double().numpy())
    theirs = reference.transform(cloud.double().numpy())[:, :components]
    theirs *= np.sign(theirs[np.abs(theirs).argmax(axis=0), np.arange(components)])
    assert np.allclose(found.coordinates, theirs, atol=1e-5)
    assert np.allclose(found.explained, reference.explained_variance_ratio_[:components], atol=1e-6)
    variances = reference.explained_variance_
    assert effective_dimension(cloud) == pytest.approx(variances.sum() ** 2 / (variances**2).sum())


@pytest.mark.parametrize(("count", "dimensions"), [(200, 50), (50, 200)])
def test_both_solvers_agree(count, dimensions):
    """That for the CPU, and that for few points and for other devices."""
    cloud = points(count, dimensions).double()
    ours, theirs = _with_scikit_learn(cloud, 3), _with_torch(cloud, 3)
    assert torch.allclose(ours.coordinates, theirs.coordinates, atol=1e-6)
    assert torch.allclose(ours.explained, theirs.explained, atol=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gives_the_same():
    cloud = points(60, 20)
    ours, theirs = pca(cloud.cuda(), 3), pca(cloud, 3)
    assert ours.coordinates.is_cuda
    assert torch.allclose(ours.coordinates.cpu(), theirs.coordinates, atol=1e-5)
    assert effective_dimension(cloud.cuda()) == pytest.approx(effective_dimension(cloud))


def test_signs_do_not_depend_on_the_points_signs():
    cloud = points(50, 10)
    ours, mirrored = pca(cloud).coordinates, pca(-cloud).coordinates
    assert (ours.gather(0, ours.abs().argmax(dim=0, keepdim=True)) > 0).all()
    assert torch.allclose(ours.abs(), mirrored.abs(), atol=1e-5)
    assert (mirrored.gather(0, mirrored.abs().argmax(dim=0, keepdim=True)) > 0).all()


def test_the_random_state_of_numpy_is_left_alone():
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    ours, again = pca(points(50, 10)), None
    assert np.random.rand() == expected
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(0)
        again = pca(points(50, 10).float())
    assert ours.coordinates.dtype == again.coordinates.dtype == torch.float32


@pytest.mark.parametrize("dimensions", [1, 4, 16])
def test_equal_variances_count_as_dimensions(dimensions):
    cross = torch.cat([torch.eye(dimensions), -torch.eye(dimensions)])
    padded = torch.nn.functional.pad(cross, (0, 5))
    assert effective_dimension(padded) == pytest.approx(dimensions)


def test_a_line_has_one_dimension():
    line = torch.arange(7.0)[:, None] * torch.tensor([[3.0, 4.0, 0.0]])
    found = pca(line)
    assert effective_dimension(line) == pytest.approx(1)
    assert torch.allclose(found.coordinates[:, 0].abs(), 5 * (torch.arange(7) - 3).abs().float(), atol=1e-5)
    assert torch.allclose(found.coordinates[:, 1], torch.zeros(7), atol=1e-5)
    assert found.explained.tolist() == pytest.approx([1, 0], abs=1e-6)


@pytest.mark.parametrize(
    "cloud",
    [
        torch.rand(1, 5),
        torch.full((11, 5), 0.1).double() / 3,
        torch.zeros(6, 5),
        torch.full((9, 5), 1e20),
        torch.rand(0, 5),
        torch.zeros(50, 40),
        torch.full((50, 40), 0.1).double() / 3,
        torch.full((50, 40), 1e15),
    ],
    ids=["one point", "constant", "zeros", "large and constant", "none", "many zeros", "many constant", "many large"],
)
def test_no_variance_is_zero(cloud):
    found = pca(cloud)
    assert torch.equal(found.coordinates, torch.zeros(len(cloud), 2))
    assert found.explained.tolist() == [0, 0]
    assert effective_dimension(cloud) == 0


@pytest.mark.parametrize(("count", "dimensions"), [(20, 1), (2, 20)])
def test_fewer_dimensions_than_components(count, dimensions):
    found = pca(points(count, dimensions), 3)
    assert found.coordinates.shape == (count, 3)
    assert torch.allclose(found.coordinates[:, 1:], torch.zeros(count, 2), atol=1e-5)
    assert found.explained.tolist() == pytest.approx([1, 0, 0], abs=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_procrustes_equals_scipy(dimensions):
    ours, other = torch.randn(2, 30, dimensions).double()
    found = procrustes(ours, other)
    expected, _ = orthogonal_procrustes((ours - ours.mean(dim=0)).numpy(), (other - other.mean(dim=0)).numpy())
    assert np.allclose(found, expected, atol=1e-9)


def test_a_rotated_mirrored_and_moved_copy_is_aligned():
    reference = torch.randn(30, 2)
    mirror = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
    copy = reference @ rotation(2) @ mirror + 3
    assert torch.allclose(aligned(copy, reference), reference, atol=1e-5)
    assert torch.allclose(procrustes(reference, reference), torch.eye(2).double(), atol=1e-9)


def test_scale_does_not_change():
    reference = torch.randn(30, 2)
    reference = reference - reference.mean(dim=0)
    assert torch.allclose(aligned(3 * reference @ rotation(2), reference), 3 * reference, atol=1e-5)


@pytest.mark.parametrize("direction", [[1.0, 0.0, 0.0], [0.6, 0.0, 0.8], [-0.48, 0.6, 0.64]])
def test_undetermined_directions_do_not_change(direction):
    """Points on a line do not determine the directions across it: these must not rotate."""
    along = torch.tensor(direction).double()
    line = torch.randn(9, 1) * along
    identity = torch.eye(3).double()
    assert torch.allclose(procrustes(line, line), identity, atol=1e-6)
    assert torch.allclose(procrustes(-line, line), identity - 2 * torch.outer(along, along), atol=1e-6)


@pytest.mark.parametrize("one", [torch.zeros(5, 2), torch.full((5, 2), 0.1), torch.zeros(0, 2), torch.rand(1, 2)])
def test_without_variance_it_is_the_identity(one):
    for pair in [(one, torch.randn(len(one), 2)), (torch.randn(len(one), 2), one)]:
        assert torch.allclose(procrustes(*pair), torch.eye(2).double(), atol=1e-6)
        assert torch.isfinite(aligned(*pair)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pca(torch.rand(3, 4), 0), "components=0"),
        (lambda: pca(torch.rand(3)), r"points of shape \(3,\)"),
        (lambda: pca(torch.full((3, 4), torch.inf)), "NaN or infinite"),
        (lambda: procrustes(torch.rand(3, 2), torch.rand(4, 2)), r"\(3, 2\) do not fit a reference of \(4, 2\)"),
        (lambda: procrustes(torch.rand(3, 2), torch.full((3, 2), torch.nan)), "reference of .* NaN"),
    ],
)
def test_wrong_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()
