"""ClassSynthesisLogger: the image that maximises each class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import isfinite
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from lightning_viz.data.arguments import as_indices, as_options, check_choice, check_count, check_flag, check_name
from lightning_viz.data.probe import Probe
from lightning_viz.methods import synthesize
from lightning_viz.methods.model.model_output import THRESHOLD, OutputKind
from lightning_viz.methods.model.outputs import logits
from lightning_viz.methods.synthesis.goal import SynthesisGoal, class_probabilities, objective_values
from lightning_viz.methods.synthesis.recipes import RECIPES
from lightning_viz.methods.synthesis.synthesize import synthesis_passes
from lightning_viz.render.colour import Pictures
from lightning_viz.render.text import Caption, Line
from lightning_viz.runtime.artifacts import Panel, Scalar
from lightning_viz.runtime.captions import NOT_FINITE, class_caption
from lightning_viz.runtime.context import DrawContext
from lightning_viz.runtime.network import NetworkError
from lightning_viz.runtime.output_meaning import resolve_target, single_value
from lightning_viz.runtime.state import CallbackState

from ._options import CommonOptions, check_among, check_units, full_names
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
    `synthesis/classes` and `synthesis/classes/history`; with `layer`, images for its channels: `synthesis/<layer>`.

    Below each class stands the probability that the network gives to the finished image, and the predicted class where that
    is another; the scalar `synthesis/classes/probability` is the mean. Near 1, the search succeeded.

    The first two drawings begin with noise and take 96 forward and backward passes of ten images. Later ones take 32: they are
    warm-started from the previous images, whose features may remain while they do not lower the score.

    Args:
        classes: their indices; by default those in `target=`, or else the first ten, those of the probe before the others.
            A callable in `target=` is maximised instead of a class.
        layer: dotted name of a layer to maximise instead of the classes.
        units: channels of it, one image each; by default one image for the whole layer.
        position: a row and a column of the layer's feature maps; by default the mean over all positions.
        steps: of gradient ascent, where it begins with noise.
        warm_steps: of gradient ascent, where it is warm-started.
        warm_start: begin with the previous images; with False each image is of the current network alone.
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
    CHEAPER = "fewer steps (steps=), classes (classes=) or copies (copies=), or smaller images (size=)"

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
        if self.layer is None and (self.units is not None or self.position is not None):
            raise ValueError(f"units={self.units}, position={self.position} need a layer; give its name as layer=")
        if self.layer is not None and self.classes is not None:
            raise ValueError(f"classes={self.classes} and layer={self.layer!r} exclude each other; give one of them")
        try:
            self._recipe = RECIPES[self.recipe].recipe(**self.recipe_options or {})
        except ValueError as error:
            raise ValueError(f"recipe_options={self.recipe_options!r:.80}: {error}") from error

    def estimated_passes(self, network: nn.Module, images: Tensor) -> float:
        single = self.layer is not None or callable(self.target)
        count = len(self.classes or self.units or []) or (1 if single else CLASSES)
        return synthesis_passes(self.steps, self.copies, count)

    def check_images(self, ctx: DrawContext) -> None:
        if not (self.classes or self.layer or self.size):
            return
        if self.classes is not None and (count := ctx.predictions.meaning.class_count):
            check_among("classes", self.classes, count, "classes of the model")
        if self.units is not None and self.layer is not None:
            check_units(self.units, ctx.network, self.layer, ctx.probe.images)
        try:
            self._synthesize(ctx, self._goal(ctx)[1].part(slice(1)), None, 1)
        except Exception as error:
            if self.size is None or isinstance(error, ValueError | NetworkError | torch.OutOfMemoryError):
                raise  # the size is not to blame
            what = f"size={self.size}: {type(ctx.network).__name__} does not run on images of this size: {error}"
            raise ValueError(f"{what}; give another size, or None for the probe's") from error

    def draw(self, ctx: DrawContext) -> Iterator[Panel | Scalar]:
        state, (tag, goal) = ctx.state(SynthesisState), self._goal(ctx)
        start = self._warm_start(ctx, state.pictures.get(tag), len(goal.names))
        steps = self.steps if start is None else self.warm_steps
        pictures = self._synthesize(ctx, goal, start, steps)
        if ctx.global_step and pictures.isfinite().all():  # an untrained network's images are no good start
            state.pictures[tag] = pictures.cpu()
        captions, scalars = self._evaluate(ctx, tag, goal, pictures)
        started = "from noise" if start is None else "warm-started from the previous images"
        notes = f"{len(pictures)} images, {steps} steps, {started}; recipe: {self.recipe}", ctx.probe.note
        labels, shown = [(Line(name),) for name in goal.names for _ in range(self.copies)], ctx.probe.to_rgb(pictures)
        yield Panel(tag, shown, Pictures(), labels=labels, captions=captions, notes=notes, common_scale=True)
        yield from scalars

    def _goal(self, ctx: DrawContext) -> tuple[str, SynthesisGoal]:
        """With the tag of its panel."""
        if self.layer is not None:
            arguments = {"layer": self.layer, "unit": self.units, "position": self.position and tuple(self.position)}
            names = [f"channel {unit}" for unit in self.units] if self.units else ["all channels"]
            return f"synthesis/{full_names(ctx.network, self.layer)[0]}", SynthesisGoal(arguments, names)
        meaning = ctx.predictions.meaning
        if self.classes is None and (callable(self.target) or meaning.is_single_value):
            target, name = (self.target, "the given target") if callable(self.target) else (single_value, "the output")
            return "synthesis/target", SynthesisGoal({"target": target}, [name])
        if not meaning.has_classes and self.classes is None and self.target is None:
            resolve_target(None, ctx.probe, ctx.predictions)  # raises: there is nothing to synthesise
        if meaning.kind is OutputKind.UNKNOWN:
            logits(ctx.network(ctx.probe.images[:1]))  # raises: there are no scores
        classes = self._classes(ctx)
        by_class = ctx.probe.unique_names(classes)
        names = [by_class[label] if meaning.has_classes else f"output {label}" for label in classes]
        one_logit = meaning.kind is OutputKind.ONE_LOGIT
        arguments = {"target": [label == 1 for label in classes] if one_logit else classes}
        return "synthesis/classes", SynthesisGoal(arguments, names, classes)

    def _classes(self, ctx: DrawContext) -> list[int]:
        if self.classes is not None:
            return self.classes
        if isinstance(self.target, int | list):
            return [self.target] if isinstance(self.target, int) else list(dict.fromkeys(self.target))
        state, count = ctx.state(SynthesisState), ctx.predictions.meaning.class_count
        if not state.classes:
            known = [label for label in ctx.probe.label_list if 0 <= label < count]
            state.classes = list(dict.fromkeys([*known, *range(count)]))[:CLASSES]
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
                recipe=self._recipe,
                start=None if start is None else start[self._rows(part)],
                images=ctx.probe.images,
                seed=self.seed + ctx.global_step,
            )

        return ctx.auto_batch.cat(work, len(goal.names))

    def _rows(self, part: slice) -> slice:
        return slice(part.start * self.copies, part.stop * self.copies)  # of the images

    def _size(self, probe: Probe) -> tuple[int, int]:
        return (self.size, self.size) if self.size else (probe.images.shape[2], probe.images.shape[3])

    def _evaluate(
        self, ctx: DrawContext, tag: str, goal: SynthesisGoal, pictures: Tensor
    ) -> tuple[list[Caption], list[Scalar]]:
        """The probability of each finished image's class; without classes, what was maximised."""
        mean, std = (one.to(pictures) for one in ctx.probe.normalisation)
        inputs, meaning = ((pictures - mean) / std).to(ctx.probe.images), ctx.predictions.meaning
        find = partial(class_probabilities, ctx.network, meaning=meaning)
        parts = ctx.auto_batch.map(lambda part: find(inputs[part]) if goal.classes else None, len(inputs))
        known = [part for part in parts if part is not None]
        if goal.classes is None or not known:
            values = ctx.auto_batch.cat(
                lambda part: objective_values(ctx.network, goal.part(part), inputs[self._rows(part)], self.copies),
                len(goal.names),
            )
            what = "score" if self.layer is None else "activation"
            return [(Line(f"{what} {one:.3g}") if isfinite(one) else NOT_FINITE,) for one in values.tolist()], []
        wanted, probabilities = torch.tensor(goal.classes).repeat_interleave(self.copies), torch.cat(known).cpu()
        own = probabilities.gather(1, wanted[:, None])[:, 0]
        if meaning.kind is OutputKind.SEVERAL_LABELS:
            captions = [class_caption(one, one > THRESHOLD, None) for one in own.tolist()]
        else:
            found = probabilities.argmax(dim=1)
            predicted = map(ctx.probe.class_name, found.tolist())
            captions = [*map(class_caption, own.tolist(), (found == wanted).tolist(), predicted)]
        means = own.reshape(-1, self.copies).mean(dim=1).tolist()
        scalars = [Scalar(f"{tag}/probability", sum(means) / len(means))]
        if self.per_class:
            scalars += [Scalar(f"{tag}/probability/{name}", mean) for name, mean in zip(goal.names, means, strict=True)]
        return captions, scalars
