"""What an import loads, in a fresh process."""

import json

import pytest

import lightning_viz

from .processes import run_python

PROGRAM = """
import json, sys
loaded = {}
for name, line in json.loads(sys.argv[1]).items():
    exec(line)
    loaded[name] = sorted({name.partition(".")[0] for name in sys.modules})
print(json.dumps(loaded))
"""

STEPS = {
    "package": "import lightning_viz",
    "methods": "from lightning_viz.methods import *",
    "lightning": "import pytorch_lightning",
    "callbacks": "from lightning_viz import *",
}


@pytest.fixture(scope="module")
def loaded():
    """The packages that are loaded after each of these lines, one after the other in one process."""
    return {name: {*found} for name, found in json.loads(run_python("-c", PROGRAM, json.dumps(STEPS)).stdout).items()}


def test_import_loads_nothing_heavy(loaded):
    assert not loaded["package"] & {"torch", "pytorch_lightning", "matplotlib", "sklearn", "tensorboard", "PIL"}


def test_methods_need_no_lightning(loaded):
    heavy = {"lightning", "mlflow", "torchvision", "wandb"}
    assert not loaded["methods"] & {"pytorch_lightning", "matplotlib", "sklearn", "tensorboard", "PIL", *heavy}


def test_callbacks_load_nothing_that_lightning_did_not(loaded):
    """Lightning itself loads matplotlib, through torchmetrics."""
    heavy = {"lightning", "matplotlib", "mlflow", "sklearn", "tensorboard", "torchvision", "wandb"}
    assert not (loaded["callbacks"] - loaded["lightning"]) & heavy


def test_every_public_name_is_there():
    for name in lightning_viz.__all__:
        assert name in dir(lightning_viz)
        assert getattr(lightning_viz, name).__name__ == name


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'Nope'"):
        lightning_viz.Nope  # noqa: B018
