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


@pytest.fixture(scope="module")
def memory():
    """A remote disk, which goes with this process."""
    system = fsspec.filesystem("memory")
    yield system
    system.rm("/", recursive=True)


@pytest.fixture(scope="module")
def shared(tmp_path_factory, memory):
    """One run with every logger that shows pictures, and one that need not: its folder, and the loggers by name."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "CONFIG", "DATA"):
            patch.setenv(f"WANDB_{name}_DIR", str(folder / name))
        patch.setenv("WANDB_SILENT", "true")
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        loggers = {
            "tensorboard": TensorBoardLogger(folder / "tensorboard"),
            "wandb": WandbLogger(save_dir=folder, offline=True),
            "mlflow": MLFlowLogger(tracking_uri=f"file://{folder}/mlruns"),
            "remote": TensorBoardLogger("memory://shared"),
            "csv": CSVLogger(folder / "csv"),
        }
        callbacks = FilterLogger(on_error="raise"), SaliencyLogger(on_error="raise")
        fit(folder, [*loggers.values()], *callbacks, FilterLogger(tag="a:b<c>", on_error="raise"))
        yield folder, loggers
        loggers["wandb"].experiment.finish()


@pytest.fixture(scope="module")
def expected(shared):
    """What TensorBoard got: pictures by tag and step, and a series of numbers."""
    events = Events(shared[1]["tensorboard"].log_dir)
    assert {step for tag in events.image_tags for step in events.image_steps(tag)} == {*STEPS}
    assert {tag.partition("/")[0] for tag in events.image_tags} == {"filters", "saliency", "a:b<c>"}
    return pictures(events), events.scalars("filters/network.0/relative_change")


def test_wandb(shared, expected):
    folder, loggers = shared
    (images, changes), logger = expected, loggers["wandb"]
    summary = logger.experiment.summary
    assert summary["filters/network.0/relative_change"] == pytest.approx(changes[-1])
    assert summary["saliency/gradient"]["count"] == 1
    assert summary["trainer/global_step"] == STEPS[-1]
    logger.experiment.finish()
    (media,) = (folder / "wandb").glob("offline-run-*/files/media/images")
    found = defaultdict(dict)
    for path in media.rglob("*.png"):
        tag, order = re.fullmatch(r"(.+)_(\d+)_[0-9a-f]+\.png", str(path.relative_to(media))).groups()
        found[tag][int(order)] = pixels(path.read_bytes())
    written = {
        (tag, step): one[order] for tag, one in found.items() for step, order in zip(STEPS, sorted(one), strict=True)
    }
    same(
        {key: one for key, one in written.items() if key[0].startswith(("filters/", "saliency/"))},
        {key: one for key, one in images.items() if key[0].startswith(("filters/", "saliency/"))},
    )
    assert len(written) == len(images)


def test_mlflow(shared, expected):
    folder, loggers = shared
    history = loggers["mlflow"].experiment.get_metric_history(
        loggers["mlflow"].run_id, "a_b_c_/network.0/relative_change"
    )
    assert [metric.step for metric in history] == STEPS
    found = {}
    for path in folder.glob("mlruns/*/*/artifacts/images/*.png"):
        tag, step = re.match(r"(.+)\+step\+(\d+)\+", path.name).groups()
        found[tag.replace("~", "/"), int(step)] = pixels(path.read_bytes())
    same(found, {(tag.replace("a:b<c>", "a_b_c_"), step): one for (tag, step), one in expected[0].items()})


def test_tensorboard_on_a_remote_disk(shared, expected):
    same(pictures(Events(shared[1]["remote"].log_dir)), expected[0])


def test_no_files_where_another_logger_shows_the_pictures(shared, expected):
    assert expected[0]
    assert not list(shared[0].rglob("pictures"))


def test_the_projector_on_a_remote_disk_gets_one_warning(tmp_path, memory, our_warnings):
    fit(tmp_path, TensorBoardLogger("memory://projector"), EmbeddingProjectorLogger(on_error="raise"))
    assert Events("memory://projector/lightning_logs/version_0").image_tags
    (warning,) = our_warnings()
    assert "Projector" in warning


@pytest.fixture(scope="module")
def files(tmp_path_factory, memory):
    """The folder of a run with a CSVLogger alone, of one on a remote disk beside it."""
    folder = tmp_path_factory.mktemp("files")
    fit(folder, [CSVLogger(folder), CSVLogger("memory://files")])
    return folder


def test_files_beside_the_csv(files, expected):
    images, changes = expected
    folder = files / "lightning_logs/version_0"
    paths = [path for path in (folder / "pictures").rglob("*") if path.is_file()]
    found = {path.relative_to(folder / "pictures"): pixels(path.read_bytes()) for path in paths}
    kept = {key: one for key, one in images.items() if key[0].startswith(("filters/", "saliency/"))}
    same({(str(path.parent), int(path.stem)): one for path, one in found.items()}, kept)
    header, *rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    column = header.index("filters/network.0/relative_change")
    assert [float(row[column]) for row in rows if row[column]] == pytest.approx(changes)


def test_files_on_a_remote_disk(files, memory):
    found = [name for name in memory.find("/files") if name.endswith(".png")]
    assert len(found) == 18
    assert pixels(memory.cat_file(found[0])).ndim == 3
    assert [path.name for path in files.iterdir()] == ["lightning_logs"]


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
    assert "Silent cannot show pictures" in warning
    assert "TensorBoardLogger" in warning


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
