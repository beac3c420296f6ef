"""Training is bit-identical with the whole suite attached and without, in whatever way Lightning trains."""

import random
from functools import partial

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import (
    EarlyStopping,
    EMAWeightAveraging,
    ModelCheckpoint,
    StochasticWeightAveraging,
    WeightAveraging,
)

from lightning_viz import DeepDreamLogger

from ..careful import Caching, Careful, Frozen, Images, Manual, differences, loaders, train_carefully
from ..support import SUITE, Events, quick_suite


def swin():
    """Hugging Face's: each layer reduces its own window and shift to a smaller input. Shifted at 32 pixels, not at 21."""
    transformers = pytest.importorskip("transformers")
    stages = {"embed_dim": 8, "depths": [2, 2], "num_heads": [1, 2], "window_size": 6}
    config = transformers.SwinConfig(image_size=32, patch_size=2, num_labels=4, **stages)
    return transformers.SwinForImageClassification(config)


def levit():
    """timm's: in evaluation mode each attention keeps its biases."""
    models = pytest.importorskip("timm.models.levit")
    return models.Levit(img_size=32, num_classes=4, embed_dim=(16, 24), key_dim=8, depth=(1, 1), num_heads=(2, 3))


#: Networks that change their own attributes in a forward pass.
CHANGING = {"swin": swin, "levit": levit, "one that caches": Caching}

ON_GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

#: What is trained, how, and with which callbacks of others.
CONFIGURATIONS = {
    "dropout, in float32, validation in inference mode": {"module": Careful},
    "frozen layers": {"module": Frozen},
    "a drawing at every step": {"every_n_train_steps": 1, "max_epochs": 1},
    "gradient accumulation": {"accumulate_grad_batches": 2},
    "manual optimisation": {"module": Manual},
    "gradient clipping by norm": {"gradient_clip_val": 0.1},
    "gradient clipping by value": {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
    "weight averaging": {"others": WeightAveraging},
    "exponential moving average": {"others": partial(EMAWeightAveraging, decay=0.8)},
    "stochastic weight averaging": {
        "others": partial(StochasticWeightAveraging, swa_lrs=0.01, swa_epoch_start=1),
    },
    "bf16-mixed": {"precision": "bf16-mixed"},
    "bf16-true": {"precision": "bf16-true"},
    "64-true": {"precision": "64-true"},
    "16-mixed": {"precision": "16-mixed", "accelerator": "gpu"},
    "validation within an epoch, a fraction": {"val_check_interval": 0.4},
    "validation within an epoch, in batches": {"val_check_interval": 2},
    "validation across epochs": {"val_check_interval": 7, "check_val_every_n_epoch": None},
    "validation every 2 epochs": {"check_val_every_n_epoch": 2},
    "no validation": {"data": lambda: loaders()[:1]},
    "validation turned off": {"limit_val_batches": 0},
    "max_steps in mid-epoch": {"max_steps": 7, "max_epochs": -1},
    "early stopping": {"others": partial(EarlyStopping, "validation", patience=0, min_delta=10), "max_epochs": 9},
    "persistent workers": {"data": partial(loaders, num_workers=2, persistent_workers=True)},
    "validation without inference mode": {"inference_mode": False},
}


def train(folder, watched, others=None, every_n_train_steps=None, history=0, **options):
    """What training left, with the suite or without. (Most of a drawing's time is painting: here it is little.)"""
    common = {"every_n_train_steps": every_n_train_steps, "history": history, "max_images": 2}
    suite = quick_suite(on_error="raise", **common) if watched else []
    return train_carefully(folder, [*suite, *([others()] if others else [])], **options)


def check(undisturbed, watched, folder):
    assert differences(undisturbed, watched) == []
    assert {tag.split("/")[0] for tag in Events(folder / "run/version_0").image_tags} == SUITE


@pytest.mark.parametrize(
    "options",
    [pytest.param(one, id=name, marks=ON_GPU if "accelerator" in one else []) for name, one in CONFIGURATIONS.items()],
)
def test_training_is_bit_identical(options, tmp_path):
    undisturbed = train(tmp_path / "without", False, **options)
    check(undisturbed, train(tmp_path / "with", True, **options), tmp_path / "with")


@pytest.mark.parametrize("name", CHANGING)
def test_training_of_a_network_that_changes_itself_is_bit_identical(name, tmp_path):
    def run(folder, *callbacks):
        options = {"module": partial(Images, CHANGING[name]), "data": partial(loaders, 32), "num_sanity_val_steps": 0}
        return train_carefully(folder, callbacks, max_epochs=1, limit_train_batches=3, limit_val_batches=2, **options)

    common = {"every_n_train_steps": 2, "history": 0, "max_images": 2, "on_error": "raise"}
    octaves = DeepDreamLogger(tag="octaves", method_options={"steps": 1, "octaves": 2}, **common)
    undisturbed = run(tmp_path / "without")
    assert differences(undisturbed, run(tmp_path / "with", *quick_suite(**common), octaves)) == []
    assert {tag.split("/")[0] for tag in Events(tmp_path / "with/run/version_0").image_tags} == SUITE | {"octaves"}


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    """The first half of a training that is cut in two, not watched and watched: what it left, and its folder."""

    def half(folder, watched):
        saving = partial(ModelCheckpoint, folder, filename="half")
        return train(folder, watched, saving, history=2, enable_checkpointing=True, max_epochs=1), folder

    return {watched: half(tmp_path_factory.mktemp("half"), watched) for watched in (False, True)}


def resume(folder, half, watched):
    """What the second half left, with the random numbers as the first left them."""
    found, checkpoint = half
    random.setstate(found["python"])
    np.random.set_state(tuple(found["numpy"]))
    torch.set_rng_state(found["torch"])
    return train(folder, watched, ckpt_path=str(checkpoint / "half.ckpt"), seed=None, history=2, max_epochs=2)


@pytest.fixture(scope="module")
def resumed(halves, tmp_path_factory):
    """What a resumed training leaves that is never watched."""
    return resume(tmp_path_factory.mktemp("resumed"), halves[False], False)


@pytest.mark.parametrize(
    ("first", "second"), [(True, True), (False, True), (True, False)], ids=["both", "the second", "the first"]
)
def test_training_that_is_resumed_is_bit_identical(first, second, halves, resumed, tmp_path):
    """With the callbacks in both halves, or in one."""
    watched = resume(tmp_path, halves[first], second)
    check(resumed, watched, tmp_path if second else halves[first][1])
    assert differences(halves[False][0], halves[True][0]) == ["other callbacks"]  # the folders of the checkpoints
