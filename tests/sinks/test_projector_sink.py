import multiprocessing
import os
import re
import signal
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import tensorboard.summary.writer.event_file_writer  # noqa: F401 - before processes are forked
from PIL import Image

from lightning_viz.render.film_strip import thin
from lightning_viz.sinks.projector_sink import ProjectorSink
from lightning_viz.sinks.snapshot import Snapshot

from .projector_backend import ProjectorBackend

Image.preinit()  # before processes are forked, too

HOSTILE = [
    "tab\tbetween",
    "line\nbreak\r\nand\rmore",
    "<script>alert(1)</script>",
    "a & b = c # d + e % f",
    "..",
    "../../outside",
    "/absolute",
    "🐱 猫",
    "",
    " ",
    "\t",
    "\u2028",
    "\0",
    "nul\0within",
    "\ud800 alone",
    "turned \u202e around",
    "x" * 5000,
    "network.fc:0",
    "~",
]


def snapshot(step, count=6, dimensions=4, seed=None, **changes):
    random = np.random.default_rng(step if seed is None else seed)
    values = dict(
        embeddings={"network.fc": random.standard_normal((count, dimensions), np.float32)},
        metadata={
            "class": [f"class {number % 3}" for number in range(count)],
            "loss": [f"{number / 10}" for number in range(count)],
        },
        thumbnails=np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8),
    )
    return Snapshot(step, **{**values, **changes})


def run_of(folder):
    (run,) = (path for path in folder.iterdir() if path.is_dir())
    return run


def files(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in run_of(folder).iterdir()}


def steps(backend):
    return [int(name.split()[1]) for name in backend.embeddings]


# What TensorBoard reads


def test_tensorboard_reads_what_was_written(tmp_path):
    written = snapshot(12, count=7, dimensions=5)
    ProjectorSink(tmp_path).write(written)
    backend, name = ProjectorBackend(tmp_path), "step 000012 · network.fc"
    assert backend.runs == ["projector-12"]
    assert list(backend.embeddings) == [name]
    np.testing.assert_allclose(backend.tensor(name), written.embeddings["network.fc"], rtol=2e-5)
    rows = [f"{label}\t{loss}" for label, loss in zip(*written.metadata.values(), strict=True)]
    assert backend.lines(name) == ["class\tloss", *rows]
    assert backend.embeddings[name]["sprite"]["singleImageDim"] == [8, 8]
    np.testing.assert_array_equal(backend.sprite(name)[8:16, 16:24, :3], written.thumbnails[5])


def test_all_numbers_but_the_first_are_written_exactly(tmp_path):
    written = snapshot(0, count=50, dimensions=9)
    ProjectorSink(tmp_path).write(written)
    found = ProjectorBackend(tmp_path).tensor("step 000000 · network.fc").ravel()
    np.testing.assert_array_equal(found[1:], written.embeddings["network.fc"].ravel()[1:])


TEXTS = {
    "zeros": np.zeros((5, 4)),
    "twos": np.full((5, 4), 2.0),
    "numbers": np.frombuffer(b"1.5\n" * 20, np.float32).reshape(5, 4),
    "letters": np.frombuffer("äö".encode() * 20, np.float32).reshape(5, 4),
}


@pytest.mark.parametrize("values", TEXTS.values(), ids=TEXTS)
def test_numbers_whose_bytes_are_valid_text_are_read_as_numbers(tmp_path, values):
    ProjectorSink(tmp_path).write(snapshot(0, embeddings={"fc": values}, metadata={}, thumbnails=None))
    np.testing.assert_allclose(ProjectorBackend(tmp_path).tensor("step 000000 · fc"), values, rtol=2e-5, atol=1e-40)


@pytest.mark.parametrize("dimensions", [1, 2])
def test_one_and_two_dimensions_are_shown_in_three(tmp_path, dimensions):
    written = snapshot(0, dimensions=dimensions)
    ProjectorSink(tmp_path).write(written)
    found = ProjectorBackend(tmp_path).tensor("step 000000 · network.fc")
    np.testing.assert_allclose(found[:, :dimensions], written.embeddings["network.fc"], rtol=2e-5)
    assert not found[:, dimensions:].any()
    assert found.shape[1] == 3


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_and_any_order_in_memory(tmp_path, dtype):
    values = np.asfortranarray(np.random.default_rng(0).standard_normal((6, 4)).astype(dtype))
    ProjectorSink(tmp_path).write(snapshot(0, embeddings={"fc": values}))
    np.testing.assert_allclose(ProjectorBackend(tmp_path).tensor("step 000000 · fc"), values, rtol=2e-5)


