"""TopPatchesLogger: what the units of a layer look for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_viz.collect.indexed_reader import UnreadableError, read_batches, run_samples
from lightning_viz.collect.samples import chances
from lightning_viz.collect.top_activations import Answers, Winners
from lightning_viz.data.batch import unpack_batch
from lightning_viz.data.dataloaders import Data
from lightning_viz.data.probe import Probe
from lightning_viz.data.samplers import is_indexed, part_of
from lightning_viz.methods import ReceptiveField, layers_over_depth
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.layers import plain_name, resolve_layer
from lightning_viz.runtime.artifacts import Item, Scalar, Tiles
from lightning_viz.runtime.lightning_compat import pl
from lightning_viz.runtime.session import session_of
from lightning_viz.runtime.validation import check_count, check_indices
from lightning_viz.runtime.words import check_layers, named

from ._patch_sheet import Cutter, cells
from .base import VizCallback

READ = 500  # samples that are read where there is no loop to listen to


@dataclass(frozen=True, eq=False)
class Found:
    """What is to be drawn of a layer: the units that were chosen, the pictures by position, where all is from."""

    layer: str
    answers: Answers
    images: Mapping[int, Tensor]
    notes: Sequence[str]


class TopPatchesLogger(VizCallback):
    """The validation pictures that activate a unit most, cut to what it sees of them, with its guided backpropagation.

    Under `patches/<layer>`: for each unit a row of patches, strongest first, each the receptive field of the place that
    was activated most (Zeiler and Fergus 2014; the whole picture where the unit sees it all), and below it the guided
    gradient of the unit there (Springenberg et al. 2015), or the plain one where the network has no ReLU up to there.
    Under each pair stand its class and the activation; beside the row the most frequent class, whose share is the unit's
    purity. As a scalar `patches/<layer>/purity`, the share over all patches shown. What does not exceed a unit's mean over
    all pictures is left out: a unit that has died has none.

    The patches are harvested from the validation loop, without a forward pass more. Where there is none at that moment
    (at the start, without validation data, with `every_n_train_steps`), 500 of the samples are read and run; the sheets
    say so. Of several validation loaders the first is looked at. Beyond that a drawing costs a forward and a backward pass up
    to the layer for each pair, 96 by default; and as often as the units are chosen, the pictures that are shown are read again
    by their index.

    The units shown are chosen by what the harvest tells, the most selective first: the purest, of these those whose
    patches exceed the mean over all pictures by most standard deviations. From thousands of units that know nothing some
    are pure by chance. So they are chosen anew until the first drawing after a training step, and stay from then on.

    Args:
        layers: dotted names of the layers, one or several; by default two, in the middle of the network and at its end.
        units: channels to show, the same ones in each layer; by default the most selective.
        max_units: how many units to choose.
        patches: how many patches to show of each.
        common: the options of every callback, see `VizCallback`.
    """

    def __init__(
        self,
        layers: str | list[str] | None = None,
        units: list[int] | None = None,
        max_units: int = 8,
        patches: int = 6,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        check_layers(layers)
        check_count("max_units", max_units, 1)
        check_count("patches", patches, 1)
        check_indices("units", units)
        self.layers = layers
        self.units = units
        self.max_units = max_units
        self.patches = patches
        self._found: list[Found] = []  # while they are drawn
        self._fields: dict[tuple[str, int, int], ReceptiveField | None] = {}

    def distinction(self) -> dict[str, Any]:
        return {"layers": self.layers, "units": self.units}

    def check(self, network: nn.Module) -> None:
        for layer in named(self.layers):
            resolve_layer(network, layer)

    def passes(self, count: int) -> float:
        pairs = len(self.units or range(self.max_units)) * self.patches
        return READ / 3 + (len(named(self.layers)) or 2) * pairs

    def begin(self, network: nn.Module, probe: Probe) -> None:
        self._fields = {}
        for layer in self._layers(network, probe.images) if self.layers or self.units else []:
            with torch.no_grad():
                channels = FeatureMaps(network, layer)(probe.images[:1]).shape[1]
            if max(self.units or [0]) >= channels:
                raise ValueError(
                    f"units={self.units} are not all among the {channels} channels of layer={layer!r}; "
                    f"give some of 0 to {channels - 1}"
                )

    # Where the patches come from.

    def collectors(self, trainer: pl.Trainer, stage: str) -> list[Winners]:
        """None for a schedule in steps, at which no validation loop ends."""
        self._share_pins(trainer, "patches/")
        if self.every_n_train_steps:
            return []
        data = Data.of(trainer, stage)
        return [self._winners(self._pinned or not data.loaders or not is_indexed(data.loaders[0]))]

    def prepare(self, trainer: pl.Trainer, network: nn.Module, stage: str) -> None:
        data, harvest, self._found = Data.of(trainer, stage), self._memory.harvest, []
        winners = next((one for one in harvest.collectors if isinstance(one, Winners)), None) if harvest else None
        fresh = harvest is not None and harvest.whole and harvest.global_step == trainer.global_step
        origin = f"{data.name} data, from the loop itself" if fresh else f"{data.name} data, all that was seen so far"
        if not fresh and (read := self._read(trainer, network, data)) is not None:
            winners, origin = read, f"{data.name} data, read and run for this"
        if winners is None or not winners.answers:
            session_of(trainer).warn(
                f"lightning_viz has no patches for {type(self).__name__} at step {trainer.global_step}: the data are a "
                "stream, of which it sees what a validation loop sees; it draws at the end of the next epoch with one"
            )
            return
        chosen = {layer: self._chosen(layer, answers) for layer, answers in winners.answers.items()}
        pins = stage == "fit" and trainer.global_step > 0 and self.units is None
        words = {layer: self._words(winners, layer, "and kept" if pins else "now") for layer in chosen}
        if pins:
            for layer, answers in chosen.items():
                self._memory.kept[f"patches/{plain_name(layer)}"] = torch.tensor(answers.channels)
        images = winners.images or self._fetched(trainer, data.loaders[0], chosen)
        for layer, answers in chosen.items():
            self._found.append(Found(layer, answers, images, [words[layer], f"{answers.count:,} of the {origin}"]))

    def _read(self, trainer: pl.Trainer, network: nn.Module, data: Data) -> Winners | None:
        """Of a random choice of samples, read by index; None where the data cannot be."""
        count = data.counts[0] if data.counts else None
        if count is None or data.loaders[0].batch_sampler is None:
            return None
        winners = self._winners(keep_images=self._pinned)
        part = part_of(data.loaders[0])[:count]
        places = np.sort(part[np.argsort(chances(part, 0))[:READ]])
        try:
            run_samples(trainer, network, data.loaders[0], winners, self.unpack or unpack_batch, places)
        except UnreadableError:
            return None
        return winners

    def _fetched(self, trainer: pl.Trainer, data: DataLoader[Any], chosen: dict[str, Answers]) -> dict[int, Tensor]:
        """The pictures to show by their position, read by it."""
        positions = np.unique(torch.cat([answers.top.positions.flatten() for answers in chosen.values()]).numpy())
        places = positions[positions >= 0]
        return {
            int(place): image.cpu()
            for _, images, part in read_batches(trainer, data, places, self.unpack or unpack_batch)
            for place, image in zip(part, images, strict=True)
        }

    def _winners(self, keep_images: bool) -> Winners:
        return Winners(self.patches, self._layers, self._known, keep_images)

    def _layers(self, network: nn.Module, images: Tensor) -> list[str]:
        if self.layers is not None:
            return [resolve_layer(network, layer)[0] for layer in named(self.layers)]
        return [resolve_layer(network, layer)[0] for layer in layers_over_depth(network, images, 2)]

    # Which units.

    @property
    def _pinned(self) -> bool:
        return self.units is not None or any(name.startswith("patches/") for name in self._memory.kept)

    def _known(self, layer: str) -> list[int] | None:
        """The units that are given or pinned."""
        kept = self._memory.kept.get(f"patches/{plain_name(layer)}")
        return self.units or (None if kept is None else kept.tolist())

    def _chosen(self, layer: str, answers: Answers) -> Answers:
        return answers if self._known(layer) else answers.at(answers.most_selective(self.max_units))

    def _words(self, winners: Winners, layer: str, when: str) -> str:
        """How the units were chosen."""
        if self.units is not None:
            return "units given"
        if self._known(layer):
            return "units chosen at the first drawing after a training step"
        some, all_ = len(winners.channels[layer]), winners.of[layer]
        of = (
            f"all {all_:,} units"
            if some == all_
            else f"{some:,} of {all_:,} units, as many as memory keeps pictures of"
        )
        return f"the most selective of {of}, chosen {when}"

    # What is drawn of them.

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Item]:
        for found in self._found:
            cutter = Cutter(network, found.layer, found.images, self._fields, self._memory.portions)
            rows = cutter.rows(found.answers, probe)
            seen = cutter.field(probe.images)
            gradient = "guided gradient" if cutter.guided else "gradient (there is no ReLU that could guide it)"
            notes = [
                f"below each patch the {gradient} of the unit where it fired, each in its own scale (to the 99% quantile), grey is 0",
                _sight(seen),
                "mean: of the unit's largest activation in each of all pictures; what does not exceed it is left out",
                *found.notes,
                probe.note,
            ]
            tag = f"patches/{plain_name(found.layer)}"
            headings = ("unit", "what activates it most: class, activation")
            yield Tiles(tag, partial(cells, rows, self.patches), headings, (1, self.patches), notes)
            _, counts, known = found.answers.shown.classes
            if known.any():
                yield Scalar(f"{tag}/purity", float(counts.sum() / known.sum()))
        self._found = []


def _sight(seen: ReceptiveField | None) -> str:
    """What a patch is."""
    if seen is None:
        return "the whole pictures: what the layer sees of them could not be found"
    places = f"{len(seen.rows)}×{len(seen.columns)} places"
    if seen.is_global:
        return f"{places}, each of which sees the whole picture"
    return f"{places}, each of which sees {seen.size[0]}×{seen.size[1]} pixels (light grey: beyond the picture)"
