"""The examples of docs/targets.md run."""

import re
from pathlib import Path

import pytest

EXAMPLES = re.findall(
    r"## (\w+)(?:(?!\n## ).)*?```python\n(.*?)```", (Path(__file__).parents[2] / "docs/targets.md").read_text(), re.S
)


@pytest.mark.parametrize(("name", "program"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_example_runs(name, program):
    found = {}
    exec(program, found)
    assert found["maps"].shape == (2, *found["images"].shape[2:])


def test_one_example_per_kind_of_model():
    assert [name for name, _ in EXAMPLES] == ["Segmentation", "Multi", "Binary", "Detection", "Regression"]
