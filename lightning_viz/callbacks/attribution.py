"""AttributionLogger: the family of callbacks whose maps can be checked."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Unpack, get_args

import torch
from torch import Tensor, nn

from lightning_viz.data.arguments import as_plain, check_choice, describe_value
from lightning_viz.methods import Target
from lightning_viz.methods.attribution.trust import (
    FAITHFULNESS_FORWARDS,
    SANITY_DRAWS,
    faithfulness_gain,
    randomize_weights,
)
from lightning_viz.methods.features.similarity import cosine, rank_correlation
from lightning_viz.methods.model.batching import FORWARD
from lightning_viz.methods.model.outputs import fixed_target
from lightning_viz.runtime.artifacts import Scalar
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.state import CallbackState

from ._options import CommonOptions
from .base import VizCallback

Check = Literal["change", "faithfulness", "sanity"]

SIDE = 56  # pixels: maps are remembered no finer than this


class AttributionOptions(CommonOptions, total=False):
    """The options of the family, for type checkers."""

    trust: Sequence[Check] | None


@dataclass
class AttributionState(CallbackState):
    """What the checks compare with, by tag."""

    start_maps: dict[str, Tensor] = field(default_factory=dict)
    last_maps: dict[str, Tensor] = field(default_factory=dict)
    sanity: dict[str, float] = field(default_factory=dict)  #: of the first drawing


class AttributionLogger(VizCallback):
    """The family of the callbacks whose maps can be checked.

    Args:
        trust: which checks to log as scalars, means over the pictures, and to print under the panel:

            - "change": `trust/change_since_last` and `trust/change_since_start`, 1 minus the cosine similarity of the maps,
              and `trust/rank_since_start`, their rank correlation. It costs nothing. Not of test data, which are other
              pictures, nor with `Probe.hardest(refresh=True)`: ValueError.
            - "faithfulness": `trust/over_random` and `trust/over_blob`, by how much the insertion minus deletion area
              (Petsiuk et al. 2018) of the map exceeds that of a noise map, and of a centred blob; at 0 the map is no
              better. `trust/random` is that of the noise map itself, 0 on average. It costs 57 forward passes of the probe.
            - "sanity": `trust/sanity`, the rank correlation with the maps of the same network with random weights (Adebayo
              et al. 2018), the mean over five draws of all parameters, and `trust/sanity_spread`, their standard deviation;
              once, at the first drawing. Within the spread of 0 is good. It costs five more maps, and copies of the network.
        common: the options of every callback, see `VizCallback`.
    """

    State = AttributionState
    CHEAPER = "fewer pictures (max_images=), a cheaper method (method=, method_options=), or no checks (trust=)"

    def __init__(self, *, trust: Sequence[Check] | None = None, **common: Unpack[CommonOptions]) -> None:
        super().__init__(**common)
        checks = as_plain("trust", trust)
        if checks is not None and not isinstance(checks, list):
            choices = ", ".join(get_args(Check))
            raise TypeError(
                f"trust={describe_value(trust)} is {type(trust).__name__}; give a list of {choices}, or None"
            )
        for check in checks or []:
            check_choice("trust", check, get_args(Check))
        if "change" in (checks or []) and getattr(self.probe, "refresh", False):
            raise ValueError(
                "trust=['change'] compares maps of the same pictures, and probe=Probe.hardest(refresh=True) chooses others each "
                "time; give Probe.hardest(), or leave 'change' out"
            )
        self.trust: list[Check] | None = checks

    def trust_passes(self, count: int, map_passes: float = 1.0) -> float:
        """What the checks add to the first drawing, where the maps of an image take `map_passes`."""
        wanted = self.trust or []
        return count * (
            FAITHFULNESS_FORWARDS * FORWARD * ("faithfulness" in wanted)
            + SANITY_DRAWS * map_passes * ("sanity" in wanted)
        )

    def fixed_target_of(self, ctx: DrawContext) -> Target:
        """What to explain; for checks, which compare networks, the class that this one predicts."""
        target = self.target_of(ctx)
        if not self.trust or callable(target):
            return target
        return ctx.batched(fixed_target, ctx.probe.images, target)  # type: ignore[arg-type]

    def checks(
        self, ctx: DrawContext, tag: str, maps: Tensor, map_again: Callable[[nn.Module], Tensor]
    ) -> list[Scalar]:
        """The scalars of these maps, (B, h, w); `map_again` makes the maps of another network."""
        found: dict[str, Tensor] = {}
        state, wanted = ctx.state(AttributionState), self.trust or []
        magnitudes = torch.nan_to_num(maps.float()).clamp(min=0)
        if "change" in wanted and ctx.has_history:  # of other pictures there are no earlier maps
            found |= _change(state, tag, magnitudes)
        if "faithfulness" in wanted:
            target, meaning = self.target_of(ctx), ctx.predictions.meaning
            found |= faithfulness_gain(ctx.network, ctx.probe.images, magnitudes, target, ctx.auto_batch, meaning)
        if "sanity" in wanted and tag not in state.sanity:
            draws = torch.stack(
                [
                    rank_correlation(
                        magnitudes, torch.nan_to_num(map_again(randomize_weights(ctx.network, seed)).float())
                    )
                    for seed in range(SANITY_DRAWS)
                ]
            )
            found |= {"sanity": draws.mean(dim=0), "sanity_spread": draws.std(dim=0)}
            if ctx.has_history:  # a test run before the fit is not its first drawing
                state.sanity[tag] = float(found["sanity"].mean())
        finite = maps.isfinite().flatten(1).all(dim=1).cpu()  # of none, the mean is NaN
        return [Scalar(f"{tag}/trust/{name}", float(values.cpu()[finite].mean())) for name, values in found.items()]


def _change(state: AttributionState, tag: str, maps: Tensor) -> dict[str, Tensor]:
    """The change since the first and since the last drawing, (B,) each."""
    size = (min(maps.shape[1], SIDE), min(maps.shape[2], SIDE))
    now = nn.functional.adaptive_avg_pool2d(maps[:, None], size)[:, 0].cpu()
    start, last = state.start_maps.get(tag, now), state.last_maps.get(tag, now)
    if start.shape != now.shape or last.shape != now.shape:  # another probe than before a resume
        start = last = now
    state.start_maps[tag], state.last_maps[tag] = start, now
    return {
        "change_since_last": 1 - cosine(now, last),
        "change_since_start": 1 - cosine(now, start),
        "rank_since_start": rank_correlation(now, start),
    }


def describe_checks(scalars: Sequence[Scalar]) -> list[str]:
    """The numbers for a line under the panel; none where there are no checks."""
    numbers = [f"{one.tag.rpartition('/')[2].replace('_', ' ')} {one.value:.2f}" for one in scalars]
    return [f"trust: {', '.join(numbers)}"] if numbers else []
