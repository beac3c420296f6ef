"""What the validation loop's own forward passes leave: nothing is run a second time, but for compiled networks."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_viz.data.batch import Unpack
from lightning_viz.data.distributed import gathered, known_to_all
from lightning_viz.data.samplers import Places, positions
from lightning_viz.methods.model.outputs import logits


@dataclass(frozen=True)
class Tap:
    """A place to listen at: what a module returns, or is given, reduced at once, as it may be overwritten in place."""

    module: nn.Module
    reduce: Callable[[Tensor, Tensor], Any]  #: from the activation and the images to what is kept until the batch's end
    of_input: bool = False


@dataclass(frozen=True, eq=False)
class Seen:
    """A batch that the loop has done: its pictures and what the network made of them."""

    images: Tensor
    labels: Tensor | None
    logits: Tensor | None  #: (B, classes), where the output holds any
    taken: Mapping[str, Any]  #: by tap
    positions: Places  #: in the data's order, (B,); -1 is one that a distributed sampler repeats
    loader: int = 0

    def at(self, rows: Places) -> "Seen":
        """These pictures alone."""
        chosen = torch.from_numpy(rows).to(self.images.device)
        labels, scores = (None if one is None else one[chosen.to(one.device)] for one in (self.labels, self.logits))
        taken = {name: values[chosen.to(values.device)] for name, values in self.taken.items()}
        return Seen(self.images[chosen], labels, scores, taken, self.positions[rows], self.loader)

    @property
    def losses(self) -> Tensor:
        """The cross-entropy of each picture, (B,); NaN where there is no label or no such class."""
        if self.logits is None or self.labels is None:
            return torch.full((len(self.images),), torch.nan, dtype=torch.float32)
        scores, labels = self.logits.float(), self.labels
        known = (labels >= 0) & (labels < scores.shape[1])
        losses = nn.functional.cross_entropy(scores, labels.where(known, 0), reduction="none")
        return losses.where(known, torch.nan)


class Collector(Protocol):
    """What makes something of the batches, in every process, and at the end of all processes' shares."""

    def taps(self, network: nn.Module, images: Tensor) -> Mapping[str, Tap]:
        """Where to listen."""

    def take(self, seen: Seen) -> None: ...

    def share(self) -> Any:
        """This process's, on the CPU."""

    def merge(self, shares: Sequence[Any]) -> None:
        """All processes', in the first."""


