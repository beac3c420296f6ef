"""Where people run: strategies, spawned processes, compiled networks, tuners first."""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import BatchSizeFinder, LearningRateFinder
from pytorch_lightning.loggers.logger import DummyLogger
from pytorch_lightning.strategies import DDPStrategy, DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy
from pytorch_lightning.tuner import Tuner
from torch import nn

from lightning_viz import FilterLogger
from lightning_viz.runtime.lightning_compat import is_sharded

from ..careful import Augmented, Careful, differences, left
from ..support import SUITE, Events, Lit, loader, quick_suite, small_network, trainer


@pytest.mark.parametrize(
    ("strategy", "sharded"),
    [
        (FSDPStrategy, True),
        (ModelParallelStrategy, True),
        (DeepSpeedStrategy, True),
        (type("Own", (FSDPStrategy,), {}), True),
        (DDPStrategy, False),
    ],
)
def test_strategies_that_shard_are_known(strategy, sharded, tmp_path):
    """By the name that they have in each Lightning."""
    run = trainer(tmp_path)
    assert not is_sharded(run)
    run._accelerator_connector.strategy = strategy.__new__(strategy)  # most of them start on a GPU only
    assert is_sharded(run) == sharded


def test_processes_that_are_spawned_draw(tmp_path):
    """The callbacks are pickled."""
    trainer(tmp_path, suite(), strategy="ddp_spawn", max_epochs=1).fit(Lit(), loader(), loader())
    events = Events(tmp_path / "run/version_0")
    assert {tag.split("/")[0] for tag in events.image_tags} == SUITE
    assert {step for tag in events.image_tags for step in events.image_steps(tag)} == {0, 3}


# torch.compile.


class Plain(Lit):
    """Without the list of losses, which grows: each new length would be compiled anew."""

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self(batch[0]), batch[1])


def compile_in_place(backend):
    module = Plain()
    module.network.compile(backend=backend)
    return module


def compile_a_layer(backend):
    module = Plain()
    module.network[3] = torch.compile(module.network[3], backend=backend)
    return module


def compile_a_step(backend):
    module = Plain()
    module.validation_step = torch.compile(module.validation_step, backend=backend)
    return module


COMPILED = {
    "module": lambda backend: torch.compile(Plain(), backend=backend),
    "network": lambda backend: Plain(torch.compile(small_network(), backend=backend)),
    "network in place": compile_in_place,
    "one layer": compile_a_layer,
    "validation step": compile_a_step,
}


def train_compiled(folder, make, callbacks=()):
    """The weights, and how many graphs were compiled."""
    torch._dynamo.reset()
    graphs = []
    module = make(lambda graph, inputs: graphs.append(graph) or graph.forward)
    run = trainer(folder, callbacks)
    run.fit(module, loader(), loader())
    return [weight.detach() for weight in run.lightning_module.parameters()], len(graphs)


def drawn(folder):
    """All that was drawn, by tag: pictures by step, and numbers."""
    events = Events(folder / "run/version_0")
    pictures = {tag: (events.image_steps(tag), events.pictures(tag)) for tag in events.image_tags}
    return pictures, {tag: events.scalars(tag) for tag in events.scalar_tags if not tag.startswith("viz/")}


def suite():
    return quick_suite(on_error="raise", max_images=2, history=0)


@pytest.fixture(scope="module")
def as_written(tmp_path_factory):
    """What is drawn of the network that is not compiled."""
    folder = tmp_path_factory.mktemp("as_written")
    torch.manual_seed(0)
    train_compiled(folder, lambda backend: Plain(), suite())
    return drawn(folder)


@pytest.mark.parametrize("make", COMPILED.values(), ids=COMPILED.keys())
def test_compiled_networks_are_drawn_and_not_compiled_anew(make, as_written, tmp_path):
    """The same pictures and numbers under the same names, also of what listens to the validation loop."""
    weights, graphs = train_compiled(tmp_path / "without", make)
    torch.manual_seed(0)
    watched, compiled = train_compiled(tmp_path / "with", make, suite())
    assert compiled == graphs > 0
    assert all(map(torch.equal, weights, watched))
    assert drawn(tmp_path / "with") == as_written


# Tuners.


class Tuned(Careful):
    def __init__(self):
        super().__init__()
        self.learning_rate, self.batch_size = 0.05, 1

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.learning_rate, momentum=0.9)

    def train_dataloader(self):
        return loader(Augmented(), batch_size=self.batch_size, shuffle=True)

    def val_dataloader(self):
        return loader(Augmented(), batch_size=self.batch_size)


LEARNING_RATE, BATCH_SIZE = {"num_training": 15}, {"steps_per_trial": 1, "max_trials": 2}

#: Callbacks that tune, and what is asked of a Tuner.
TUNERS = {
    "Tuner.lr_find": ([], lambda tuner, module: tuner.lr_find(module, **LEARNING_RATE)),
    "Tuner.scale_batch_size": ([], lambda tuner, module: tuner.scale_batch_size(module, **BATCH_SIZE)),
    "LearningRateFinder": ([partial(LearningRateFinder, num_training_steps=15)], None),
    "BatchSizeFinder": ([partial(BatchSizeFinder, **BATCH_SIZE)], None),
}


def tune_and_train(folder, callbacks, finders, tune):
    """What was found, and what training left."""
    pl.seed_everything(7, verbose=False)
    module = Tuned()
    run = trainer(folder, [*callbacks, *(one() for one in finders)], default_root_dir=folder, max_epochs=1)
    if tune is not None:
        tune(Tuner(run), module)
        assert not Events(folder / "run/version_0").image_tags
    run.fit(module)
    return {"found": (module.learning_rate, module.batch_size), **left(module, run, folder)}


@pytest.mark.parametrize(("finders", "tune"), TUNERS.values(), ids=TUNERS.keys())
def test_nothing_is_drawn_while_a_tuner_tries(finders, tune, tmp_path):
    undisturbed = tune_and_train(tmp_path / "without", [], finders, tune)
    watched = tune_and_train(tmp_path / "with", suite(), finders, tune)
    assert differences(undisturbed, watched) == []
    assert watched["found"] != (0.05, 1)
    events, steps = Events(tmp_path / "with/run/version_0"), 20 // watched["found"][1]
    assert {tag.split("/")[0] for tag in events.image_tags} == SUITE
    for tag in events.image_tags:
        assert events.image_steps(tag) == [0, steps - 1]


class Trying(pl.Callback):
    """As tuners do, with the callbacks left in: in the second epoch the trainer logs nothing."""

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            self.loggers, trainer.loggers = trainer.loggers, [DummyLogger()]

    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            trainer.loggers = self.loggers


def test_nothing_is_drawn_while_the_logger_takes_nothing(tmp_path):
    trainer(tmp_path, [FilterLogger(on_error="raise"), Trying()], max_epochs=3).fit(Lit(), loader(), loader())
    assert Events(tmp_path / "run/version_0").image_steps("filters/network.0") == [0, 3, 11]
