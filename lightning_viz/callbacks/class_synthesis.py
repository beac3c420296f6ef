"""ClassSynthesisLogger: the image that maximises each class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from lightning_viz.data.arguments import (
    as_indices,
    as_options,
    check_choice,
    check_count,
    check_flag,
    check_name,
    describe_value,
)
from lightning_viz.data.probe import Probe
from lightning_viz.methods import synthesize
from lightning_viz.methods.model.feature_maps import FeatureMaps
from lightning_viz.methods.model.layers import plain_name
from lightning_viz.methods.model.outputs import logits
from lightning_viz.methods.synthesis.goal import SynthesisGoal, class_probabilities, objective_values
from lightning_viz.methods.synthesis.recipes import RECIPES
from lightning_viz.methods.synthesis.synthesize import synthesis_passes
from lightning_viz.render import Caption, Line, Pictures
from lightning_viz.runtime.artifacts import Panel, Scalar
from lightning_viz.runtime.captions import NOT_FINITE, class_caption
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.state import CallbackState

from ._options import CommonOptions
from .base import VizCallback

CLASSES = 10  # synthesised, where none are given
WARM_CONTRAST = 0.75  # of the previous images, with which a warm start begins


@dataclass
class SynthesisState(CallbackState):
    """What a warm start goes on from."""

    classes: list[int] = field(default_factory=list)  #: found at the first drawing
    pictures: dict[str, Tensor] = field(default_factory=dict)  #: the previous images (N, C, H, W), 0 to 1, by tag


class ClassSynthesisLogger(VizCallback):
    """Activation maximisation: for each class the image with the highest score, found by gradient ascent:
    `synthesis/classes` and its film strip `synthesis/classes/history`; with `layer`, images that maximise channels of the
    layer, `synthesis/<layer>`.

    Below each class stands the probability that the network gives to the finished image, and the predicted class where that
    is another; as a scalar `synthesis/classes/probability`, the mean over the images. A probability near 1 says that the
    search succeeded; what the network responds to, only the image shows.

    At the defaults a drawing that begins with noise, at the start and after the first epoch, takes 96 steps of ten images,
    each step a forward and a backward pass. Later drawings are warm-started from the previous images and take 32. Features
    of previous images may remain as long as they do not lower the score; with `warm_start=False` each image is of the
    current network alone.

    Args:
        classes: indices of the classes; by default the first ten of all, those of the probe before the others. The indices in
            `target=` are used as well; a callable there is maximised instead of a class.
        layer: dotted name of a layer to maximise instead of the classes.
        units: channels of it, one image each; by default one image for the whole layer.
        position: a row and a column of the layer's feature maps; by default the mean over all positions.
        steps: of gradient ascent, where it begins with noise.
        warm_steps: of gradient ascent, where it is warm-started.
        warm_start: whether to begin with the previous images.
        copies: images for each class, which are kept different.
        size: the images' side in pixels; by default the size of the probe's pictures.
        recipe: "fourier" (Olah et al. 2017), images that hold from many views and for other networks, or "classic",
            regularised ascent on pixels (Simonyan et al. 2014, Yosinski et al. 2015).
        recipe_options: fields of `lightning_viz.methods.Fourier`, or of `Classic`, such as {"turn": 5.0}.
        per_class: also log the probability of each class, `synthesis/classes/probability/<class>`.
        seed: of the noise and the random views.
        common: the options of every callback, see `VizCallback`.
    """

    State = SynthesisState
    TAG_FIELDS = ("classes", "layer", "units", "position")

    def __init__(
        self,
        classes: Sequence[int] | None = None,
        layer: str | None = None,
        units: Sequence[int] | None = None,
        position: Sequence[int] | None = None,
        steps: int = 96,
        warm_steps: int = 32,
        warm_start: bool = True,
        copies: int = 1,
        size: int | None = None,
        recipe: Literal["fourier", "classic"] = "fourier",
        recipe_options: Mapping[str, Any] | None = None,
        per_class: bool = False,
        seed: int = 0,
        **common: Unpack[CommonOptions],
    ) -> None:
        super().__init__(**common)
        self.classes = as_indices("classes", classes)
        self.layer = check_name("layer", layer)
        self.units = as_indices("units", units)
        self.position = as_indices("position", position, 2)
        self.steps = check_count("steps", steps, 1)
        self.warm_steps = check_count("warm_steps", warm_steps, 1)
        self.warm_start = check_flag("warm_start", warm_start)
        self.copies = check_count("copies", copies, 1)
        self.size = check_count("size", size, 2, optional=True)
        self.recipe = check_choice("recipe", recipe, tuple(RECIPES))
        self.recipe_options = as_options("recipe_options", recipe_options, recipe, RECIPES[recipe].options)
        self.per_class = check_flag("per_class", per_class)
        self.seed = check_count("seed", seed, 0)
        self._check_combination()

    def _check_combination(self) -> None:
        """Raise ValueError for options that exclude each other, or a recipe's own errors."""
        if self.layer is None and (self.units is not None or self.position is not None):
            raise ValueError(f"units={self.units}, position={self.position} need a layer; give its name as layer=")
        if self.layer is not None and self.classes is not None:
            raise ValueError(f"classes={self.classes} and layer={self.layer!r} exclude each other; give one of them")
        try:
            self._make_recipe()
        except ValueError as error:
            raise ValueError(f"recipe_options={describe_value(self.recipe_options)}: {error}") from error

    def _make_recipe(self) -> Any:
        return RECIPES[self.recipe].recipe(**self.recipe_options or {})

    def estimated_passes(self, network: nn.Module, images: Tensor) -> float:
        single = self.layer is not None or callable(self.target)
        count = len(self.classes or self.units or []) or (1 if single else CLASSES)
        return synthesis_passes(self.steps, self.copies, count)

    def check_images(self, ctx: DrawContext) -> None:
        if not (self.classes or self.layer or self.size):
            return
        self._check_indices(ctx)
        try:
            self._synthesize(ctx, self._goal(ctx)[1], None, 1)
        except (ValueError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if self.size is None:
                raise  # the probe's size is not to blame
            raise ValueError(
                f"size={self.size}: {type(ctx.network).__name__} does not run on images of this size: {error}; give "
                "another size, or None for the probe's"
            ) from error

    @torch.no_grad()
    def _check_indices(self, ctx: DrawContext) -> None:
        """Raise ValueError for classes or units that the network does not have."""
        images = ctx.probe.images[:1]
        if self.classes is not None and (scores := logits(ctx.network(images))).ndim == 2:
            _check_among("classes", self.classes, scores.shape[1], "classes of the model")
        if self.units is not None and self.layer is not None:
            channels = FeatureMaps(ctx.network, self.layer)(images).shape[1]
            _check_among("units", self.units, channels, f"channels of layer={self.layer!r}")

    def draw(self, ctx: DrawContext) -> Iterator[Panel | Scalar]:
        state, (tag, goal) = ctx.state(SynthesisState), self._goal(ctx)
        start = self._warm_start(ctx, state.pictures.get(tag), len(goal.names))
        steps = self.steps if start is None else self.warm_steps
        pictures = self._synthesize(ctx, goal, start, steps)
        if ctx.global_step and pictures.isfinite().all():  # an untrained network's images are no good start
            state.pictures[tag] = pictures.cpu()
        captions, scalars = self._evaluate(ctx, tag, goal, pictures)
        started = "from noise" if start is None else "warm-started from the previous images"
        yield Panel(
            tag,
            ctx.probe.to_rgb(pictures),
            Pictures(),
            labels=[(Line(name),) for name in goal.names for _ in range(self.copies)],
            captions=captions,
            notes=(f"{len(pictures)} images, {steps} steps, {started}; recipe: {self.recipe}", ctx.probe.note),
            common_scale=True,
        )
        yield from scalars

    # What is maximised.

    def _goal(self, ctx: DrawContext) -> tuple[str, SynthesisGoal]:
        """With the tag of its panel."""
        if self.layer is not None:
            position = None if self.position is None else (self.position[0], self.position[1])
            arguments = {"layer": self.layer, "unit": self.units, "position": position}
            names = [f"channel {unit}" for unit in self.units] if self.units else ["all channels"]
            return f"synthesis/{plain_name(self.layer)}", SynthesisGoal(arguments, names)
        if self.classes is None and callable(self.target):
            return "synthesis/target", SynthesisGoal({"target": self.target}, ["the given target"])
        classes = self._classes(ctx)
        by_class = ctx.probe.unique_names(classes)
        names = [by_class[label] for label in classes]
        return "synthesis/classes", SynthesisGoal({"target": classes}, names, classes)

    def _classes(self, ctx: DrawContext) -> list[int]:
        """The given ones, or those found first."""
        if self.classes is not None:
            return self.classes
        if isinstance(self.target, int | list):
            return [self.target] if isinstance(self.target, int) else list(dict.fromkeys(self.target))
        state = ctx.state(SynthesisState)
        state.classes = state.classes or _default_classes(ctx.network, ctx.probe)
        return sorted(state.classes)

    def _warm_start(self, ctx: DrawContext, previous: Tensor | None, count: int) -> Tensor | None:
        """The previous images with less contrast, so that what the network has unlearned fades; None for noise."""
        if previous is None or not self.warm_start:
            return None
        if (len(previous), *previous.shape[2:]) != (count * self.copies, *self._size(ctx.probe)):
            ctx.state(SynthesisState).films.clear()  # from before a resume with other options
            return None
        return previous.mean(dim=(2, 3), keepdim=True).lerp(previous, WARM_CONTRAST)

    def _synthesize(self, ctx: DrawContext, goal: SynthesisGoal, start: Tensor | None, steps: int) -> Tensor:
        mean, std = ctx.probe.normalisation

        def work(part: slice) -> Tensor:
            return synthesize(
                ctx.network,
                **goal.part(part).arguments,
                size=self._size(ctx.probe),
                steps=steps,
                mean=mean,
                std=std,
                copies=self.copies,
                recipe=self._make_recipe(),
                start=None if start is None else start[self._rows(part)],
                images=ctx.probe.images,
                seed=self.seed + ctx.global_step,
            )

        return ctx.auto_batch.cat(work, len(goal.names))

    def _rows(self, part: slice) -> slice:
        """The images of some of the names."""
        return slice(part.start * self.copies, part.stop * self.copies)

    def _size(self, probe: Probe) -> tuple[int, int]:
        return (self.size, self.size) if self.size else (probe.images.shape[2], probe.images.shape[3])

    # What the network predicts for the finished images.

    def _evaluate(
        self, ctx: DrawContext, tag: str, goal: SynthesisGoal, pictures: Tensor
    ) -> tuple[list[Caption], list[Scalar]]:
        mean, std = (one.to(pictures) for one in ctx.probe.normalisation)
        inputs = ((pictures - mean) / std).to(ctx.probe.images)
        if goal.classes is not None:
            parts = ctx.auto_batch.map(lambda part: class_probabilities(ctx.network, inputs[part]), len(inputs))
            if all(part is not None for part in parts):
                probabilities = torch.cat([part for part in parts if part is not None])
                return self._class_captions(probabilities.cpu(), ctx.probe, tag, goal.names, goal.classes)
        values = ctx.auto_batch.cat(
            lambda part: objective_values(ctx.network, goal.part(part), inputs[self._rows(part)], self.copies),
            len(goal.names),
        )
        what = "score" if self.layer is None else "activation"
        return [(Line(f"{what} {one:.3g}") if isfinite(one) else NOT_FINITE,) for one in values.tolist()], []

    def _class_captions(
        self, probabilities: Tensor, probe: Probe, tag: str, names: Sequence[str], classes: Sequence[int]
    ) -> tuple[list[Caption], list[Scalar]]:
        """The probability of each image's class, and the predicted class where it is another."""
        wanted = torch.tensor(classes).repeat_interleave(self.copies)
        own = probabilities.gather(1, wanted[:, None])[:, 0]
        predicted = probabilities.argmax(dim=1)
        captions = [
            class_caption(probability, label == found, probe.class_name(found))
            for probability, label, found in zip(own.tolist(), wanted.tolist(), predicted.tolist(), strict=True)
        ]
        means = own.reshape(-1, self.copies).mean(dim=1).tolist()
        scalars = [Scalar(f"{tag}/probability", sum(means) / len(means))]
        if self.per_class:
            scalars += [Scalar(f"{tag}/probability/{name}", mean) for name, mean in zip(names, means, strict=True)]
        return captions, scalars


def _check_among(name: str, indices: Sequence[int], count: int, what: str) -> None:
    if max(indices) >= count:
        raise ValueError(f"{name}={indices} are not all among the {count} {what}; give some of 0 to {count - 1}")


@torch.no_grad()
def _default_classes(network: nn.Module, probe: Probe) -> list[int]:
    """The first ten classes, those of the probe before the others."""
    scores = logits(network(probe.images[:1]))
    if scores.ndim > 2:
        raise ValueError(
            f"the model's output has the shape {tuple(scores.shape)}, not (B, classes); give layer=, or target= a "
            "callable from the output to one score per image"
        )
    count = scores.shape[1] if scores.ndim == 2 else 1
    known = [] if probe.labels is None else [label for label in probe.labels.tolist() if 0 <= label < count]
    return list(dict.fromkeys([*known, *range(count)]))[:CLASSES]
