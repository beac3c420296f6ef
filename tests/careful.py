"""Training of which every bit is looked at: what a test compares with and without the callbacks."""

import random

import numpy as np
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import Dataset

from .support import CLASSES, Lit, Restless, loader, small_network, trainer


class Augmented(Dataset):
    """Random augmentation from Python's, NumPy's and torch's random numbers, and a record of what was asked for."""

    classes = ["a", "b", "c", "d"]

    def __init__(self, size=12):
        self.size = size

    def __len__(self):
        return 20

    def __getitem__(self, index):
        image = torch.rand(3, self.size, self.size, generator=torch.Generator().manual_seed(index))
        factor = random.random() + np.random.rand() + torch.rand(()).item()
        return image * factor, index % CLASSES, index


class Careful(Lit):
    """Dropout, and layers that draw random numbers and count in evaluation mode too."""

    def __init__(self):
        super().__init__(nn.Sequential(Restless(), *small_network()))
        self.order = []

    def training_step(self, batch, batch_idx):
        self.order += batch[2].tolist()
        self.flags = [module.training for module in self.modules()]
        return super().training_step(batch, batch_idx) * (1 + 0.1 * (random.random() + np.random.rand()))


class Images(Careful):
    """A network of others, whose output may be an object with logits; batches may hold images of any size."""

    def __init__(self, make):
        super().__init__()
        self.network = nn.Sequential(Restless(), make())

    def forward(self, images):
        output = self.network(images)
        return getattr(output, "logits", output)


class Caching(nn.Module):
    """Keeps in its attributes what it made of its last input, and goes by it: a mask, a window, a counter, a history."""

    class Settings:
        window = 4

        def __init__(self):
            self.seen = []

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, CLASSES, 3, padding=1))
        self.cache, self.settings, self.steps, self.window = {}, self.Settings(), torch.zeros(()), 32

    def forward(self, images):
        self.window = min(self.window, images.shape[-1])
        self.steps += 1
        self.settings.seen.append(round(float(images.mean()), 3))
        if images.shape[2:] not in self.cache:
            self.cache[images.shape[2:]] = 1 + 0.1 * torch.rand(images.shape[2:])
        scale = 1 + 0.01 * self.steps + self.window / 32 + len(self.cache) + 0.1 * self.settings.seen[-2:][0]
        return (self.layers(images * self.cache[images.shape[2:]]) * scale).mean(dim=(2, 3))


class FrozenNorm(Careful):
    """A BatchNorm that stays in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.train()  # Lightning itself calls it before a fit no more

    def train(self, mode=True):
        super().train(mode)
        self.network[2].eval()
        return self

    def training_step(self, batch, batch_idx):
        assert not self.network[2].training
        return super().training_step(batch, batch_idx)


class Frozen(FrozenNorm):
    """With the first layers' weights."""

    def __init__(self):
        super().__init__()
        self.network[:3].requires_grad_(False)


class Manual(Careful):
    """Two optimisers, stepped by hand."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx):
        for optimizer in self.optimizers():
            self.toggle_optimizer(optimizer)
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            self.clip_gradients(optimizer, 0.5, "norm")
            optimizer.step()
            self.untoggle_optimizer(optimizer)

    def configure_optimizers(self):
        features, head = self.network[:-1].parameters(), self.network[-1].parameters()
        return torch.optim.Adam(features, 0.01), torch.optim.SGD(head, 0.05, momentum=0.9)


def loaders(size=12, **options):
    """Shuffled training data, and validation data: five batches of each."""
    data = Augmented(size)
    return loader(data, shuffle=True, batch_size=4, **options), loader(data, batch_size=4, **options)


def train_carefully(folder, callbacks=(), module=Frozen, data=None, ckpt_path=None, seed=7, **options):
    """All that training left. `data` makes the loaders; without a seed the random numbers go on."""
    if seed is not None:
        pl.seed_everything(seed, verbose=False)
    model = module()
    run = trainer(folder, callbacks, **options)
    run.fit(model, *(data or loaders)(), ckpt_path=ckpt_path)
    return left(model, run, folder)


def left(module, run, folder):
    """What there is after a run, bit for bit."""
    random_states = {  # before a checkpoint is written
        "python": random.getstate(),
        "numpy": [part.tolist() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }
    run.save_checkpoint(folder / "end.ckpt")
    saved = torch.load(folder / "end.ckpt", weights_only=False)
    ours = [str(one.state_key) for one in run.callbacks if type(one).__module__.startswith("lightning_viz")]
    return random_states | {
        "checkpoint": {name: part for name, part in saved.items() if name != "callbacks"},
        "other callbacks": {name: state for name, state in saved["callbacks"].items() if name not in ours},
        "weights and buffers": {name: value.clone() for name, value in module.state_dict().items()},
        "gradients": [weight.grad for weight in module.parameters()],
        "trainable": [weight.requires_grad for weight in module.parameters()],
        "metrics": dict(run.callback_metrics),
        "losses": module.losses,
        "order": module.order,
        "flags": [module.flags, [part.training for part in module.modules()]],
        "attributes": {
            f"{name}.{key}": value
            for name, part in module.named_modules()
            for key, value in vars(part).items()
            if isinstance(value, bool | int | float | str | tuple | type(None))
        },
        "hooks": [
            len(hooks)
            for part in module.modules()
            for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks)
        ],
    }


def same(one, other):
    """Equal in every bit."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def differences(one, other):
    """The names of what is not the same."""
    assert one.keys() == other.keys()
    return [name for name in one if not same(one[name], other[name])]
