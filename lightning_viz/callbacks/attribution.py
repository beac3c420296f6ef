"""Numbers beside the pictures: whether a map is true, how it changed, and whether the weights matter to it."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods import Target, insertion_deletion
from lightning_viz.methods.features.similarity import cosine, rank_correlation
from lightning_viz.methods.model.batching import Portions
from lightning_viz.methods.model.outputs import fixed_target, target_of
from lightning_viz.runtime.artifacts import Scalar
from lightning_viz.runtime.validation import check_choice
from lightning_viz.runtime.words import shown

from .base import VizCallback

Check = Literal["change", "faithfulness", "sanity"]

SIDE = 56  # pixels: maps are remembered no finer than this
STEPS = 8
BATCH = 32  # pictures at once, where memory takes them

#: From a network to its maps of the probe, (B, h, w).
Mapping = Callable[[nn.Module], Tensor]


class AttributionLogger(VizCallback):
    """The base of the callbacks whose maps can be checked.

    Args:
        trust: which checks to log as scalars, means over the pictures, and to print under the panel:

            - "change": `trust/change_since_last` and `trust/change_since_start`, 1 less the cosine similarity of the maps,
              and `trust/rank_since_start`, their rank correlation. It costs nothing.
            - "faithfulness": `trust/over_random` and `trust/over_blob`, how much more insertion less deletion area
              (Petsiuk et al. 2018) the map has than a map of noise, and than a blob in the centre; 0 is no better. It
              costs 57 forward passes of the probe.
            - "sanity": `trust/sanity`, the rank correlation with the maps of the same network with weights drawn anew
              (Adebayo et al. 2018), once, at the first drawing; near 0 is good. It costs one more map, and a copy of the
              network while it lasts.
        common: the options of every callback, see `VizCallback`.
    """

    def __init__(self, trust: list[Check] | None = None, **common: Any) -> None:
        super().__init__(**common)
        if trust is not None and not isinstance(trust, list):
            choices = ", ".join(get_args(Check))
            raise TypeError(f"trust={shown(trust)} is {type(trust).__name__}; give a list of {choices}, or None")
        for check in trust or []:
            check_choice("trust", check, get_args(Check))
        self.trust = trust

    def passes(self, count: int) -> float:
        return count * (1 + 57 / 3 * ("faithfulness" in (self.trust or [])))

    def settled(self, network: nn.Module, probe: Probe) -> Target:
        """What to explain; where maps of several networks are compared, the class that this one predicts."""
        target = self.explained(probe)
        if not self.trust or callable(target):
            return target

        def work(part: slice) -> Tensor:
            found = fixed_target(network, probe.images[part], target_of(target, part))
            assert isinstance(found, Tensor)
            return found

        return self._memory.portions(work, len(probe))

    def checked(self, tag: str, network: nn.Module, probe: Probe, maps: Tensor, again: Mapping) -> list[Scalar]:
        """The scalars of these maps, (B, h, w); `again` makes the maps of another network."""
        found: dict[str, Tensor] = {}
        magnitudes = torch.nan_to_num(maps.float()).clamp(min=0)
        if "change" in (self.trust or []):
            found |= self._change(tag, magnitudes)
        if "faithfulness" in (self.trust or []):
            found |= faithfulness(network, probe.images, magnitudes, self.explained(probe), self._memory.portions)
        if "sanity" in (self.trust or []) and f"{tag}/sanity" not in self._memory.kept:
            found["sanity"] = rank_correlation(magnitudes, torch.nan_to_num(again(redrawn(network)).float()))
            self._memory.kept[f"{tag}/sanity"] = found["sanity"].mean().cpu()
        sound = maps.isfinite().flatten(1).all(dim=1).cpu()  # of none, the mean is NaN
        return [Scalar(f"{tag}/trust/{name}", float(values.cpu()[sound].mean())) for name, values in found.items()]

    def _change(self, tag: str, maps: Tensor) -> dict[str, Tensor]:
        kept = self._memory.kept
        size = (min(maps.shape[1], SIDE), min(maps.shape[2], SIDE))
        now = nn.functional.adaptive_avg_pool2d(maps[:, None], size)[:, 0].cpu()
        start, last = kept.setdefault(f"{tag}/start", now), kept.get(f"{tag}/last", now)
        kept[f"{tag}/last"] = now
        if start.shape != now.shape or last.shape != now.shape:  # another probe than before a resume
            kept[f"{tag}/start"] = start = last = now
        return {
            "change_since_last": 1 - cosine(now, last),
            "change_since_start": 1 - cosine(now, start),
            "rank_since_start": rank_correlation(now, start),
        }


def faithfulness(
    network: nn.Module, images: Tensor, maps: Tensor, target: Target, portions: Portions | None = None
) -> dict[str, Tensor]:
    """Insertion less deletion area of the maps, over that of noise and over that of a blob in the centre: (B,) each."""
    height, width = maps.shape[1:]
    noise = torch.rand(images[:, 0].shape, generator=torch.Generator().manual_seed(0)).to(maps)
    rows, columns = (torch.linspace(-1, 1, size, device=maps.device) for size in (height, width))
    blob = torch.exp(-2 * (rows[:, None] ** 2 + columns**2)).expand_as(maps)
    portions = portions or Portions()
    cover = images.mean(dim=(0, 2, 3))  # of all, whatever the portion

    def gain(part: slice, each: Tensor) -> Tensor:
        some, size = images[part], min(portions.most or BATCH, BATCH)
        target_here = target_of(target, part)
        areas = insertion_deletion(network, some, each[part], target_here, steps=STEPS, fill=cover, batch_size=size)
        return areas.insertion_area - areas.deletion_area

    gains = [portions(partial(gain, each=each), len(images)) for each in (maps, noise, blob)]
    return {"over_random": gains[0] - gains[1], "over_blob": gains[0] - gains[2]}


def redrawn(network: nn.Module) -> nn.Module:
    """A copy of the network with every weight drawn anew, as its layers draw them at the start."""
    network = copy.deepcopy(network)
    for module in network.modules():
        if callable(reset := getattr(module, "reset_parameters", None)):
            reset()
    return network


def in_words(scalars: list[Scalar]) -> str:
    """The numbers for the line under a panel."""
    return "trust: " + ", ".join(f"{one.tag.rpartition('/')[2].replace('_', ' ')} {one.value:.2f}" for one in scalars)
