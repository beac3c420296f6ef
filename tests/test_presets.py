"""The presets, with a real LightningCLI in a process of its own."""

import json
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
    "ClassSynthesisLogger": "synthesis",
    "EmbeddingProjectorLogger": "embedding",
    "FilterLogger": "filters",
    "TopPatchesLogger": "patches",
}

PROGRAM = """
import json, sys
from pytorch_lightning.cli import LightningCLI
import pytorch_lightning as pl
from tests.support import Lit, loader

class Data(pl.LightningDataModule):
    def train_dataloader(self): return loader()
    def val_dataloader(self): return loader()

class Model(Lit):
    def __init__(self, width: int = 1): super().__init__()

for arguments in json.loads(sys.argv[1]):
    LightningCLI(Model, Data, args=arguments)
"""

BASE = ["fit", "--trainer.max_epochs=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]


def cli(folder, *presets, options=()):
    """The arguments of a run, whose files are to be in `folder`."""
    configs = [f"--config={ROOT / 'callbacks' / preset}" for preset in presets]
    return [*BASE, f"--trainer.default_root_dir={folder}", *configs, *options]


def run(*arguments):
    """Run these, one after the other."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(arguments)],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """With a run of each preset, under its name."""
    folder = tmp_path_factory.mktemp("presets")
    run(*(cli(folder / preset, preset) for preset in PRESETS))
    return folder


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
def test_draws(preset, folder):
    drawn = {tag.partition("/")[0] for tag in Events(folder / preset / "lightning_logs/version_0").image_tags}
    assert drawn == {FIRST_PARTS.get(name, name.removesuffix("Logger").lower()) for name in attaches(preset)}


def test_presets_add_up_take_overrides_and_are_written_back(tmp_path):
    options = ["--trainer.callbacks.max_images=3", "--trainer.callbacks.target=label"]
    first, again = (tmp_path / name / "lightning_logs/version_0" for name in ("first", "again"))
    run(
        cli(tmp_path / "first", "saliency.yaml", "gradcam.yaml", options=options),
        [*BASE, f"--config={first / 'config.yaml'}", f"--trainer.default_root_dir={tmp_path / 'again'}"],
    )
    saved = yaml.safe_load((first / "config.yaml").read_text())["trainer"]["callbacks"]
    assert [one["class_path"] for one in saved] == ["lightning_viz.SaliencyLogger", "lightning_viz.GradCAMLogger"]
    assert (saved[0]["init_args"]["max_images"], saved[1]["init_args"]["max_images"]) == (8, 3)
    assert saved[1]["init_args"]["target"] == "label"
    assert Events(again).image_tags == Events(first).image_tags