@dataclass(eq=False)
class Harvest:
    """Listens to the modules of a network for the duration of one loop, and feeds collectors."""

    network: nn.Module
    collectors: list[Collector]
    unpack: Unpack
    error: Exception | None = None  #: what broke it; then it listens no more, and the loop goes on
    whole: bool = True  #: whether the loop sees all the batches that it ever sees
    seconds: float = 0.0  #: that the loop waited for it
    #: Where the loop's own passes are compiled: the protection under which each batch is run once more, as it was written.
    again: Callable[[], AbstractContextManager[None]] | None = None
    global_step: int | None = None  #: of the network that was listened to, once the loop is over
    _images: Tensor | None = None
    _taken: dict[str, Any] = field(default_factory=dict)
    _logits: Tensor | None = None
    _outputs: list[nn.Module] = field(default_factory=list)
    _taps: dict[str, Tap] = field(default_factory=dict)
    _hooks: list[Any] = field(default_factory=list)
    _done: dict[int, int] = field(default_factory=dict)

    def open(self, images: Tensor) -> None:
        """Attach the hooks; runs the first of these images once, to see what the network returns where."""
        self._outputs = output_modules(self.network, images[:1])
        self._taps = {name: tap for one in self.collectors for name, tap in one.taps(self.network, images[:1]).items()}
        if self.again is None:
            self._attach()

    def start(self, batch: Any) -> None:
        """Before a batch goes through the network."""
        self._images, self._logits, self._taken = self.unpack(batch)[0], None, {}
        if self.again is not None:
            with self.again(), torch.no_grad():
                self._attach()
                self.network(self._images.clone())
            self.close()

    def end(self, batch: Any, loader: int, data: DataLoader[Any] | None, places: Places | None = None) -> None:
        """After it has. `places` are its samples' in the data, where it is not the loader's next batch."""
        images, labels = self.unpack(batch)
        done = self._done.get(loader, 0)
        self._done[loader] = done + len(images)
        places = positions(data, done, len(images)) if places is None else places
        seen = Seen(images, labels, self._logits, self._taken, places, loader)
        self._images, self._logits, self._taken = None, None, {}
        for collector in self.collectors:
            collector.take(seen)

    def attempt(self, work: Callable[..., None], *args: Any) -> None:
        """Do this part of the work, unless an earlier one broke."""
        if self.error is None:
            start = time.perf_counter()
            try:
                work(*args)
            except Exception as error:
                self.error = error
                self.close()
            self.seconds += time.perf_counter() - start

    def close(self) -> None:
        """Take the hooks off."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def gather(self) -> None:
        """Bring together what all processes have; every one of them joins, also one that broke, and learns of that."""
        self.close()
        own: list[Any] = []
        self.attempt(lambda: own.extend(one.share() for one in self.collectors))
        said = None if self.error is None else f"{type(self.error).__name__}: {self.error}"
        known = known_to_all((said, self.whole))
        self.whole = all(whole for _, whole in known)
        causes = [cause for cause, _ in known if cause is not None]
        if self.error is None and causes:
            self.error = RuntimeError(f"another process could not listen to its validation loop: {causes[0]}")
        if not causes:
            self.attempt(self._merge, gathered(own))

    def _attach(self) -> None:
        for module in self._outputs:
            hook = module.register_forward_hook(lambda _m, _i, output: self.attempt(self._take_logits, output))
            self._hooks.append(hook)
        for name, tap in self._taps.items():
            if tap.of_input:
                hook = tap.module.register_forward_pre_hook(
                    lambda _m, inputs, name=name, tap=tap: self._take(name, tap, *inputs[:1])
                )
            else:
                hook = tap.module.register_forward_hook(
                    lambda _m, _i, output, name=name, tap=tap: self._take(name, tap, output)
                )
            self._hooks.append(hook)

    def _merge(self, shares: list[list[Any]]) -> None:
        for index, collector in enumerate(self.collectors):
            collector.merge([share[index] for share in shares])

    def _take(self, name: str, tap: Tap, activation: Any = None) -> None:
        images = self._images
        if images is not None and isinstance(activation, Tensor) and activation.shape[:1] == images.shape[:1]:
            self.attempt(self._keep, name, tap, activation, images)

    def _keep(self, name: str, tap: Tap, activation: Tensor, images: Tensor) -> None:
        with torch.no_grad():
            self._taken[name] = tap.reduce(activation, images)

    def _take_logits(self, output: Any) -> None:
        with suppress(TypeError):  # the LightningModule's call that runs the whole validation step returns no logits
            scores = logits(output)
            if self._images is not None and scores.ndim == 2 and len(scores) == len(self._images):
                self._logits = scores.detach()


def output_modules(network: nn.Module, images: Tensor) -> list[nn.Module]:
    """The modules that return the network's logits, found with a forward pass: the network, and what it calls last.

    Several, because a validation step may call any of these.
    """
    outputs: list[tuple[nn.Module, Any]] = []
    hooks = [
        module.register_forward_hook(lambda module, _i, output: outputs.append((module, output)))
        for module in network.modules()
    ]
    try:
        with torch.no_grad():
            network(images.clone())
    finally:
        for hook in hooks:
            hook.remove()
    found: list[tuple[nn.Module, Tensor]] = []
    for module, output in outputs:
        with suppress(TypeError):
            found.append((module, logits(output)))
    if not found or outputs[-1][0] is not found[-1][0]:
        return []
    end = found[-1][1]
    same = [module for module, one in found if one.shape == end.shape and one.data_ptr() == end.data_ptr()]
    return list(dict.fromkeys(same))
