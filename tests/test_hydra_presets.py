"""The presets for Hydra, composed and instantiated as its users do."""

import re
import shutil

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

import lightning_viz
from lightning_viz import viz_callbacks
from lightning_viz.callbacks.suite import CALLBACKS

from .processes import ROOT
from .stub import data, tiny
from .support import Events, options_of

PRESETS = {path.stem: path for path in sorted((ROOT / "callbacks/hydra").glob("*.yaml"))}
README = (ROOT / "callbacks/README.md").read_text()

#: Besides the callbacks: a configuration of the template, made small.
TRAIN = """
defaults:
  - _self_
  - callbacks: default
trainer:
  _target_: pytorch_lightning.Trainer
  accelerator: cpu
  max_epochs: 2
  enable_progress_bar: false
  enable_model_summary: false
  default_root_dir: ${folder}
  logger:
    _target_: pytorch_lightning.loggers.TensorBoardLogger
    save_dir: ${folder}
    name: run
model:
  _target_: tests.stub.tiny
data:
  _target_: tests.test_hydra_presets.data_module
folder: ???
"""
CHECKPOINT = """
model_checkpoint:
  _target_: pytorch_lightning.callbacks.ModelCheckpoint
  dirpath: ${folder}/checkpoints
  save_last: true
"""


def data_module():
    import pytorch_lightning as pl

    return pl.LightningDataModule.from_datasets(data()[0].dataset, data()[1].dataset, batch_size=2)


def instantiate_callbacks(configs):
    """The lightning-hydra-template's, as it is."""
    callbacks = []
    if not configs:
        return callbacks
    if not isinstance(configs, DictConfig):
        raise TypeError("Callbacks config must be a DictConfig!")
    for _, config in configs.items():
        if isinstance(config, DictConfig) and "_target_" in config:
            callbacks.append(instantiate(config))
    return callbacks


def snippets(language):
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def configs(tmp_path):
    """The README's configurations, and the presets copied beside them."""
    group = tmp_path / "configs/callbacks"
    shutil.copytree(ROOT / "callbacks/hydra", group)
    (tmp_path / "configs/train.yaml").write_text(TRAIN)
    (group / "model_checkpoint.yaml").write_text(CHECKPOINT)
    for text in snippets("yaml"):
        (tmp_path / re.match(r"# (\S+)", text)[1]).write_text(text)
    return tmp_path / "configs"


def composed(configs, *overrides):
    with initialize_config_dir(str(configs), version_base="1.3"):
        return compose("train", [f"folder={configs.parent}", *overrides])


def drawn(configs):
    return {tag.partition("/")[0] for tag in Events(configs.parent / "run/version_0").image_tags}


def test_there_is_one_beside_each_for_lightning_cli():
    assert [*PRESETS] == sorted(path.stem for path in (ROOT / "callbacks").glob("*.yaml"))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_says_what_that_for_lightning_cli_says(preset):
    """The same callbacks, with the same options at the same values."""
    other = yaml.safe_load((ROOT / f"callbacks/{preset}.yaml").read_text())["trainer"]["callbacks+"]
    expected = [{"_target_": one["class_path"], **one.get("init_args", {})} for one in other]
    assert [*yaml.safe_load(PRESETS[preset].read_text()).values()] == expected


@pytest.mark.parametrize("preset", [one for one in PRESETS if one != "all"])
def test_an_attached_preset_is_the_callback_at_its_defaults(preset, configs):
    (made,) = instantiate_callbacks(composed(configs, f"callbacks={preset}").callbacks)
    assert options_of(made) == options_of(getattr(lightning_viz, type(made).__name__)())


@pytest.mark.parametrize("callbacks", ["all", "viz"])
def test_all_callbacks_are_those_of_viz_callbacks(callbacks, configs):
    overrides = [f"callbacks={callbacks}", *(["callbacks.viz.every_n_epochs=1"] if callbacks == "viz" else [])]
    found = instantiate_callbacks(composed(configs, *overrides).callbacks)
    made = found[0] if callbacks == "viz" else found
    assert [*map(options_of, made)] == [*map(options_of, viz_callbacks())]


def test_the_readmes_program_trains_with_the_readmes_configuration(configs):
    (program,) = snippets("python")
    names = {"__name__": "readme"}
    exec(program, names)
    names["main"].__wrapped__(composed(configs, "callbacks.saliency.max_images=2", "callbacks.gradcam.max_images=2"))
    assert drawn(configs) == {"saliency", "gradcam"}
    assert (configs.parent / "checkpoints/last.ckpt").exists()


def test_viz_callbacks_among_others_in_the_template_trains(configs):
    """Under one key, beside others: the list stands as one callback."""
    config = composed(configs, "callbacks=[model_checkpoint,viz]", "+callbacks.viz.max_images=2")
    callbacks = instantiate_callbacks(config.callbacks)
    assert len(callbacks) == 2
    trainer = instantiate(config.trainer, callbacks=callbacks)
    trainer.fit(tiny(), *data())
    assert [type(one) for one in trainer.callbacks if type(one) in CALLBACKS] == list(CALLBACKS)
    assert "filters" in drawn(configs)
    assert (configs.parent / "checkpoints/last.ckpt").exists()


def test_viz_callbacks_alone_may_be_the_trainers_list(configs):
    """As where `callbacks:` itself has the `_target_`."""
    config = OmegaConf.create({"callbacks": {"_target_": "lightning_viz.viz_callbacks", "history": 0}})
    trainer = instantiate(composed(configs).trainer, callbacks=instantiate(config.callbacks))
    assert [type(one) for one in trainer.callbacks if type(one) in CALLBACKS] == list(CALLBACKS)
