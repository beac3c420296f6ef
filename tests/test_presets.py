"""The presets and LightningCLI, in one process of their own."""

import inspect
import json

import pytest
import yaml

import lightning_viz
from lightning_viz import VizCallback, viz_callbacks

from .processes import ROOT, run_python
from .support import CALLBACKS, Events, options_of

FILES = {path.name: path for path in sorted((ROOT / "callbacks").glob("*.yaml"))}
PRESETS = [*FILES]
NAMES = sorted(callback.__name__ for callback in CALLBACKS)

#: Of the tags, where not the name.
FIRST_PARTS = {
    "ActivationLogger": "activations",
    "ClassSynthesisLogger": "synthesis",
    "EmbeddingProjectorLogger": "embedding",
    "FilterLogger": "filters",
    "TopPatchesLogger": "patches",
}

PROGRAM = """
import contextlib, io, json, sys
from pytorch_lightning.cli import LightningCLI
import pytorch_lightning as pl
from tests.support import Lit, loader

class Data(pl.LightningDataModule):
    def train_dataloader(self): return loader()
    def val_dataloader(self): return loader()

class Model(Lit):
    def __init__(self, width: int = 1): super().__init__()

def run(arguments):
    code, out, err = 0, io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            LightningCLI(Model, Data, args=arguments)
        except SystemExit as end:
            code = end.code
    return {"code": code, "out": out.getvalue(), "err": err.getvalue()}

print(json.dumps({name: run(arguments) for name, arguments in json.loads(sys.argv[1]).items()}))
"""

QUIET = ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
BASE = ["fit", "--trainer.max_epochs=1", "--trainer.limit_train_batches=1", *QUIET]
OVERRIDES = ["--trainer.callbacks.max_images=3", "--trainer.callbacks.target=label"]
MISSPELT = {
    "trainer": {"callbacks+": [{"class_path": "lightning_viz.FilterLogger", "init_args": {"max_overhed": 0.1}}]}
}


def callbacks_in(text):
    """What a preset or a saved configuration attaches: class paths and arguments."""
    trainer = yaml.safe_load(text)["trainer"]
    return trainer.get("callbacks+") or trainer["callbacks"]


def attaches(preset):
    return [one["class_path"].removeprefix("lightning_viz.") for one in callbacks_in(FILES[preset].read_text())]


def unlimited(preset, folder):
    """The preset's file; a copy without its budget, if it has one: in a short run that would leave out what is expensive."""
    callbacks = callbacks_in(FILES[preset].read_text())
    budgets = [one.get("init_args", {}).pop("max_overhead", None) for one in callbacks]
    if not any(budgets):
        return FILES[preset]
    (copy := folder / preset).write_text(yaml.safe_dump({"trainer": {"callbacks+": callbacks}}))
    return copy


def saved(folder):
    return folder / "lightning_logs/version_0/config.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("presets")


@pytest.fixture(scope="module")
def runs(folder):
    """All runs of the CLI, one after the other in one process: the exit code and what was printed, by name."""

    def fit(name, *configs):
        return [*BASE, *(f"--config={one}" for one in configs), f"--trainer.default_root_dir={folder / name}"]

    (misspelt := folder / "misspelt.yaml").write_text(yaml.safe_dump(MISSPELT))
    (configs := folder / "configs").mkdir()
    every = FILES["all.yaml"]
    arguments = {
        **{preset: fit(preset, unlimited(preset, configs)) for preset in PRESETS},
        "first": [*fit("first", FILES["saliency.yaml"], FILES["gradcam.yaml"]), *OVERRIDES],
        "again": fit("again", saved(folder / "first")),
        "print": ["fit", f"--config={every}", "--print_config"],
        "print what was saved": ["fit", f"--config={saved(folder / 'all.yaml')}", "--print_config"],
        "help": ["fit", "--trainer.callbacks.help=lightning_viz.FilterLogger"],
        "misspelt": fit("misspelt", misspelt),
    }
    return json.loads(run_python("-c", PROGRAM, json.dumps(arguments)).stdout.splitlines()[-1])


