"""What is listed of tests that need more of MongoDB names tests that are there."""

import re
from pathlib import Path

from tests.mongodb_features import NEEDED_BY

INTEGRATION = Path(__file__).parents[1] / "integration"


def test_every_test_that_is_listed_as_needing_a_feature_exists() -> None:
    sources = [path.read_text() for path in INTEGRATION.rglob("test_*.py")]
    known = {name for source in sources for name in re.findall(r"def (test_\w+)\(", source)}
    listed = {name.partition("[")[0] for names in NEEDED_BY.values() for name in names}
    assert listed - known == set()
