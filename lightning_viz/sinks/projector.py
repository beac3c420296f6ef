"""Embeddings for TensorBoard's Projector, one run directory for all snapshots, readable at every moment."""

import itertools
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .names import digest, plain_name
from .snapshot import Snapshot
from .sprite import grid, sprite

if TYPE_CHECKING:  # TensorBoard loads slowly: only when something is written
    from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo

#: Entries of the config by step.
History = dict[int, list["EmbeddingInfo"]]

CONFIG = "projector_config.pbtxt"

#: Files of ours: named by what is in them, hence never changed.
_ASSET = re.compile(r"(tensor|table|sprite)-[0-9a-f]{24}\.(bytes|tsv|png)")
_ENTRY = re.compile(r"step (\d+) · (.+)")

#: What would break a line, shift a column, turn the text around, or cannot be written as UTF-8.
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]+")

#: What names must not hold: the Projector puts them into addresses as they are, and TensorBoard cuts ":0" off.
_UNSAFE = re.compile(r"[&#+%:;]")


class ProjectorSink:
    """Writes snapshots to `<folder>/<name>-<step>`, a run of its own, which is renamed to the newest step.

    The new name is how a TensorBoard that is already running learns of a snapshot: it reads projector files again only
    when its set of runs changes. A directory that is already there is gone on with, and its steps from the one now
    written on, which a resumed training does again, are replaced. Of more than `max_snapshots`, those stay that still
    span the whole run. A process that is killed at any moment leaves files that TensorBoard loads.

    Snapshots are best further apart than TensorBoard's `--reload_interval` (5 s): its slow loader, which it falls back to
    without tensorboard-data-server, may otherwise meet a new run that is gone, and then it reloads no more.
    """

    def __init__(self, folder: Path | str, name: str = "projector", max_snapshots: int = 20) -> None:
        if max_snapshots < 1:
            raise ValueError(f"max_snapshots={max_snapshots} keeps nothing; pass 1 or more")
        self._folder = Path(folder)
        self._name = plain_name(name)
        self._max_snapshots = max_snapshots

    def write(self, snapshot: Snapshot) -> None:
        """Add the snapshot to the run, on disk on return. Raises OSError where the disk does."""
        before = self._run()
        run = before or self._free(snapshot.step)
        run.mkdir(parents=True, exist_ok=True)
        history = {step: entries for step, entries in _read(run).items() if step < snapshot.step}
        history[snapshot.step] = _store(run, snapshot)
        history = {step: history[step] for step in _thin(sorted(history), self._max_snapshots)}
        _replace(run / CONFIG, _config(history))
        _make_run(run)  # only now, for TensorBoard reads the config on first sight
        if before:
            run = run.rename(self._free(snapshot.step))
        _sweep(run, history)

    def _run(self) -> Path | None:
        """The run's directory, if there is one; of several, the one with the highest step."""
        pattern = re.compile(re.escape(self._name) + r"-(\d+)(?:\.\d+)?")
        found = [
            (int(match[1]), path)
            for path in (self._folder.iterdir() if self._folder.is_dir() else ())
            if (match := pattern.fullmatch(path.name)) and path.is_dir() and not path.is_symlink()
        ]
        return max(found)[1] if found else None

    def _free(self, step: int) -> Path:
        """A directory that is not there yet: a step that is written again needs a new name, too."""
        names = itertools.chain(
            [f"{self._name}-{step}"], (f"{self._name}-{step}.{again}" for again in itertools.count(2))
        )
        return next(path for name in names if not os.path.lexists(path := self._folder / name))


def _store(run: Path, snapshot: Snapshot) -> "list[EmbeddingInfo]":
    """Write what the snapshot's entries in the config name; the entries."""
    from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo

    common = EmbeddingInfo(metadata_path=_asset(run, "table", "tsv", _table(snapshot)))
    if (thumbnails := snapshot.thumbnails) is not None:
        # By the hash of the pixels, not of the PNG: what is there already need not be encoded again.
        name = f"sprite-{digest(repr(thumbnails.shape).encode(), thumbnails.tobytes())}.png"
        if not (run / name).exists():
            _replace(run / name, sprite(thumbnails))
        common.sprite.image_path = name
        common.sprite.single_image_dim.extend([grid(*thumbnails.shape[:3])[1]] * 2)
    entries = []
    titles = _distinct(_UNSAFE.sub("_", _one_line(name, 100)) for name in snapshot.embeddings)
    for title, embedding in zip(titles, snapshot.embeddings.values(), strict=True):
        tensor = _tensor(embedding)
        entry = EmbeddingInfo(tensor_path=_asset(run, "tensor", "bytes", tensor.tobytes()), tensor_shape=tensor.shape)
        entry.MergeFrom(common)
        entry.tensor_name = f"step {snapshot.step} · {title}"
        entries.append(entry)
    return entries


