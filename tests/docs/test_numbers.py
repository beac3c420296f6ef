"""docs/numbers.md explains every scalar that the callbacks yield."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_scalar_is_in_the_table():
    table = (ROOT / "docs/numbers.md").read_text()
    sources = [path.read_text() for path in (ROOT / "lightning_viz/callbacks").glob("*.py")]
    named = {name for source in sources for name in re.findall(r'Scalar\(f"[^"]*/(\w+)(?:\{suffix\})?"', source)}
    trust = {"over_random", "over_blob", "random", "sanity", "sanity_spread", "change_since_start", "rank_since_start"}
    assert len(named) > 10
    assert [name for name in sorted(named | trust) if f"{name}`" not in table] == []
