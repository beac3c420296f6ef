from pathlib import Path

import pytest

from lightning_viz.sinks.file_names import digest, local_path, safe_name


@pytest.mark.parametrize("text", ["saliency", "layer4.1", "Großer_Kudu-2"])
def test_safe_names_are_unchanged(text):
    assert safe_name(text) == text


def test_other_names_are_made_safe_and_stay_different():
    texts = ["", " ", ".", "..", "a/b", "a_b", "a b", "a\0b", "\ud800", "x" * 41, "x" * 42]
    names = [safe_name(text) for text in texts]
    assert len(set(names)) == len(texts)
    assert all(0 < len(name) <= 50 and not set(name) & set("/\\\0") and not name.startswith(".") for name in names)


def test_the_digest_is_of_all_parts_in_their_order():
    assert digest(b"a", b"b") == digest(b"ab") != digest(b"b", b"a")
    assert len(digest(b"")) == 24


@pytest.mark.parametrize(
    ("folder", "path"),
    [("logs/run", "logs/run"), ("file:///logs/run", "/logs/run"), (Path("logs"), "logs"), ("s3://bucket/logs", None)],
)
def test_only_folders_on_this_machine_have_a_path(folder, path):
    assert local_path(folder) == (None if path is None else Path(path))