def test_one_column_has_no_header(tmp_path):
    ProjectorSink(tmp_path).write(snapshot(0, count=3, metadata={"class": ["a", "b", "c"]}))
    assert ProjectorBackend(tmp_path).lines("step 000000 · network.fc") == ["a", "b", "c"]


def test_without_metadata_points_have_their_index_and_without_thumbnails_no_sprite(tmp_path):
    ProjectorSink(tmp_path).write(snapshot(0, count=3, metadata={}, thumbnails=None))
    backend, name = ProjectorBackend(tmp_path), "step 000000 · network.fc"
    assert backend.lines(name) == ["0", "1", "2"]
    assert "sprite" not in backend.embeddings[name]


def test_names_sort_by_step(tmp_path):
    sink = ProjectorSink(tmp_path)
    for step in (5, 999_999, 20_000_000):
        values = snapshot(step).embeddings["network.fc"]
        sink.write(snapshot(step, embeddings={"fc": values, "fc, principal components": values}))
    names = list(ProjectorBackend(tmp_path).embeddings)
    assert names == sorted(names)
    assert names[::2] == ["step 00000005 · fc", "step 00999999 · fc", "step 20000000 · fc"]


# One run directory


def test_a_running_tensorboard_sees_each_snapshot(tmp_path):
    sink = ProjectorSink(tmp_path)
    sink.write(snapshot(0))
    backend = ProjectorBackend(tmp_path)
    assert (backend.runs, steps(backend)) == (["projector-0"], [0])
    for step, run, expected in [
        (12, "projector-12", [0, 12]),
        (13, "projector-13", [0, 12, 13]),
        (13, "projector-13.2", [0, 12, 13]),
        (12, "projector-12", [0, 12]),
    ]:
        written = snapshot(step, seed=len(run))
        sink.write(written)
        backend.reload()
        assert (backend.runs, steps(backend)) == ([run], expected)
        found = backend.tensor(f"step {step:06d} · network.fc")
        np.testing.assert_allclose(found, written.embeddings["network.fc"], rtol=2e-5)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_resumed_run_is_continued_and_its_repeated_steps_are_replaced(tmp_path):
    before = [snapshot(step) for step in (0, 10, 20, 30)]
    for one in before:
        ProjectorSink(tmp_path).write(one)
    again = snapshot(20, seed=77)
    ProjectorSink(tmp_path).write(again)
    backend = ProjectorBackend(tmp_path)
    assert (backend.runs, steps(backend)) == (["projector-20"], [0, 10, 20])
    for step, one in ((0, before[0]), (10, before[1]), (20, again)):
        found = backend.tensor(f"step {step:06d} · network.fc")
        np.testing.assert_allclose(found, one.embeddings["network.fc"], rtol=2e-5)


@pytest.mark.parametrize("content", [b"", b"embeddings {", b"\xff\xfe"])
def test_a_corrupt_config_is_written_again(tmp_path, content):
    ProjectorSink(tmp_path).write(snapshot(0))
    (run_of(tmp_path) / "projector_config.pbtxt").write_bytes(content)
    ProjectorSink(tmp_path).write(snapshot(1))
    assert steps(ProjectorBackend(tmp_path)) == [1]


@pytest.mark.parametrize(
    ("kind", "damage"), [("tensor", "remove"), ("tensor", "cut"), ("metadata", "remove"), ("sprite", "remove")]
)
def test_entries_that_lack_a_file_are_left_out(tmp_path, kind, damage):
    ProjectorSink(tmp_path).write(snapshot(0))
    (path,) = run_of(tmp_path).glob(f"{kind}-*")
    path.unlink() if damage == "remove" else path.write_bytes(path.read_bytes()[:-4])
    values = {"metadata": {"class": list("abcdef")}, "thumbnails": None}
    ProjectorSink(tmp_path).write(snapshot(1, **values))
    assert steps(ProjectorBackend(tmp_path)) == [1]


def test_a_config_cannot_lead_the_sink_outside(tmp_path):
    secret = tmp_path / "tensor-000000000000000000000000.bytes"
    secret.write_bytes(bytes(96))
    sink = ProjectorSink(tmp_path / "log")
    sink.write(snapshot(0))
    config = run_of(tmp_path / "log") / "projector_config.pbtxt"
    config.write_text(re.sub(r'tensor_path: "', 'tensor_path: "../../', config.read_text()))
    sink.write(snapshot(1))
    assert steps(ProjectorBackend(tmp_path / "log")) == [1]
    assert secret.read_bytes() == bytes(96)


