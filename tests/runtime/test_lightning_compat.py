"""Either Lightning, and both, each in a process of its own."""

import json

import pytest

from ..processes import run_python
from ..support import SUITE, Events
from ..test_presets import unlimited

PROGRAM = """
import json, sys
from importlib import import_module
import torch

names, folder, preset = sys.argv[1].split(), sys.argv[2], sys.argv[3]

def program(pl):
    class Model(pl.LightningModule):
        def __init__(self, width: int = 6):
            super().__init__()
            layers = [torch.nn.Conv2d(3, width, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()]
            self.network = torch.nn.Sequential(*layers, torch.nn.Linear(width, 4))
        def forward(self, images):
            return self.network(images)
        def training_step(self, batch, index):
            return torch.nn.functional.cross_entropy(self(batch[0]), batch[1])
        def validation_step(self, batch, index):
            self(batch[0])
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    class Data(pl.LightningDataModule):
        def train_dataloader(self):
            images = torch.rand(12, 3, 12, 12, generator=torch.Generator().manual_seed(0))
            return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images, torch.arange(12) % 4), 6)
        val_dataloader = train_dataloader

    return Model, Data

found = {}
for name in names:
    pl = import_module(name)
    from lightning_viz import FilterLogger
    cli = import_module(f"{name}.cli").LightningCLI(*program(pl), args=[
        "fit", f"--config={preset}", "--trainer.max_epochs=1", "--trainer.accelerator=cpu",
        f"--trainer.default_root_dir={folder}/{name}", "--trainer.enable_progress_bar=false",
    ])
    ours = [one for one in cli.trainer.callbacks if type(one).__module__.startswith("lightning_viz.")]
    single = pl.Trainer(callbacks=FilterLogger(), logger=False, enable_checkpointing=False)  # not in a list
    found[name] = {
        "count": len(ours),
        "instances": all(isinstance(one, pl.Callback) for one in [*ours, *single.callbacks]),
        "loaded": [one for one in ("pytorch_lightning", "lightning.pytorch") if one in sys.modules],
    }
print(json.dumps(found))
"""

PACKAGES = "pytorch_lightning", "lightning.pytorch"


@pytest.mark.parametrize("names", [PACKAGES, PACKAGES[::-1]], ids=lambda names: f"{names[0]} first")
def test_either_alone_then_both(names, tmp_path):
    """The CLI of each parses, makes and runs all callbacks; the second is imported when the first has run."""
    preset = unlimited("all.yaml", tmp_path)
    done = run_python("-c", PROGRAM, " ".join(names), tmp_path, preset)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found[names[0]]["loaded"] == [names[0]]
    for name in names:
        assert found[name]["count"] == len(SUITE)
        assert found[name]["instances"]
        tags = Events(tmp_path / name / "lightning_logs/version_0").image_tags
        assert {tag.partition("/")[0] for tag in tags} == SUITE
