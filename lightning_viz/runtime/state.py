"""What a callback remembers across a resume: typed fields, stored as plain values and tensors."""

import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from hashlib import sha256
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from lightning_viz.data.probe import Probe
from lightning_viz.render.film_strip import Frame

FORMAT = 2  # of what is stored in checkpoints


@dataclass
class CallbackState:
    """Of one callback in one run. A callback that remembers more derives a dataclass with further fields.

    Fields are numbers, texts, tensors, arrays, or lists, dicts and dataclasses of these.
    """

    last_steps: dict[str, int] = field(default_factory=dict)  #: the last step drawn, by split
    films: dict[str, tuple[Frame, ...]] = field(default_factory=dict)  #: the columns of the film strips, by tag
    layer: str | None = None  #: the default layer, found once
    probe_digest: str | None = None  #: of the pictures that the film strips show
    hardest_images: Tensor | None = None  #: chosen by `Probe.hardest()`
    hardest_labels: Tensor | None = None

    def follow(self, probe: Probe) -> bool:
        """Take this probe for the film strips; False, and empty strips, where they show other pictures."""
        before, self.probe_digest = self.probe_digest, sha256(probe.pictures.tobytes()).hexdigest()
        if not self.films or before == self.probe_digest:
            return True
        self.films.clear()
        return False

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, which `torch.load(weights_only=True)` reads."""
        return {"format": FORMAT, **_to_plain(self)}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> Self:
        """The state that `state_dict` stored. Raises ValueError for one of another format."""
        if state.get("format") != FORMAT:
            found = state.get("format")
            raise ValueError(f"the checkpoint's state has the format {found}, and this version reads {FORMAT}")
        return typing.cast(Self, _from_plain(cls, state))


def _to_plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: _to_plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {key: _to_plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_to_plain(one) for one in value]
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value


def _from_plain(kind: Any, value: Any) -> Any:
    """`value` as the annotation `kind` describes it."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        kinds = [one for one in arguments if one is not types.NoneType]
        return None if value is None else _from_plain(kinds[0], value)
    if is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        known = {one.name: one for one in fields(kind) if one.init and one.name in value}
        return kind(**{name: _from_plain(hints[name], value[name]) for name in known})
    if origin is not None and isinstance(value, Mapping):
        return {key: _from_plain(arguments[1], one) for key, one in value.items()}
    if origin is tuple:
        each = arguments[:1] * len(value) if Ellipsis in arguments else arguments
        return tuple(_from_plain(one, part) for one, part in zip(each, value, strict=True))
    if origin is not None and isinstance(value, list):
        return [_from_plain(arguments[0], one) for one in value]
    if isinstance(value, Tensor):
        return value.cpu().numpy() if origin is np.ndarray or kind is np.ndarray else value.cpu()
    return value
