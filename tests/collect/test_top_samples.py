import torch

from lightning_viz.collect.top_samples import TopSamples


def top_samples(values, positions, labels=None):
    return TopSamples(values, positions, positions, positions, positions if labels is None else labels)


def test_the_largest_and_of_equal_ones_the_first_in_the_data():
    """Of numbers of both signs, many of them equal, zeros of both signs, and -inf, against Python's own sort."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.tensor([-torch.inf, -3e38, -2.5, -1e-40, -0.0, 0.0, 1e-40, 0.5, 0.5000001, 7.0, 3e38])
    values = levels[torch.randint(len(levels), (20, 60), generator=generator)]
    positions = torch.stack([torch.randperm(60, generator=generator) for _ in range(20)])
    top = top_samples(values, positions).largest(25)
    for row in range(20):
        expected = sorted(zip((-values[row]).tolist(), positions[row].tolist(), strict=True))[:25]
        assert list(zip((-top.values[row]).tolist(), top.positions[row].tolist(), strict=True)) == expected


def test_fewer_than_wanted_are_all_kept():
    one = torch.arange(6.0).view(2, 3)
    assert top_samples(one, one.long()).largest(5).values.tolist() == [[2, 1, 0], [5, 4, 3]]


def test_repeated_samples_and_values_that_are_not_finite_do_not_count():
    peaks = torch.tensor([[3.0], [torch.nan], [torch.inf], [9.0]]), *[torch.zeros(4, 1, dtype=torch.long)] * 2
    top = TopSamples.of(peaks, torch.tensor([7, 8, 9, -1]), torch.arange(4)).largest(4)
    assert top.positions.tolist() == [[7, -1, -1, -1]]
    assert top.values.tolist() == [[3, -torch.inf, -torch.inf, -torch.inf]]


def test_the_majority_counts_labelled_samples_only():
    labels = torch.tensor([[2, 1, 1, -1], [3, 0, 3, 0], [-1, -1, -1, -1]])
    positions = torch.arange(4).expand(3, 4).clone()
    positions[1, 3] = -1  # no sample
    top = top_samples(torch.zeros(3, 4), positions, labels)
    classes, counts, labelled = top.majority
    assert classes[:2].tolist() == [1, 3]
    assert counts.tolist() == [2, 2, 0]
    assert labelled.tolist() == [3, 3, 0]
    assert top.purity.tolist()[:2] == [2 / 3, 2 / 3]
    assert top.purity[2].isnan()
