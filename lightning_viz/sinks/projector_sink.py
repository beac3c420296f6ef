"""Embeddings to files of TensorBoard's Projector: one run directory for all snapshots, complete at every moment."""

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .file_names import digest, safe_name
from .snapshot import Snapshot
from .sprite import encode_sprite, sprite_grid

if TYPE_CHECKING:  # TensorBoard loads slowly: only when something is written
    from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo

History = dict[int, list["EmbeddingInfo"]]  #: the config's entries by step

CONFIG = "projector_config.pbtxt"

#: Files of this sink, named by the hash of their content, hence never changed ("table" is the former name of "metadata").
_ASSET = re.compile(r"(tensor|metadata|table|sprite)-[0-9a-f]{24}\.(bytes|tsv|png)")
_ENTRY = re.compile(r"step (\d+) · (.+)")
#: Characters that break a line, shift a column, reverse the text, or cannot be encoded as UTF-8.
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")
#: Not allowed in names: the Projector puts names into URLs without escaping, and TensorBoard removes ":0".
_UNSAFE = re.compile(r"[&#+%:;]")


class ProjectorSink:
    """Writes snapshots to a run of their own, `<folder>/<name>-<step>`, which is renamed to the newest step.

    A running TensorBoard reads projector files again only if its set of runs changes: the new name makes it load the
    snapshot. An existing directory is continued; a resumed training replaces its snapshots from the resumed step on. Of
    more than `max_snapshots`, evenly spread ones stay. If the process is killed, TensorBoard can load what it leaves.

    Snapshots should be further apart than TensorBoard's `--reload_interval` (5 s). Its slow loader, used if
    tensorboard-data-server is missing, stops reloading if a run disappears while it is read.

    Raises ValueError if `max_snapshots` is less than 1.
    """

    def __init__(self, folder: Path | str, name: str = "projector", max_snapshots: int = 20) -> None:
        if max_snapshots < 1:
            raise ValueError(f"max_snapshots={max_snapshots} must be 1 or more")
        self._folder = Path(folder)
        self._name = safe_name(name)
        self._max_snapshots = max_snapshots

    def write(self, snapshot: Snapshot) -> None:
        """Add the snapshot to the run; it is on disk on return. Raises OSError if it cannot be written."""
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        before = self._run()
        run = before or self._free(snapshot.step)
        run.mkdir(parents=True, exist_ok=True)
        history = {step: entries for step, entries in _read(run).items() if step < snapshot.step}
        history[snapshot.step] = _store(run, snapshot)
        history = {step: history[step] for step in _thin(sorted(history), self._max_snapshots)}
        _replace(run / CONFIG, _config(history))
        if not any(path.stat().st_size for path in run.glob("*.tfevents.*")):
            EventFileWriter(str(run)).close()  # makes a run of it; last, since TensorBoard then reads the config
        if before:
            run = run.rename(self._free(snapshot.step))
        named = {name for entries in history.values() for entry in entries for name in _files(entry)}
        for path in run.iterdir():  # remove files that no entry names, also those that a killed process left
            if _ASSET.fullmatch(path.name.removesuffix(".part")) and path.name not in named and not path.is_dir():
                path.unlink()

    def _run(self) -> Path | None:
        """The directory of the run, that of the highest step if there are several; None if there is none."""
        pattern = re.compile(re.escape(self._name) + r"-(\d+)(?:\.\d+)?")
        found = [
            (int(match[1]), path)
            for path in (self._folder.iterdir() if self._folder.is_dir() else ())
            if (match := pattern.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()
        ]
        return max(found)[1] if found else None

    def _free(self, step: int) -> Path:
        """A path that does not exist: also a step that is written again needs a new name."""
        first = f"{self._name}-{step}"
        names = itertools.chain([first], (f"{first}.{number}" for number in itertools.count(2)))
        return next(path for name in names if not os.path.lexists(path := self._folder / name))


def _store(run: Path, snapshot: Snapshot) -> "list[EmbeddingInfo]":
    """Write the snapshot's files; its entries in the config."""
    from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo

    shared, thumbnails = EmbeddingInfo(), snapshot.thumbnails
    shared.metadata_path = _asset(run, "metadata", "tsv", _metadata(snapshot))
    if thumbnails is not None:
        shared.sprite.image_path = f"sprite-{digest(repr(thumbnails.shape).encode(), thumbnails.tobytes())}.png"
        shared.sprite.single_image_dim.extend([sprite_grid(*thumbnails.shape[:3])[1]] * 2)
        if not (sprite := run / shared.sprite.image_path).exists():  # named by its pixels: encoding takes long
            _replace(sprite, encode_sprite(thumbnails))
    entries = []
    titles = _distinct(_UNSAFE.sub("_", _one_line(name, 100)) for name in snapshot.embeddings)
    for title, embedding in zip(titles, snapshot.embeddings.values(), strict=True):
        tensor = _tensor(embedding)
        entry = EmbeddingInfo(tensor_path=_asset(run, "tensor", "bytes", tensor.tobytes()), tensor_shape=tensor.shape)
        entry.tensor_name = f"step {snapshot.step} · {title}"
        entry.MergeFrom(shared)
        entries.append(entry)
    return entries


def _tensor(embedding: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """A copy (N, max(D, 3)) that TensorBoard reads correctly.

    The Projector does not list one dimension, and does not draw two; columns of zeros change no distance. TensorBoard
    takes a file for text if its bytes are valid UTF-8, as those of round numbers can be: a first byte from 0x80 to 0xC1
    never is. It changes the first number by 128 units in the last place at most: a relative error of 2e-5.
    """
    tensor = np.zeros((len(embedding), max(embedding.shape[1], 3)), np.float32)
    tensor[:, : embedding.shape[1]] = embedding
    first = tensor.reshape(-1)[:1].view(np.uint8)[:1]
    np.clip(first, 0x80, 0xC1, out=first)
    return tensor


def _metadata(snapshot: Snapshot) -> bytes:
    """Tab-separated, one line per point. The last line ends, too: the Projector waits for it forever otherwise.

    Only several columns have a header: TensorBoard takes the first line of a single column for a point.
    """
    columns = snapshot.metadata or {"index": [str(index) for index in range(snapshot.count)]}
    lines = ["\t".join(map(_one_line, row)) for row in zip(*columns.values(), strict=True)]
    if len(columns) > 1:
        lines.insert(0, "\t".join(_distinct(map(_one_line, columns))))
    return "".join(f"{line}\n" for line in lines).encode()


def _one_line(text: str, max_length: int = 200) -> str:
    """The text in printable characters on one line; never empty, since the Projector skips empty lines."""
    text = _UNPRINTABLE.sub(" ", str(text)).strip()
    return (text if len(text) <= max_length else f"{text[: max_length - 1]}…") or "(empty)"


def _distinct(names: Iterable[str]) -> list[str]:
    """The names; a repeated one gets " (2)" and so on."""
    distinct: list[str] = []
    for name in names:
        choices = itertools.chain([name], (f"{name} ({number})" for number in itertools.count(2)))
        distinct.append(next(choice for choice in choices if choice not in distinct))
    return distinct


def _thin(steps: Sequence[int], count: int) -> list[int]:
    """At most `count` of the steps: the first, the last, and others spread evenly between."""
    remaining = list(steps)
    while len(remaining) > max(count, 2):
        gaps = [after - before for before, after in zip(remaining, remaining[2:], strict=False)]
        del remaining[1 + gaps.index(min(gaps))]
    return remaining[-count:]


def _config(history: History) -> bytes:
    """The config of all entries; steps are padded with zeros, so that names sort by step."""
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    digits = max(6, len(str(max(history))))
    config = ProjectorConfig()
    for step, entries in history.items():
        for entry in entries:
            entry.tensor_name = _ENTRY.sub(rf"step {step:0{digits}} · \2", entry.tensor_name)
            config.embeddings.append(entry)
    text: str = text_format.MessageToString(config, as_utf8=True)
    return text.encode()


def _read(run: Path) -> History:
    """The entries of the run's config, without those of others and those that lack a file."""
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    config, history = ProjectorConfig(), History()
    try:
        text_format.Parse((run / CONFIG).read_text("utf-8"), config)
    except (FileNotFoundError, UnicodeDecodeError, text_format.ParseError):
        return history
    for entry in config.embeddings:
        exist = all(_ASSET.fullmatch(name) and (run / name).is_file() for name in _files(entry))
        complete = exist and (run / entry.tensor_path).stat().st_size == 4 * np.prod(entry.tensor_shape)
        if complete and (match := _ENTRY.fullmatch(entry.tensor_name)):
            history.setdefault(int(match[1]), []).append(entry)
    return history


def _files(entry: "EmbeddingInfo") -> list[str]:
    return [entry.tensor_path, entry.metadata_path, *([entry.sprite.image_path] if entry.HasField("sprite") else [])]


def _asset(run: Path, kind: str, suffix: str, content: bytes) -> str:
    """Write a file named by the hash of its content, unless it exists; its name."""
    name = f"{kind}-{digest(content)}.{suffix}"
    if not (run / name).exists():
        _replace(run / name, content)
    return name


def _replace(path: Path, content: bytes) -> None:
    """Write the whole file or nothing. (`tempfile` would make it unreadable for other users of a shared disk.)"""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:  # frees a full disk
        part.unlink(missing_ok=True)
        raise
