import io

import numpy as np
from PIL import Image

from lightning_viz.sinks.file_sink import FileSink


def test_pictures_are_files_by_tag_and_step_and_scalars_go_to_the_logger(tmp_path):
    scalars, picture = [], np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    sink = FileSink(lambda: str(tmp_path), lambda metrics, step: scalars.append((metrics, step)))
    sink.open()
    sink.image("saliency/gradient", picture, 7)
    sink.scalar("patches/purity", 0.5, 7)
    sink.flush()
    (file,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert file == tmp_path / "pictures/saliency/gradient/00000007.png"
    assert (np.asarray(Image.open(io.BytesIO(file.read_bytes()))) == picture).all()
    assert scalars == [({"patches/purity": 0.5}, 7)]
    assert sink.projector is None


def test_no_tag_leads_outside_the_folder(tmp_path):
    sink = FileSink(lambda: str(tmp_path / "log"), print)
    for tag in ("../../outside", "/absolute/x", "a\0b/c:d"):
        sink.image(tag, np.zeros((4, 4, 3), np.uint8), 0)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    assert all(path.resolve().is_relative_to(tmp_path / "log/pictures") for path in files)