def succeeded(run):
    assert run["code"] == 0, run["err"][-3000:]
    return run["out"]


# The files.


def test_there_is_one_for_each_callback_and_one_for_all():
    attached = {preset: attaches(preset) for preset in PRESETS}
    assert sorted(attached.pop("all.yaml")) == NAMES
    assert sorted(sum(attached.values(), [])) == NAMES


@pytest.mark.parametrize("preset", sorted({*PRESETS} - {"all.yaml"}))
def test_options_in_a_preset_are_the_defaults(preset):
    for callback in callbacks_in(FILES[preset].read_text()):
        kind = getattr(lightning_viz, callback["class_path"].rpartition(".")[2])
        for name, value in callback.get("init_args", {}).items():
            assert getattr(kind(), name) == value, name


def test_the_preset_of_all_is_viz_callbacks():
    """The same callbacks in the same order, with the same options and the same budget."""

    callbacks = callbacks_in(FILES["all.yaml"].read_text())
    kinds = [getattr(lightning_viz, one["class_path"].rpartition(".")[2]) for one in callbacks]
    made = [kind(**one.get("init_args", {})) for kind, one in zip(kinds, callbacks, strict=True)]
    assert [*map(options_of, made)] == [*map(options_of, viz_callbacks())]


# With LightningCLI.


@pytest.mark.parametrize("preset", PRESETS)
def test_draws(preset, runs, folder):
    succeeded(runs[preset])
    drawn = {tag.partition("/")[0] for tag in Events(folder / preset / "lightning_logs/version_0").image_tags}
    assert drawn == {FIRST_PARTS.get(name, name.removesuffix("Logger").lower()) for name in attaches(preset)}


def test_presets_add_up_take_overrides_and_are_written_back(runs, folder):
    succeeded(runs["first"])
    first, second = callbacks_in(saved(folder / "first").read_text())
    assert [one["class_path"] for one in (first, second)] == [
        "lightning_viz.SaliencyLogger",
        "lightning_viz.GradCAMLogger",
    ]
    assert (first["init_args"]["max_images"], second["init_args"]["max_images"]) == (8, 3)
    assert second["init_args"]["target"] == "label"


def test_what_the_cli_has_saved_trains_again(runs, folder):
    succeeded(runs["again"])
    first, again = (Events(saved(folder / name).parent) for name in ("first", "again"))
    assert again.image_tags == first.image_tags
    assert callbacks_in(saved(folder / "again").read_text()) == callbacks_in(saved(folder / "first").read_text())


def test_what_the_cli_has_saved_of_all_callbacks_can_be_read_back(runs, folder):
    written = callbacks_in(saved(folder / "all.yaml").read_text())
    assert callbacks_in(succeeded(runs["print what was saved"])) == written
    assert len(written) == len(CALLBACKS)


def test_the_cli_knows_every_option_of_every_callback(runs):
    printed = {one["class_path"].rpartition(".")[2]: one["init_args"] for one in callbacks_in(succeeded(runs["print"]))}
    assert sorted(printed) == NAMES
    common = {name for name, one in inspect.signature(VizCallback).parameters.items() if one.kind is one.KEYWORD_ONLY}
    assert {"max_overhead", "every_n_train_steps", "forward", "unpack", "on_error"} <= common
    for callback in CALLBACKS:
        options = printed[callback.__name__]
        assert options.keys() == inspect.signature(callback).parameters.keys()
        assert options.keys() > common


def test_the_help_of_the_cli_describes_every_option(runs):
    text = succeeded(runs["help"])
    for name in inspect.signature(lightning_viz.FilterLogger).parameters:
        assert f"--trainer.callbacks.{name} " in text
    assert "the fraction of the fit's time" in " ".join(text.split())


def test_a_misspelt_option_is_refused_before_anything_runs(runs, folder):
    assert runs["misspelt"]["code"] != 0
    assert "max_overhed" in runs["misspelt"]["err"]
    assert not (folder / "misspelt").exists()
