"""What layers answer to the probe."""

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from lightning_viz.data.probe import Probe
from lightning_viz.methods.model.batching import Portions
from lightning_viz.methods.model.layers import channel_maps, resolve_layer
from lightning_viz.methods.model.modes import capture
from lightning_viz.render import Caption

from .network import spoken, truths


class Answers:
    """What layers answer to a probe, and what the network says of it, with one forward pass for each portion.

    Raises ValueError for a layer that does not run, or whose output is neither maps nor tokens nor vectors.
    """

    def __init__(self, network: nn.Module, probe: Probe, layers: Sequence[str], portions: Portions) -> None:
        self._calls: Counter[str] = Counter()
        asked = portions.each(lambda part: self._ask(network, probe.part(part), layers), len(probe))
        self.captions: list[Caption] = [caption for captions, _ in asked for caption in captions]
        self.maps = {layer: torch.cat([maps[layer] for _, maps in asked]) for layer in layers}

    def _ask(self, network: nn.Module, probe: Probe, layers: Sequence[str]) -> tuple[list[Caption], dict[str, Tensor]]:
        found = {layer: resolve_layer(network, layer) for layer in layers}
        self._calls.clear()
        with torch.no_grad(), ExitStack() as stack:
            for layer, (_, module) in found.items():
                hook = module.register_forward_hook(lambda *_, layer=layer: self._calls.update([layer]))
                stack.callback(hook.remove)
            outputs = stack.enter_context(capture(network, layers))
            said = spoken(network(probe.images), probe)
        captions = [(*true, *words) for true, words in zip(truths(probe), said, strict=True)]
        maps = {layer: _maps(layer, module, outputs.get(name), probe.images) for layer, (name, module) in found.items()}
        return captions, maps

    def runs(self, layer: str) -> list[str]:
        """A note on a layer that runs more than once."""
        return [f"runs {self._calls[layer]} times: its last output"] if self._calls[layer] > 1 else []


def _maps(layer: str, module: nn.Module, output: Tensor | None, images: Tensor) -> Tensor:
    if output is None:
        raise ValueError(
            f"layer={layer!r} did not run, or returns no tensor; choose a layer that the model's forward calls"
        )
    if output.shape[:1] != images.shape[:1]:
        raise ValueError(
            f"layer={layer!r} returns the shape {tuple(output.shape)} for {len(images)} images; choose a layer that keeps "
            "the images apart"
        )
    try:
        return channel_maps(module, output, images)
    except ValueError as error:
        raise ValueError(f"layer={layer!r}: {error}") from error
