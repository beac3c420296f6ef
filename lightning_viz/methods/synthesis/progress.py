"""A progress bar over the steps of an optimisation."""

from collections.abc import Iterable


def progress_steps(steps: int, description: str, progress: bool) -> Iterable[int]:
    """The numbers 0 to `steps` - 1, with a bar of tqdm on stderr if `progress`."""
    if not progress:
        return range(steps)
    from tqdm.auto import tqdm  # imported only where a bar is shown; installed with Lightning

    bar: Iterable[int] = tqdm(range(steps), desc=description)
    return bar
