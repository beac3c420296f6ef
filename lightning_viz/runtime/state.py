"""What a callback remembers of a run."""

from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from lightning_viz.collect.recorder import Harvest
from lightning_viz.data.probe import Probe
from lightning_viz.methods.model.batching import Portions
from lightning_viz.render import Caption, Frame, Line


@dataclass
class Memory:
    """Of one callback in one run. What stands first survives in checkpoints, as plain values and tensors."""

    last_steps: dict[str, int] = field(default_factory=dict)  #: the last step drawn, by stage
    films: dict[str, tuple[Frame, ...]] = field(default_factory=dict)  #: by tag
    kept: dict[str, Tensor] = field(default_factory=dict)  #: tensors that a callback pins before the first step
    layer: str | None = None  #: the layer that a callback found and stays with
    pictures: str | None = None  #: a fingerprint of the probe that the films are of

    probes: dict[str, Probe] = field(default_factory=dict)  #: by stage, on the device
    begun: set[str] = field(default_factory=set)  #: the stages whose first batch was seen
    harvest: Harvest | None = None  #: of the loop that runs, or of the last one
    global_step: int = 0  #: at the end of the last batch
    chosen: set[str] = field(default_factory=set)  #: the stages whose hardest pictures are known
    started: bool = False  #: whether this fit has seen its first batch
    portions: Portions = field(default_factory=Portions)  #: as many pictures as go through the network at once
    failures: list[Exception] = field(default_factory=list)  #: filled by the worker, too
    failed: bool = False
    said: set[str] = field(default_factory=set)  #: what it has warned of

    def pin(self, stage: str, probe: Probe) -> bool:
        """Take the probe for a stage; False where the films so far are of other pictures, and start anew."""
        self.probes[stage] = probe
        if stage != "fit":
            return True
        before, self.pictures = self.pictures, sha256(probe.pictures.tobytes()).hexdigest()
        if not self.films or before == self.pictures:
            return True
        self.films.clear()
        return False

    def state_dict(self) -> dict[str, Any]:
        films = {tag: [_to_state(frame) for frame in frames] for tag, frames in self.films.items()}
        return {
            "last_steps": dict(self.last_steps),
            "films": films,
            "kept": dict(self.kept),
            "layer": self.layer,
            "pictures": self.pictures,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.last_steps = dict(state["last_steps"])
        self.films = {tag: tuple(_from_state(frame) for frame in frames) for tag, frames in state["films"].items()}
        self.layer, self.pictures = state["layer"], state["pictures"]
        self.kept = {name: tensor.cpu() for name, tensor in state["kept"].items()}
        self.chosen = {"fit"} if "probe/images" in self.kept else set()


def _to_state(frame: Frame) -> dict[str, Any]:
    captions = [[(line.text, list(line.colour)) for line in caption] for caption in frame.captions]
    return {"step": frame.step, "values": torch.from_numpy(frame.values), "peak": frame.peak, "captions": captions}


def _from_state(state: dict[str, Any]) -> Frame:
    captions: list[Caption] = [
        tuple(Line(text, (colour[0], colour[1], colour[2])) for text, colour in caption)
        for caption in state["captions"]
    ]
    return Frame(state["step"], state["values"].cpu().numpy(), state["peak"], tuple(captions))