def _tensor(embedding: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """A copy as TensorBoard reads it: (N, D), D at least 3.

    The Projector lists nothing with one dimension, and draws nothing with two; columns of zeros change no distance. And
    TensorBoard takes a file for text unless its bytes are no UTF-8, which those of round numbers can be: a first byte
    from 0x80 to 0xC1 never is. This changes one number by 128 units in the last place at most, 2e-5 of it.
    """
    tensor = np.zeros((len(embedding), max(embedding.shape[1], 3)), np.float32)
    tensor[:, : embedding.shape[1]] = embedding
    first = tensor.reshape(-1)[:1].view(np.uint8)[:1]
    np.clip(first, 0x80, 0xC1, out=first)
    return tensor


def _table(snapshot: Snapshot) -> bytes:
    """Tab-separated, a line for each point, the last one ended, too: the Projector waits for ever for a line's end.

    A header if there are several columns: TensorBoard takes the first line of a single one for a point.
    """
    table = snapshot.table or {"index": [str(index) for index in range(snapshot.count)]}
    lines = ["\t".join(map(_one_line, row)) for row in zip(*table.values(), strict=True)]
    if len(table) > 1:
        lines.insert(0, "\t".join(_distinct(map(_one_line, table))))
    return "".join(f"{line}\n" for line in lines).encode()


def _one_line(text: str, longest: int = 200) -> str:
    """Without what breaks the table; never empty, since the Projector skips empty lines."""
    text = _UNPRINTABLE.sub(" ", str(text)).strip()
    return (text if len(text) <= longest else f"{text[: longest - 1]}…") or "(empty)"


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, with "(2)" and so on after those that were there before."""
    taken: list[str] = []
    for name in names:
        choices = itertools.chain([name], (f"{name} ({again})" for again in itertools.count(2)))
        taken.append(next(choice for choice in choices if choice not in taken))
    return taken


def _thin(steps: Sequence[int], count: int) -> list[int]:
    """At most `count` steps that still span the whole run: the first and the last stay, the rest spread evenly."""
    kept = list(steps)
    while len(kept) > max(count, 2):
        gaps = [after - before for before, after in zip(kept, kept[2:], strict=False)]
        del kept[1 + gaps.index(min(gaps))]
    return kept[-count:]


def _config(history: History) -> bytes:
    """All entries, their names sorted as their steps are."""
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
    """The entries that the run's config has, but those that are not this sink's or lack a file."""
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    config, history = ProjectorConfig(), History()
    try:
        text_format.Parse((run / CONFIG).read_text("utf-8"), config)
    except (FileNotFoundError, UnicodeDecodeError, text_format.ParseError):
        return history
    for entry in config.embeddings:
        if (match := _ENTRY.fullmatch(entry.tensor_name)) and _is_whole(run, entry):
            history.setdefault(int(match[1]), []).append(entry)
    return history


def _make_run(directory: Path) -> None:
    """Put an event file there: that is what makes a directory a run."""
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    if not any(path.stat().st_size for path in directory.glob("*.tfevents.*")):
        EventFileWriter(str(directory)).close()


def _is_whole(run: Path, entry: "EmbeddingInfo") -> bool:
    there = all(_ASSET.fullmatch(name) and (run / name).is_file() for name in _files(entry))
    return there and (run / entry.tensor_path).stat().st_size == 4 * np.prod(entry.tensor_shape)


def _files(entry: "EmbeddingInfo") -> list[str]:
    return [entry.tensor_path, entry.metadata_path, *([entry.sprite.image_path] if entry.HasField("sprite") else [])]


def _asset(run: Path, kind: str, suffix: str, content: bytes) -> str:
    """Write a file named by its content, unless it is there; its name."""
    name = f"{kind}-{digest(content)}.{suffix}"
    if not (run / name).exists():
        _replace(run / name, content)
    return name


def _replace(path: Path, content: bytes) -> None:
    """Write all of the file or nothing. (`tempfile` would hide it from all other users of a shared disk.)"""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:  # a full disk is not to be kept full
        part.unlink(missing_ok=True)
        raise


def _sweep(run: Path, history: History) -> None:
    """Remove the sink's files that no entry names, also those of a process that was killed."""
    named = {name for entries in history.values() for entry in entries for name in _files(entry)}
    for path in run.iterdir():
        if _ASSET.fullmatch(path.name.removesuffix(".part")) and path.name not in named and not path.is_dir():
            path.unlink()