def test_two_names_are_two_runs(tmp_path):
    for name in ("projector", "projector-1", "a/b", "a_b"):
        ProjectorSink(tmp_path, name).write(snapshot(3))
    assert len(ProjectorBackend(tmp_path).runs) == 4


def test_unchanged_files_are_not_written_again(tmp_path):
    sink = ProjectorSink(tmp_path)
    sink.write(snapshot(0))
    before = files(tmp_path)
    sink.write(snapshot(1))
    after = files(tmp_path)
    kept = {name for name in before if name.startswith(("sprite", "metadata", "tensor", "events"))}
    assert len(kept) == 4
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert len(after) == len(before) + 1


def test_max_snapshots_are_kept_evenly_spread_over_the_run(tmp_path):
    sink = ProjectorSink(tmp_path, max_snapshots=5)
    kept = ()
    for step in np.cumsum(np.random.default_rng(0).integers(1, 30, 25)).tolist():
        count = 3 + step % 3
        sink.write(snapshot(step, count=count))
        kept = thin([*kept, SimpleNamespace(step=step)], 5)
    backend = ProjectorBackend(tmp_path)
    assert steps(backend) == [frame.step for frame in kept]
    named = {entry[key] for entry in backend.embeddings.values() for key in ("tensorPath", "metadataPath")}
    named |= {entry["sprite"]["imagePath"] for entry in backend.embeddings.values()}
    others = set(files(tmp_path)) - named
    assert sorted(name.split(".")[0] for name in others) == ["events", "projector_config"]


def test_max_snapshots_of_one_keeps_the_newest(tmp_path):
    sink = ProjectorSink(tmp_path, max_snapshots=1)
    for step in range(3):
        sink.write(snapshot(step))
    assert steps(ProjectorBackend(tmp_path)) == [2]


def test_files_of_others_stay(tmp_path):
    sink = ProjectorSink(tmp_path)
    sink.write(snapshot(0))
    mine = run_of(tmp_path) / "tensor-mine.bytes"
    mine.write_text("mine")
    sink.write(snapshot(1))
    assert (run_of(tmp_path) / mine.name).read_text() == "mine"


# Names


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_no_name_breaks_the_metadata_or_leaves_the_folder(tmp_path, text):
    folder = tmp_path / "log"
    metadata = {"class": ["a", text, "b"], text: [text, text, "c"], "end": list("123")}
    sink = ProjectorSink(folder, text)
    for step in (1, 2):
        sink.write(snapshot(step, count=3, embeddings={text: np.ones((3, 2))}, metadata=metadata))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert len(list(folder.iterdir())) == 1
    backend = ProjectorBackend(folder)
    for name in backend.load_all():
        lines = [line.split("\t") for line in backend.lines(name)]
        assert [len(line) for line in lines] == [3, 3, 3, 3]
        assert [line[2] for line in lines] == ["end", "1", "2", "3"]
        assert all(0 < len(cell) <= 200 and cell.isprintable() for line in lines for cell in line)


def test_printable_names_are_unchanged(tmp_path):
    names = ["<b>bold & bright</b>", "Großer Kudu", "日本語 🐱", "a/b"]
    ProjectorSink(tmp_path).write(snapshot(0, count=4, metadata={"class": names}))
    assert ProjectorBackend(tmp_path).lines("step 000000 · network.fc") == names


def test_names_that_become_equal_get_a_number(tmp_path):
    values = {name: np.full((6, 2), number) for number, name in enumerate(("a:0", "a_0", "a#0"))}
    ProjectorSink(tmp_path).write(snapshot(0, embeddings={name: value + 0.1 for name, value in values.items()}))
    backend = ProjectorBackend(tmp_path)
    found = [backend.tensor(f"step 000000 · {name}")[1, 1] for name in ("a_0", "a_0 (2)", "a_0 (3)")]
    np.testing.assert_allclose(found, [0.1, 1.1, 2.1], rtol=1e-6)


# Errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"step": -1}, "step=-1 is negative; pass the trainer's global_step"),
        ({"embeddings": {}}, "at least one array"),
        ({"embeddings": {"fc": np.ones(6)}}, r"embeddings\['fc'\] has the shape \(6,\); pass \(N, D\)"),
        ({"embeddings": {"fc": np.ones((0, 6))}}, r"shape \(0, 6\); pass \(N, D\)"),
        ({"embeddings": {"fc": np.ones((6, 0))}}, r"shape \(6, 0\); pass \(N, D\)"),
        ({"embeddings": {"fc": np.ones((6, 4), int)}}, r"embeddings\['fc'\] holds int64; pass floating-point numbers"),
        ({"embeddings": {"fc": np.full((6, 4), np.nan)}}, r"embeddings\['fc'\] holds nan; pass finite"),
        ({"embeddings": {"fc": np.full((6, 4), -np.inf)}}, r"embeddings\['fc'\] holds inf; pass finite"),
        ({"embeddings": {"fc": np.full((6, 4), 1e300)}}, r"embeddings\['fc'\] holds 1e\+300; pass .* fit float32"),
        ({"embeddings": {"fc": np.ones((100_001, 1))}}, "100001 rows; TensorBoard shows at most 100000; pass a sample"),
        ({"embeddings": {"a": np.ones((6, 2)), "b": np.ones((5, 2))}}, r"\['b'\] has 5 rows, embeddings\['a'\] has 6"),
        (
            {"metadata": {"class": list("abcde")}},
            r"metadata\['class'\] has 5 rows, embeddings\['network.fc'\] has 6; pass one",
        ),
        ({"thumbnails": np.zeros((5, 8, 8, 3), np.uint8)}, "thumbnails has 5 rows, .* has 6; pass one row"),
        ({"thumbnails": np.zeros((6, 8, 8), np.uint8)}, r"thumbnails have the shape \(6, 8, 8\); pass \(N, h, w, 3\)"),
        ({"thumbnails": np.zeros((6, 0, 8, 3), np.uint8)}, r"shape \(6, 0, 8, 3\); pass"),
        ({"thumbnails": np.zeros((6, 8, 8, 3))}, "thumbnails hold float64; pass uint8, 0 to 255"),
    ],
)
def test_wrong_values_raise(changes, message):
    with pytest.raises(ValueError, match=message):
        snapshot(**{"step": 0, "seed": 0, **changes})


def test_a_wrong_number_of_snapshots_raises(tmp_path):
    with pytest.raises(ValueError, match="max_snapshots=0 must be 1 or more"):
        ProjectorSink(tmp_path, max_snapshots=0)


# Killed


def write_some(folder, first=0, count=6, dimensions=4, many=4, killed_at=None):
    """Four snapshots, of which two are kept; the process kills itself before that one of its file operations."""
    operations = 0

    def count_down(event, arguments):
        nonlocal operations
        if event in ("open", "os.mkdir", "os.rename", "os.remove") and str(folder) in str(arguments[0]):
            operations += 1
            if operations == killed_at:
                os.kill(os.getpid(), signal.SIGKILL)

    if killed_at is not None:
        sys.addaudithook(count_down)
    sink = ProjectorSink(folder, max_snapshots=2)
    for step in range(first, first + many):
        sink.write(snapshot(step, count=count + step % 2, dimensions=dimensions))


@pytest.fixture(scope="module")
def fresh_process():
    """Starts a function in a process of its own, quickly: forked from one that has imported this module."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])

    def start(work, *arguments, **options):
        process = context.Process(target=work, args=arguments, kwargs=options)
        process.start()
        return process

    return start


def test_files_can_be_loaded_after_a_kill_before_any_file_operation(tmp_path, fresh_process):
    seen = set()
    for killed_at in range(1, 200):
        folder = tmp_path / str(killed_at)
        folder.mkdir()
        process = fresh_process(write_some, folder, killed_at=killed_at)
        process.join()
        backend = ProjectorBackend(folder)
        seen.add(tuple(steps(backend)))
        backend.load_all()
        if any(folder.rglob("*.tfevents.*")):  # TensorBoard reads the config when it first sees the run
            assert any(folder.rglob("projector_config.pbtxt"))
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        ProjectorSink(folder, max_snapshots=2).write(snapshot(9))  # and the next one goes on
        backend = ProjectorBackend(folder)
        backend.load_all()
        assert steps(backend)[-1] == 9
        assert not list(folder.rglob("*.part"))
    assert killed_at > 30
    assert seen == {(), (0,), (0, 1), (0, 2), (0, 3)}


def test_files_can_be_loaded_after_a_kill_at_any_time(tmp_path, fresh_process):
    random = np.random.default_rng(0)
    for first in range(0, 4000, 100):
        process = fresh_process(write_some, tmp_path, first=first, count=2000, dimensions=128, many=100)
        while not any(int(name.split("-")[1]) >= first for name in os.listdir(tmp_path)):
            assert process.is_alive()
        time.sleep(random.uniform(0, 0.1))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        backend = ProjectorBackend(tmp_path)
        backend.load_all()
        assert max(steps(backend), default=0) >= first
        assert len(files(tmp_path)) < 15
