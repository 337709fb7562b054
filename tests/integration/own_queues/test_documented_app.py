"""The declared queue of docs/queues.md and its test, run as they are written there."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedmill import configure
from shared.queue import RedisConnection

PAGE = Path(__file__).parents[3] / "docs" / "queues.md"
_BLOCK = re.compile(r"^```python\n# ((?:test_)?mailing\.py)\n(.+?)^```", re.DOTALL | re.MULTILINE)
FILES = dict(_BLOCK.findall(PAGE.read_text("utf-8")))


@pytest.fixture
def example() -> Iterator[dict[str, Any]]:
    names: dict[str, Any] = {"__name__": "mailing"}
    exec(compile(FILES["mailing.py"], str(PAGE), "exec"), names)
    yield names
    configure()


def test_the_documented_queue_and_its_test_take_forty_lines() -> None:
    lines = [line for text in FILES.values() for line in text.splitlines()]
    assert 0 < sum(bool(line.strip()) for line in lines) <= 40


def test_the_documented_test_holds_in_a_folder_of_its_own(tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert "2 passed" in done.stdout, done.stdout


def test_the_documented_queue_fails_a_blocked_address_at_once(
    example: dict[str, Any], redis_client: RedisConnection
) -> None:
    configure(redis_client)
    job = example["send"].add(example["Email"](to="nobody@example.org"))
    assert example["send"].worker().step()
    assert job.refresh().failed_reason == "nobody@example.org is blocked"
