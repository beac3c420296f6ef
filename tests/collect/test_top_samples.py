import torch

from lightning_viz.collect.top_samples import Top


def test_the_strongest_and_of_equals_the_first_whatever_the_order():
    """Of numbers of both signs, many of them equal, zeros of both signs, and -inf, against Python's own sort."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([-torch.inf, -3e38, -2.5, -1e-40, -0.0, 0.0, 1e-40, 0.5, 0.5000001, 7.0, 3e38])
    values = levels[torch.randint(len(levels), (20, 60), generator=generator)]
    places = torch.stack([torch.randperm(60, generator=generator) for _ in range(20)])
    top = Top(values, places, places, places, places).strongest(25)
    for row in range(20):
        expected = sorted(zip((-values[row]).tolist(), places[row].tolist(), strict=True))[:25]
        assert list(zip((-top.values[row]).tolist(), top.positions[row].tolist(), strict=True)) == expected


def test_of_fewer_all():
    one = torch.arange(6.0).view(2, 3)
    assert Top(one, *[one.long()] * 4).strongest(5).values.tolist() == [[2, 1, 0], [5, 4, 3]]
