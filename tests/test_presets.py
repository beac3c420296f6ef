"""The presets, with a real LightningCLI in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lightning_viz

from .support import CALLBACKS, Events

ROOT = Path(__file__).parent.parent
PRESETS = sorted(path.name for path in (ROOT / "callbacks").glob("*.yaml"))

#: Of the tags, where not the name.
FIRST_PARTS = {
    "ActivationLogger": "activations",
    "EmbeddingProjectorLogger": "embedding",
    "FilterLogger": "filters",
    "TopPatchesLogger": "patches",
}

PROGRAM = """
import sys
from pytorch_lightning.cli import LightningCLI
import pytorch_lightning as pl
from tests.support import Lit, loader

class Data(pl.LightningDataModule):
    def train_dataloader(self): return loader()
    def val_dataloader(self): return loader()

class Model(Lit):
    def __init__(self, width: int = 1): super().__init__()

LightningCLI(Model, Data, args=sys.argv[1:])
"""

BASE = ["fit", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]


def cli(folder, *presets, options=()):
    configs = [f"--config={ROOT / 'callbacks' / preset}" for preset in presets]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, *BASE, f"--trainer.default_root_dir={folder}", *configs, *options],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "lightning_logs/version_0"


def test_there_is_one_for_each_callback_and_one_for_all():
    attached = {preset: attaches(preset) for preset in PRESETS}
    assert sorted(attached.pop("all.yaml")) == sorted(callback.__name__ for callback in CALLBACKS)
    assert sorted(sum(attached.values(), [])) == sorted(callback.__name__ for callback in CALLBACKS)


def attaches(preset):
    callbacks = yaml.safe_load((ROOT / "callbacks" / preset).read_text())["trainer"]["callbacks+"]
    return [callback["class_path"].removeprefix("lightning_viz.") for callback in callbacks]


@pytest.mark.parametrize("preset", PRESETS)
def test_options_in_a_preset_are_the_defaults(preset):
    for callback in yaml.safe_load((ROOT / "callbacks" / preset).read_text())["trainer"]["callbacks+"]:
        kind = getattr(lightning_viz, callback["class_path"].rpartition(".")[2])
        for name, value in callback.get("init_args", {}).items():
            assert getattr(kind(), name) == value, name


@pytest.mark.parametrize("preset", PRESETS)
def test_draws(preset, tmp_path):
    run = cli(tmp_path, preset)
    drawn = {tag.partition("/")[0] for tag in Events(run).image_tags}
    assert drawn == {FIRST_PARTS.get(name, name.removesuffix("Logger").lower()) for name in attaches(preset)}


def test_presets_add_up_take_overrides_and_are_written_back(tmp_path):
    options = ["--trainer.callbacks.max_images=3", "--trainer.callbacks.target=label"]
    run = cli(tmp_path, "saliency.yaml", "gradcam.yaml", options=options)
    saved = yaml.safe_load((run / "config.yaml").read_text())["trainer"]["callbacks"]
    assert [one["class_path"] for one in saved] == ["lightning_viz.SaliencyLogger", "lightning_viz.GradCAMLogger"]
    assert (saved[0]["init_args"]["max_images"], saved[1]["init_args"]["max_images"]) == (8, 3)
    assert saved[1]["init_args"]["target"] == "label"
    again = cli(
        tmp_path / "again",
        options=[f"--config={run / 'config.yaml'}", f"--trainer.default_root_dir={tmp_path / 'again'}"],
    )
    assert Events(again).image_tags == Events(run).image_tags
