"""``python -m tests.politeness`` runs the real service for weeks, judges it, and cleans up.

Full marks are demanded by ``make check``, which runs the same for longer.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "tests.politeness"]


@pytest.mark.long
@pytest.mark.timeout(400)
def test_politeness_measures_every_criterion_on_the_real_service(tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    ended = subprocess.run(
        [*COMMAND, "--weeks", "1", "--json"],
        cwd=tmp_path,
        env={
            **os.environ,
            "TMPDIR": str(folder),
            "PYTHONWARNINGS": "error",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert ended.returncode in (0, 1), ended.stderr
    report = json.loads(ended.stdout)
    assert (ended.returncode == 0) == report["is_full"]
    assert {each["number"]: each["checks"] > 0 for each in report["criteria"]} == dict.fromkeys(
        range(1, 15), True
    )
    simulated = report["simulated"]
    assert (simulated["weeks"], simulated["feeds"]) == (1, 18)
    assert simulated["requests"] > 300
    assert min(simulated["restarts"], simulated["manual_rounds"]) > 0
    assert list(folder.iterdir()) == []


def test_politeness_refuses_no_weeks_at_all() -> None:
    ended = subprocess.run(
        [*COMMAND, "--weeks", "0"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert "weeks" in ended.stderr
