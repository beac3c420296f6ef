import subprocess
import sys

import pytest

import lightning_viz


def modules_after(program):
    code = f"import sys\n{program}\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_import_loads_nothing_heavy():
    loaded = modules_after("import lightning_viz")
    assert not loaded & {"torch", "pytorch_lightning", "matplotlib", "sklearn", "tensorboard", "PIL"}


def test_callbacks_load_nothing_that_lightning_did_not():
    """Lightning itself loads matplotlib, through torchmetrics."""
    before = modules_after("import pytorch_lightning")
    added = modules_after("import pytorch_lightning\nfrom lightning_viz import *") - before
    heavy = {"lightning", "matplotlib", "mlflow", "sklearn", "tensorboard", "torchvision", "wandb"}
    assert not {name.partition(".")[0] for name in added} & heavy


def test_methods_need_no_lightning():
    loaded = modules_after("from lightning_viz.methods import *")
    assert not loaded & {"pytorch_lightning", "matplotlib", "sklearn", "tensorboard", "PIL"}


def test_every_public_name_is_there():
    for name in lightning_viz.__all__:
        assert name in dir(lightning_viz)
        assert getattr(lightning_viz, name).__name__ == name


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        lightning_viz.Nope  # noqa: B018
