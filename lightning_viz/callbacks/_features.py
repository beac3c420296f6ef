"""Where the features of pinned samples come from."""

from collections.abc import Mapping

from torch import Tensor, nn

from lightning_viz.collect.indexed_reader import read_samples
from lightning_viz.collect.recorder import Harvest, Tap
from lightning_viz.collect.samples import Keeper, Samples, by_chance
from lightning_viz.data.batch import unpack_batch
from lightning_viz.data.dataloaders import Data
from lightning_viz.data.samplers import is_steady
from lightning_viz.methods.features.embeddings import Place, find_embedding, pooled
from lightning_viz.methods.model.layers import plain_name, resolve_layer
from lightning_viz.runtime.lightning_compat import pl
from lightning_viz.runtime.session import session_of
from lightning_viz.runtime.words import named

from ._neighbour_sheet import THUMBNAIL
from .base import VizCallback

FOLLOWED = 500  # samples that numbers and films are of, and that are read where there is no loop to listen to


class FeatureLogger(VizCallback):
    """The base of a callback that draws the features of samples: those that the validation loop computes, or else some that
    are read and run."""

    layers: str | list[str] | None
    max_points: int
    class_balanced: bool
    dataloaders: list[int] | None
    seed: int
    _samples: dict[int, tuple[Samples, str]]  #: by loader, with where they are from, while they are drawn
    _stage: str  #: that is drawn

    def collectors(self, trainer: pl.Trainer, stage: str) -> list[Keeper]:
        """One for each loader; none for a schedule in steps, at which no validation loop ends."""
        if self.every_n_train_steps:
            return []
        counts = Data.of(trainer, stage).counts
        return [
            self._keeper(loader, self.max_points, counts[loader] if loader < len(counts) else None)
            for loader in self._loaders
        ]

    def prepare(self, trainer: pl.Trainer, network: nn.Module, stage: str) -> None:
        data, session = Data.of(trainer, stage), session_of(trainer)
        if (queue := session.sink(trainer)) is not None and queue.projector is None:
            session.warn(
                "lightning_viz writes nothing for the Projector, which needs a TensorBoardLogger with a folder on this machine; "
                "the pictures and numbers of the embedding are logged"
            )
        harvest, self._samples, self._stage = self._memory.harvest, {}, stage
        for index in self._loaders:
            if index >= len(data.loaders):
                there = f"{len(data.loaders)} {data.name} loaders"
                raise ValueError(f"dataloaders={self.dataloaders}: there are {there}; count from 0")
            known = next((one.samples for one in _keepers(harvest) if one.loader == index), None)
            fresh = harvest is not None and harvest.whole and harvest.global_step == trainer.global_step
            if known is not None and fresh and is_steady(data.loaders[index]):
                self._samples[index] = known, f"{len(known)} of the {data.name} data, from the loop itself"
                continue
            keeper = self._keeper(index, min(self.max_points, FOLLOWED))
            unpack, loader = self.unpack or unpack_batch, data.loaders[index]
            read = read_samples(trainer, network, loader, keeper, unpack, data.counts[index])
            if read is not None:
                self._samples[index] = read, f"{len(read)} of the {data.name} data, read and run for this"
            elif known is not None:
                self._samples[index] = known, f"{len(known)} of the {data.name} data, all that was seen so far"
            else:
                session.warn(
                    f"lightning_viz has no samples for {type(self).__name__} at step {trainer.global_step}: the data are a "
                    "stream, or cannot be read by index; it sees what a validation loop sees, and draws at the end of the next epoch with one"
                )

    @property
    def _loaders(self) -> list[int]:
        return self.dataloaders or [0]

    def _keeper(self, loader: int, size: int, expected: int | None = None) -> Keeper:
        return Keeper(size, by_chance(self.seed), self._taps, self.class_balanced, loader, THUMBNAIL, expected)

    def _taps(self, network: nn.Module, images: Tensor) -> Mapping[str, Tap]:
        places = self._places(network, images)
        return {
            name: Tap(resolve_layer(network, place.layer)[1], pooled, place.side == "input")
            for name, place in places.items()
        }

    def _places(self, network: nn.Module, images: Tensor) -> dict[str, Place]:
        """Where to read, by plain name; the layer that was found once is stayed with."""
        if self.layers is not None:
            places = [find_embedding(network, images, layer) for layer in named(self.layers)]
        elif self._memory.layer is None:
            places = [find_embedding(network, images)]
            self._memory.layer = places[0].layer
        else:
            name, module = resolve_layer(network, self._memory.layer)
            places = [Place(name, "input" if isinstance(module, nn.Linear) else "output")]
        return {plain_name(place.layer): place for place in places}


def _keepers(harvest: Harvest | None) -> list[Keeper]:
    """What the last loop filled; none where it broke."""
    if harvest is None or harvest.error is not None:
        return []
    return [one for one in harvest.collectors if isinstance(one, Keeper) and not one.is_of_hardest]
