"""ClassSynthesisLogger: the pictures that the network imagines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods import Classic, Fourier, synthesize
from lightning_viz.methods.model.layers import plain_name, resolve_layer
from lightning_viz.methods.model.outputs import logits
from lightning_viz.methods.synthesis.objectives import class_objective, layer_objective
from lightning_viz.render import RIGHT, WRONG, Caption, Line, Pictures
from lightning_viz.runtime.artifacts import Panel, Scalar
from lightning_viz.runtime.network import chances
from lightning_viz.runtime.validation import (
    check_choice,
    check_count,
    check_flag,
    check_indices,
    check_layer,
    check_options,
)
from lightning_viz.runtime.words import shown

from ._table import distinct_names
from .base import VizCallback

CLASSES = 10  # painted, where none are given
FADE = 0.75  # the contrast with which a warm start begins
NOT_FINITE = Line("output is not finite", WRONG)

RECIPES: dict[str, type[Fourier] | type[Classic]] = {"fourier": Fourier, "classic": Classic}


@dataclass(frozen=True, eq=False)
class Wish:
    """What is to be painted."""

    tag: str
    goal: dict[str, Any]  #: as `synthesize` takes it
    names: Sequence[str]  #: one for each target
    classes: Sequence[int] | None = None

    def part(self, places: slice) -> dict[str, Any]:
        """The goal of some of the names."""
        return {name: one[places] if isinstance(one, list) else one for name, one in self.goal.items()}


class ClassSynthesisLogger(VizCallback):
    """The pictures that the network scores highest, painted by gradient ascent: `synthesis/classes` and its film strip
    `synthesis/classes/history`; with `layer`, those that its channels answer most, `synthesis/<layer>`.

    Under each class stands the probability that the network gives to the finished picture, and what it takes it for where
    that is another class; as a scalar `synthesis/classes/probability`, the mean over the pictures. A probability near 1 says
    that the network is satisfied, and only a look at the picture says with what.

    At the defaults a drawing that begins with noise, at the start and after the first epoch, costs 96 steps of ten pictures,
    each step a forward and a backward pass. Later ones go on from the drawing before and cost 32. Whatever the network
    imagined once and holds still stays on them; with `warm_start=False` each is the picture of this network alone.

    Args:
        classes: indices of the classes; by default the first ten of all, those of the probe before the others. The indices in
            `target=` will do as well; a callable there is maximised instead of a class.
        layer: dotted name of a layer to paint for instead of the classes.
        units: channels of it, a picture each; by default one picture for all that the layer answers.
        position: a row and a column of the layer's feature maps; by default the mean over all places.
        steps: of gradient ascent, where it begins with noise.
        warm_steps: where it goes on from the pictures of the drawing before.
        warm_start: whether to go on from these.
        copies: pictures for each class, which are kept apart.
        size: the pictures' side in pixels; by default their size is that of the probe's.
        recipe: "fourier", pictures that hold from many views and for other networks, or "classic", regularised ascent on
            pixels (Simonyan et al. 2014, Yosinski et al. 2015).
        recipe_options: fields of `lightning_viz.methods.Fourier`, or of `Classic`, such as {"turn": 5.0}.
        per_class: also log the probability of each class, `synthesis/classes/probability/<class>`.
        seed: of the noise and the views.
        common: the options of every callback, see `VizCallback`.
    """

    def __init__(
        self,
        classes: list[int] | None = None,
        layer: str | None = None,
        units: list[int] | None = None,
        position: list[int] | None = None,
        steps: int = 96,
        warm_steps: int = 32,
        warm_start: bool = True,
        copies: int = 1,
        size: int | None = None,
        recipe: Literal["fourier", "classic"] = "fourier",
        recipe_options: dict[str, Any] | None = None,
        per_class: bool = False,
        seed: int = 0,
        **common: Any,
    ) -> None:
        super().__init__(**common)
        for name, value, least in (("steps", steps, 1), ("warm_steps", warm_steps, 1), ("copies", copies, 1)):
            check_count(name, value, least)
        check_count("seed", seed, 0)
        check_count("size", size, 2, optional=True)
        check_indices("classes", classes)
        check_indices("units", units)
        check_indices("position", position, 2)
        check_layer("layer", layer)
        if layer is None and (units is not None or position is not None):
            raise ValueError(
                f"units={shown(units)}, position={shown(position)} are those of a layer; give its name as layer="
            )
        if layer is not None and classes is not None:
            raise ValueError(f"classes={shown(classes)} and layer={shown(layer)}: give one of them")
        check_choice("recipe", recipe, tuple(RECIPES))
        check_options("recipe_options", recipe_options, recipe, vars(RECIPES[recipe]()))
        try:
            RECIPES[recipe](**recipe_options or {})
        except ValueError as error:
            raise ValueError(f"recipe_options={shown(recipe_options)}: {error}") from error
        check_flag("warm_start", warm_start)
        check_flag("per_class", per_class)
        self.classes = classes
        self.layer = layer
        self.units = units
        self.position = position
        self.steps = steps
        self.warm_steps = warm_steps
        self.warm_start = warm_start
        self.copies = copies
        self.size = size
        self.recipe = recipe
        self.recipe_options = recipe_options
        self.per_class = per_class
        self.seed = seed

    def distinction(self) -> dict[str, Any]:
        return {"classes": self.classes, "layer": self.layer, "units": self.units, "position": self.position}

    def check(self, network: nn.Module) -> None:
        if self.layer is not None:
            resolve_layer(network, self.layer)

    def passes(self, count: int) -> float:
        one = self.layer is not None or callable(self.target)
        return self.steps * self.copies * (len(self.classes or self.units or []) or (1 if one else CLASSES))

    def begin(self, network: nn.Module, probe: Probe) -> None:
        if not (self.classes or self.layer or self.size):
            return
        try:
            self._paint(network, probe, self._wish(network, probe), None, 1)
        except (ValueError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise ValueError(
                f"size={self.size}: pictures of this size do not go through {type(network).__name__}: {error}; give "
                "another size, or None for the probe's"
            ) from error

    def draw(self, network: nn.Module, probe: Probe) -> Iterator[Panel | Scalar]:
        wish, kept = self._wish(network, probe), self._memory.kept
        start = kept.get(f"{wish.tag}/pictures") if self.warm_start else None
        count = len(wish.names) * self.copies
        if start is not None and (len(start), *start.shape[2:]) != (count, *self._size(probe)):
            start = None  # from before a resume with other options
            self._memory.films.clear()
        if start is not None:  # what the network has ceased to imagine fades
            start = start.mean(dim=(2, 3), keepdim=True).lerp(start, FADE)
        steps = self.steps if start is None else self.warm_steps
        pictures = self._paint(network, probe, wish, start, steps)
        if self._memory.global_step and pictures.isfinite().all():  # what an untrained one imagines is no beginning
            kept[f"{wish.tag}/pictures"] = pictures.cpu()
        begun = "from noise" if start is None else "on from those before"
        labels = [(Line(name),) for name in wish.names for _ in range(self.copies)]
        captions, scalars = self._say(network, probe, wish, pictures)
        yield Panel(
            wish.tag,
            probe.visible(pictures),
            Pictures(),
            labels=labels,
            captions=captions,
            notes=(f"{steps} steps of {len(pictures)} pictures, {begun}", f"recipe: {self.recipe}", probe.note),
            common_scale=True,
        )
        yield from scalars

    # What is painted.

    def _wish(self, network: nn.Module, probe: Probe) -> Wish:
        if self.layer is not None:
            goal = {"layer": self.layer, "unit": self.units, "position": self._place}
            names = [f"channel {unit}" for unit in self.units] if self.units else ["all channels"]
            return Wish(f"synthesis/{plain_name(self.layer)}", goal, names)
        if self.classes is None and callable(self.target):
            return Wish("synthesis/target", {"target": self.target}, ["the target given"])
        classes = self._classes(network, probe)
        by_class = distinct_names(classes, probe)
        return Wish("synthesis/classes", {"target": classes}, [by_class[label] for label in classes], classes)

    def _classes(self, network: nn.Module, probe: Probe) -> list[int]:
        """Those given, or those found first."""
        if self.classes is not None:
            return self.classes
        if isinstance(self.target, int | list):
            return [self.target] if isinstance(self.target, int) else list(dict.fromkeys(self.target))
        kept = self._memory.kept
        if "classes" not in kept:
            with torch.no_grad():
                scores = logits(network(probe.images[:1]))
            if scores.ndim > 2:
                raise ValueError(
                    f"the model's output has the shape {tuple(scores.shape)}, not (B, classes); give layer=, or target= a "
                    "callable from the output to one score per image"
                )
            count = scores.shape[1] if scores.ndim == 2 else 1
            known = [] if probe.labels is None else [label for label in probe.labels.tolist() if label < count]
            kept["classes"] = torch.tensor(list(dict.fromkeys([*known, *range(count)]))[:CLASSES])
        return sorted(kept["classes"].tolist())

    @property
    def _place(self) -> tuple[int, int] | None:
        return None if self.position is None else (self.position[0], self.position[1])

    def _paint(self, network: nn.Module, probe: Probe, wish: Wish, start: Tensor | None, steps: int) -> Tensor:
        mean, std = probe.normalisation

        def work(part: slice) -> Tensor:
            return synthesize(
                network,
                **wish.part(part),
                size=self._size(probe),
                steps=steps,
                mean=mean,
                std=std,
                copies=self.copies,
                recipe=RECIPES[self.recipe](**self.recipe_options or {}),
                start=None if start is None else start[self._copies(part)],
                images=probe.images,
                seed=self.seed + self._memory.global_step,
            )

        return self._memory.portions(work, len(wish.names))

    def _copies(self, part: slice) -> slice:
        """Where the pictures of some of the names are."""
        return slice(part.start * self.copies, part.stop * self.copies)

    def _size(self, probe: Probe) -> tuple[int, int]:
        return (self.size, self.size) if self.size else (probe.images.shape[2], probe.images.shape[3])

    # What the network says of them.

    @torch.no_grad()
    def _say(
        self, network: nn.Module, probe: Probe, wish: Wish, pictures: Tensor
    ) -> tuple[list[Caption], list[Scalar]]:
        """Of the finished pictures, as they are."""
        mean, std = (one.to(pictures) for one in probe.normalisation)
        inputs = ((pictures - mean) / std).to(probe.images)
        if wish.classes is not None:
            scores = self._memory.portions(lambda part: logits(network(inputs[part])), len(inputs))
            if scores.ndim == 2 and scores.shape[1] > 1:
                return self._say_classes(chances(scores).cpu(), probe, wish, wish.classes)

        def work(part: slice) -> Tensor:
            goal = {**wish.part(part), "copies": self.copies}
            find = layer_objective if self.layer is not None else partial(class_objective, example=None)
            return find(network, **goal)[0](inputs[self._copies(part)])[0]

        answers = self._memory.portions(work, len(wish.names)).tolist()
        return [(Line(f"answers {one:.3g}") if isfinite(one) else NOT_FINITE,) for one in answers], []

    def _say_classes(
        self, probabilities: Tensor, probe: Probe, wish: Wish, classes: Sequence[int]
    ) -> tuple[list[Caption], list[Scalar]]:
        captions: list[Caption] = []
        own = probabilities.gather(1, torch.tensor(classes).repeat_interleave(self.copies)[:, None])[:, 0]
        for row, probability, seen in zip(
            range(len(own)), own.tolist(), probabilities.argmax(dim=1).tolist(), strict=True
        ):
            if not isfinite(probability):
                captions.append((NOT_FINITE,))
            elif seen == classes[row // self.copies]:
                captions.append((Line(f"\N{CHECK MARK} {probability:.2f}", RIGHT),))
            else:
                captions.append(
                    (Line(f"\N{BALLOT X} {probability:.2f}", WRONG), Line(f"seen as {probe.name(seen)}", WRONG))
                )
        tag, each = f"{wish.tag}/probability", own.reshape(-1, self.copies).mean(dim=1).tolist()
        scalars = [Scalar(tag, sum(each) / len(each))]
        if self.per_class:
            scalars += [Scalar(f"{tag}/{name}", one) for name, one in zip(wish.names, each, strict=True)]
        return captions, scalars
