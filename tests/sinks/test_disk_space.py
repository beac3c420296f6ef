import pytest

from lightning_viz.sinks.disk_space import DiskError, check_disk_space
from lightning_viz.sinks.projector_sink import _replace


def test_the_check_leaves_no_file(tmp_path):
    check_disk_space(tmp_path, 100)
    check_disk_space(str(tmp_path), 100)
    check_disk_space("memory://somewhere", 2**62)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_and_a_missing_folder_raise_with_a_remedy(tmp_path):
    with pytest.raises(DiskError, match=r"cannot write to .*: (No space|File too large).*; make room there"):
        check_disk_space(tmp_path, 2**62)
    with pytest.raises(DiskError, match=r"cannot write to .*gone: No such file .*; make room there, or log to another"):
        check_disk_space(tmp_path / "gone", 1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_completed_is_removed(tmp_path):
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        _replace(tmp_path / "taken", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]
