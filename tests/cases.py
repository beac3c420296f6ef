"""The registry of callbacks for tests: what is particular to each, so that tests of all need no branches."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

import lightning_viz
from lightning_viz import Probe, VizCallback
from lightning_viz.callbacks.suite import CALLBACKS

MAXIMUM = r"max [\d.e+-]+$|≈ 0|zero everywhere|no positive value|not finite"


@dataclass(frozen=True)
class Sheet:
    """What was printed on a sheet: the lines below each tile, the title, and how it was laid out."""

    captions: Sequence[Sequence[str]]
    title: str
    options: Mapping[str, Any]

    @property
    def columns(self) -> int:
        """Of a grid of tiles; 0 for a sheet of maps."""
        return sum(self.options.get("spans", ()))

    @property
    def first_column(self) -> Sequence[Sequence[str]]:
        """Of a grid: what stands below the first tile of each row."""
        return self.captions[:: self.columns]

    def without_maxima(self) -> list[list[str]]:
        """Of maps, each on its own scale: the lines, checked to end in the map's maximum, without that."""
        assert all(self.options["ends"]), "a colour bar says what its ends are"
        assert "over all tiles" not in self.options["ends"][1]
        for lines in self.captions:
            assert re.match(MAXIMUM, lines[-1]), lines
        return [list(lines[:-1]) for lines in self.captions]

    def on_one_scale(self) -> list[list[str]]:
        """Of maps on one scale, which the colour bar names."""
        assert all(self.options["ends"])
        assert "over all tiles" in self.options["ends"][1]
        return [list(lines) for lines in self.captions]


@dataclass(frozen=True)
class Expected:
    """What the tiles of the probe must say, worked out without the library."""

    labels: list[int]
    probabilities: torch.Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, module: torch.nn.Module, probe: Probe) -> "Expected":
        return cls(probe.labels.tolist(), module.eval()(probe.images).softmax(dim=1))

    @property
    def predictions(self) -> list[list[str]]:
        """True class; mark, predicted class and probability."""
        found = zip(self.labels, self.probabilities.argmax(dim=1).tolist(), self.probabilities.amax(dim=1), strict=True)
        return [
            [str(true), f"{'✓' if true == predicted else '✗'} {predicted} {probability:.2f}"]
            for true, predicted, probability in found
        ]


def check_filters(sheet: Sheet, expected: Expected) -> None:
    is_change = "/change" in sheet.title
    captions = sheet.on_one_scale() if is_change else sheet.without_maxima()
    assert captions == [[f"filter {index}"] for index in range(6)]


def check_grid_of_pictures(sheet: Sheet, expected: Expected) -> None:
    assert sheet.first_column == expected.predictions


def check_maps(sheet: Sheet, expected: Expected) -> None:
    assert sheet.without_maxima() == expected.predictions


def check_patches(sheet: Sheet, expected: Expected) -> None:
    assert all(re.match(r"unit \d+$", lines[0]) for lines in sheet.first_column)
    patches = [lines for place, lines in enumerate(sheet.captions) if place % sheet.columns and lines]
    assert patches
    assert all(lines[0] in "0123" and re.match(r"-?[\d.e+-]+$", lines[1]) for lines in patches)


def check_synthesis(sheet: Sheet, expected: Expected) -> None:
    for index, lines in enumerate(sheet.on_one_scale()):
        assert lines[0] == str(index)
        assert re.match(r"[✓✗] \d\.\d\d$", lines[1])
        assert len(lines) == (2 if lines[1][0] == "✓" else 3)
        assert len(lines) == 2 or re.match(r"predicted \d$", lines[2])


def check_deep_dream(sheet: Sheet, expected: Expected) -> None:
    captions = sheet.on_one_scale()
    assert all(re.match(r"×\d+\.\d\d$", lines.pop()) for lines in captions)
    assert captions == expected.predictions


@dataclass(frozen=True)
class Case:
    """What tests know of one callback.

    Args:
        callback: its class.
        tag: the first part of its tags.
        check: raises AssertionError where a sheet does not say what its tiles are.
        options: leave it all that it does but make it quick.
        has_film: False where the pictures are others at each step.
        second: the ends of the scalars that are known from the second drawing on.
    """

    callback: type[VizCallback]
    tag: str
    check: Callable[[Sheet, Expected], None]
    options: Mapping[str, Any] = field(default_factory=dict)
    has_film: bool = True
    second: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.callback.__name__

    def make(self, **options: Any) -> VizCallback:
        """The callback, quick."""
        return self.callback(**{**self.options, **options})


_KNOWN = [
    Case(lightning_viz.FilterLogger, "filters", check_filters),
    # The scalars of a whole loop: the sanity check here is of half the data.
    Case(lightning_viz.ActivationLogger, "activations", check_grid_of_pictures, second=("/dead", "/sparsity")),
    Case(lightning_viz.SaliencyLogger, "saliency", check_maps),
    Case(lightning_viz.GradCAMLogger, "gradcam", check_maps),
    Case(lightning_viz.EmbeddingProjectorLogger, "embedding", check_grid_of_pictures, second=("/neighbours_kept",)),
    Case(lightning_viz.TopPatchesLogger, "patches", check_patches, {"max_units": 2, "patches": 2}, has_film=False),
    Case(
        lightning_viz.ClassSynthesisLogger,
        "synthesis",
        check_synthesis,
        {"classes": [0, 1], "steps": 1, "warm_steps": 1},
    ),
    Case(lightning_viz.DeepDreamLogger, "deepdream", check_deep_dream, {"method_options": {"steps": 1, "octaves": 1}}),
]


def case_of(callback: type[VizCallback]) -> Case:
    """The case of a callback of the registry."""
    found = [case for case in _KNOWN if case.callback is callback]
    if len(found) != 1:
        raise LookupError(f"{callback.__name__} has {len(found)} cases in tests/cases.py; give it one")
    return found[0]


#: One for each callback, in the order of the registry.
CASES = [case_of(callback) for callback in CALLBACKS]
