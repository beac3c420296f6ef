"""Nearest neighbours and principal components of 10,000 × 512 features, against scikit-learn's settings.

python -m benchmarks.space [--device cuda]
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator

import torch
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from benchmarks.timing import by_turns
from lightning_viz.methods import nearest, pca

COUNT, DIMENSIONS, K, LONGEST = 10_000, 512, 10, 3.0


def features() -> torch.Tensor:
    """Clusters with a decreasing spectrum, like the features of a network."""
    generator = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(10, DIMENSIONS, generator=generator)
    noise = torch.randn(COUNT, DIMENSIONS, generator=generator) / torch.arange(1, DIMENSIONS + 1) ** 0.5
    return centres[torch.arange(COUNT) % 10] + noise


def neighbours(points: torch.Tensor) -> dict[str, Callable[[], object]]:
    array = points.cpu().numpy()
    return {
        "`nearest`": lambda: nearest(points, points, K),
        **{
            f"scikit-learn, {algorithm}": lambda algorithm=algorithm: (
                NearestNeighbors(n_neighbors=K, algorithm=algorithm, n_jobs=-1).fit(array).kneighbors(array)
            )
            for algorithm in ("brute", "kd_tree", "ball_tree")
        },
    }


def components(points: torch.Tensor) -> dict[str, Callable[[], object]]:
    array = points.cpu().numpy()
    return {
        "`pca`": lambda: pca(points, 2),
        **{
            f"scikit-learn, {solver}": lambda solver=solver: PCA(2, svd_solver=solver, random_state=0).fit_transform(
                array
            )
            for solver in ("full", "covariance_eigh", "arpack", "randomized")
        },
    }


def tables(device: str) -> Iterator[str]:
    """Yield the lines of the Markdown tables. Runs longer than `LONGEST` seconds are measured only once."""
    points = features().to(device)
    for title, make, rounds in (("Nearest neighbours", neighbours, 6), ("Principal components", components, 15)):
        runs = make(points)
        slow = {name: spent for name, run in runs.items() if (spent := _once(run)) > LONGEST}
        times = by_turns({name: run for name, run in runs.items() if name not in slow}, rounds, device)
        ours, *_ = times.values()
        yield from [f"| {title}, {COUNT:,} × {DIMENSIONS} | seconds | ratio to ours |", "| --- | ---: | ---: |"]
        for name, one in times.items():
            yield f"| {name} | {one.median:.3f} | {one.over(ours).median:.2f} |"
        for name, spent in slow.items():
            yield f"| {name} | {spent:.0f} (one run) | {spent / ours.median:.0f} |"
        yield ""


def _once(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    warnings.filterwarnings("ignore")
    for line in tables(parser.parse_args().device):
        print(line, flush=True)
