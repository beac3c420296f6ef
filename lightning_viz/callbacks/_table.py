"""What is known of each sample, in words."""

from collections import Counter
from collections.abc import Sequence

from lightning_viz.collect.samples import Samples
from lightning_viz.data.probe import Probe


def table(samples: Samples, probe: Probe) -> dict[str, list[str]]:
    """The Projector's table: what is known of each sample."""
    labels, predicted = samples.labels.tolist(), samples.predicted.tolist()
    columns = {"index": list(map(str, samples.positions.tolist()))}
    if max(labels) >= 0:
        columns["class"] = [probe.name(label) if label >= 0 else "unknown" for label in labels]
    if max(predicted) >= 0:
        columns["predicted"] = [probe.name(label) for label in predicted]
    if max(labels) >= 0 and max(predicted) >= 0:
        columns["correct"] = [
            str(one == other) if one >= 0 else "unknown" for one, other in zip(labels, predicted, strict=True)
        ]
        columns["loss"] = [f"{loss:.4g}" for loss in samples.losses.tolist()]
    return columns


def distinct_names(labels: Sequence[int], probe: Probe) -> dict[int, str]:
    """The classes' names, with their index where that is needed to tell them apart."""
    names = {label: probe.name(label) for label in labels}
    counts = Counter(names.values())
    return {label: name if name and counts[name] == 1 else f"{name} ({label})".strip() for label, name in names.items()}
