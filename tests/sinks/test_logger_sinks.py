"""The same pictures in every logger that takes any, with the real packages."""

import io
import re
from collections import defaultdict

import fsspec
import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from lightning_viz import EmbeddingProjectorLogger, FilterLogger, SaliencyLogger

from ..support import Events, Lit, loader, trainer

STEPS = [0, 3, 7]


def fit(folder, logger, *callbacks):
    callbacks = callbacks or (FilterLogger(on_error="raise"), SaliencyLogger(on_error="raise"))
    torch.manual_seed(0)
    run = trainer(folder, callbacks, logger=logger, default_root_dir=folder)
    run.fit(Lit(), loader(), loader())


def pixels(encoded):
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


def pictures(events):
    """By tag and step."""
    return {
        (tag, step): pixels(encoded)
        for tag in events.image_tags
        for step, encoded in zip(events.image_steps(tag), events.pictures(tag), strict=True)
    }


def same(one, other):
    assert one.keys() == other.keys()
    for key, picture in one.items():
        np.testing.assert_array_equal(picture, other[key], str(key))


@pytest.fixture
def reference(tmp_path):
    """What TensorBoard gets, from a logger that writes beside the one that is looked at."""
    return TensorBoardLogger(tmp_path / "tensorboard")


def shown(reference):
    events = Events(reference.log_dir)
    assert {step for tag in events.image_tags for step in events.image_steps(tag)} == set(STEPS)
    return pictures(events), events.scalars("filters/network.0/relative_change")


def test_wandb(tmp_path, reference, monkeypatch):
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("WANDB_SILENT", "true")
    logger = WandbLogger(save_dir=tmp_path, offline=True)
    fit(tmp_path, [reference, logger])
    expected, changes = shown(reference)
    summary, folder = logger.experiment.summary, tmp_path / "wandb"
    assert summary["filters/network.0/relative_change"] == pytest.approx(changes[-1])
    assert summary["saliency/gradient"]["count"] == 1
    assert summary["trainer/global_step"] == STEPS[-1]
    logger.experiment.finish()
    (media,) = folder.glob("offline-run-*/files/media/images")
    found = defaultdict(dict)
    for path in media.rglob("*.png"):
        tag, order = re.fullmatch(r"(.+)_(\d+)_[0-9a-f]+\.png", str(path.relative_to(media))).groups()
        found[tag][int(order)] = pixels(path.read_bytes())
    same(
        {(tag, step): one[order] for tag, one in found.items() for step, order in zip(STEPS, sorted(one), strict=True)},
        expected,
    )


def test_mlflow(tmp_path, reference, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    logger = MLFlowLogger(tracking_uri=f"file://{tmp_path}/mlruns")
    fit(tmp_path, [reference, logger], FilterLogger(tag="a:b<c>"), SaliencyLogger())
    expected = pictures(Events(reference.log_dir))
    history = logger.experiment.get_metric_history(logger.run_id, "a_b_c_/network.0/relative_change")
    assert [metric.step for metric in history] == STEPS
    found = {}
    for path in tmp_path.glob("mlruns/*/*/artifacts/images/*.png"):
        tag, step = re.match(r"(.+)\+step\+(\d+)\+", path.name).groups()
        found[tag.replace("~", "/"), int(step)] = pixels(path.read_bytes())
    same(found, {(tag.replace("a:b<c>", "a_b_c_"), step): one for (tag, step), one in expected.items()})


def test_files_beside_the_csv(tmp_path, reference):
    logger = CSVLogger(tmp_path)
    fit(tmp_path, [reference])
    fit(tmp_path, [logger])
    expected, changes = shown(reference)
    folder = tmp_path / "lightning_logs/version_0"
    files = [path for path in (folder / "pictures").rglob("*") if path.is_file()]
    found = {path.relative_to(folder / "pictures"): pixels(path.read_bytes()) for path in files}
    same({(str(path.parent), int(path.stem)): one for path, one in found.items()}, expected)
    header, *rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    column = header.index("filters/network.0/relative_change")
    assert [float(row[column]) for row in rows if row[column]] == pytest.approx(changes)


def test_no_files_where_another_logger_shows_the_pictures(tmp_path, reference):
    fit(tmp_path, [CSVLogger(tmp_path), reference])
    assert Events(reference.log_dir).image_tags
    assert not list(tmp_path.rglob("pictures"))


def test_names_of_strangers_stay_in_the_folder(tmp_path):
    fit(tmp_path, CSVLogger(tmp_path / "inside"), SaliencyLogger(tag="../../../<b>\0", on_error="raise"))
    assert len(list((tmp_path / "inside/lightning_logs/version_0/pictures").rglob("*.png"))) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]


class Silent(Logger):
    """Takes metrics alone."""

    name, version = "silent", 0

    def log_metrics(self, metrics, step=None): ...

    def log_hyperparams(self, params, *args, **kwargs): ...


def test_a_logger_without_pictures_gets_one_warning(tmp_path, our_warnings):
    fit(tmp_path, Silent())
    (warning,) = our_warnings()
    assert "Silent takes no pictures" in warning
    assert "TensorBoardLogger" in warning


@pytest.fixture
def memory():
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


def test_tensorboard_on_a_remote_disk(tmp_path, reference, memory, our_warnings):
    fit(tmp_path, reference)
    same(*(pictures(Events(one.log_dir)) for one in (fit_remotely(tmp_path), reference)))
    (warning,) = our_warnings()
    assert "Projector" in warning


def fit_remotely(folder):
    logger = TensorBoardLogger("memory://logs")
    fit(folder, logger, FilterLogger(on_error="raise"), SaliencyLogger(on_error="raise"))
    fit(folder, TensorBoardLogger("memory://logs"), EmbeddingProjectorLogger(on_error="raise"))
    assert Events("memory://logs/lightning_logs/version_1").image_tags
    return logger


def test_files_on_a_remote_disk(tmp_path, memory):
    fit(tmp_path, CSVLogger("memory://logs"))
    found = [name for name in memory.find("/logs") if name.endswith(".png")]
    assert len(found) == 18
    assert pixels(memory.cat_file(found[0])).ndim == 3
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("save_dir", "options", "where"),
    [
        ("file://{}", {"name": "run"}, "run/version_0"),
        ("{}", {"sub_dir": "inner", "version": "mine"}, "lightning_logs/mine/inner"),
        ("{}", {"name": None, "version": ""}, "."),
    ],
    ids=["file://", "sub_dir and version", "no name"],
)
def test_folders_of_tensorboard(save_dir, options, where, tmp_path):
    logger = TensorBoardLogger(save_dir.format(tmp_path), **options)
    fit(tmp_path, logger, EmbeddingProjectorLogger(on_error="raise"))
    assert Events(tmp_path / where).image_tags
    assert list((tmp_path / where).glob("projector-*/*.pbtxt"))
