"""Samples of the data with what the network computed for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_viz.data.probe import Probe
from lightning_viz.data.samplers import Positions

Ints = NDArray[np.int64]
Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Samples:
    """N samples, in the order of the data."""

    positions: Positions  #: in the data's order, (N,)
    labels: Ints  #: true class, -1 where unknown, (N,)
    predicted: Ints  #: predicted class, -1 where unknown, (N,)
    losses: Floats  #: cross-entropy, NaN where unknown, (N,)
    images: Tensor  #: (N, C, h, w), on the CPU, as the model expects them: normalised, or uint8
    features: Mapping[str, Tensor]  #: by hook point, (N, D) each, float32, on the CPU
    label_sets: Ints | None = None  #: true and predicted labels, where there may be several, (N, 2, K), zeros and ones

    def __len__(self) -> int:
        return len(self.positions)

    def at(self, rows: Ints) -> "Samples":
        """These rows only."""
        columns = [one.name for one in fields(self) if one.name not in ("features", "label_sets")]
        features = {name: values[rows] for name, values in self.features.items()}
        sets = None if self.label_sets is None else self.label_sets[rows]
        return Samples(**{name: getattr(self, name)[rows] for name in columns}, features=features, label_sets=sets)

    @classmethod
    def concatenated(cls, parts: Sequence["Samples"]) -> "Samples":
        """All parts, one after the other. Raises ValueError where their images differ in size."""
        columns = [one.name for one in fields(cls) if one.name not in ("features", "images", "label_sets")]
        arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in columns}
        if len(sizes := {"×".join(map(str, part.images.shape[1:])) for part in parts}) > 1:
            found = ", ".join(sorted(sizes)[:3])
            raise ValueError(f"the images have the sizes {found}; resize them to one size in the data's transforms")
        features = {name: torch.cat([part.features[name] for part in parts]) for name in parts[0].features}
        known = [part.label_sets for part in parts if part.label_sets is not None]
        sets = np.concatenate(known) if len(known) == len(parts) else None
        return cls(**arrays, images=torch.cat([part.images for part in parts]), features=features, label_sets=sets)

    def metadata(self, probe: Probe) -> dict[str, list[str]]:
        """Columns of text for the Projector: index, class, prediction, loss, as far as they are known."""
        labels, predicted = self.labels.tolist(), self.predicted.tolist()
        columns = {"index": list(map(str, self.positions.tolist()))}
        for name, classes in (("class", labels), ("predicted", predicted)):
            if max(classes) >= 0:
                columns[name] = [probe.class_name(one) if one >= 0 else "unknown" for one in classes]
        if max(labels) >= 0 and max(predicted) >= 0:
            pairs = zip(labels, predicted, strict=True)
            columns["correct"] = [str(one == other) if min(one, other) >= 0 else "unknown" for one, other in pairs]
            columns["loss"] = [f"{loss:.4g}" for loss in self.losses.tolist()]
        if self.label_sets is not None:
            for index, name in enumerate(("labels", "predicted labels")):
                names = [[probe.class_name(int(one)) for one in row.nonzero()[0]] for row in self.label_sets[:, index]]
                columns[name] = [", ".join(row) or "none" for row in names]
            columns["loss"] = [f"{loss:.4g}" for loss in self.losses.tolist()]
        return columns
