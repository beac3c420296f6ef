import numpy as np
import torch

from lightning_viz.methods.synthesis.colours import ColourStatistics


def test_colours_are_those_of_the_images():
    images = torch.rand(5, 4, 9, 7) * torch.tensor([1, 0.2, 0.5, 0.7])[:, None, None]
    images[:, 1] += 0.5 * images[:, 0]
    colours = ColourStatistics.of(images)
    pixels = images.transpose(0, 1).flatten(1).numpy()
    assert np.allclose(colours.root @ colours.root.T, np.cov(pixels, ddof=0), atol=1e-6)
    assert np.allclose(colours.mean, pixels.mean(axis=1), atol=1e-6)


def test_pixels_that_are_not_finite_do_not_count():
    images = torch.rand(2, 3, 8, 8)
    damaged = images.clone()
    damaged[1, 0, 2:4] = torch.nan
    kept = torch.ones(2, 8, 8, dtype=torch.bool)
    kept[1, 2:4] = False
    found, expected = ColourStatistics.of(damaged), images.transpose(0, 1)[:, kept].mean(dim=1)
    assert torch.allclose(found.mean, expected, atol=1e-6)
    assert found.root.isfinite().all()
    assert torch.equal(ColourStatistics.of(images * torch.nan).mean, ColourStatistics.default(3).mean)
