"""The declared queue of docs/queues.md and its test, run as they are written there."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedmill import configure
from shared.queue import RedisConnection

PAGE = Path(__file__).parents[3] / "docs" / "queues.md"
_BLOCK = re.compile(r"^```python\n(# (?:test_)?mailing\.py\n.+?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture
def example() -> Iterator[dict[str, Any]]:
    names: dict[str, Any] = {"__name__": "mailing"}
    exec(compile("\n".join(_BLOCK.findall(PAGE.read_text("utf-8"))), str(PAGE), "exec"), names)
    yield names
    configure()


def test_the_documented_queue_and_its_test_take_forty_lines() -> None:
    lines = [
        line for block in _BLOCK.findall(PAGE.read_text("utf-8")) for line in block.splitlines()
    ]
    assert 0 < sum(bool(line.strip()) for line in lines) <= 40


def test_the_documented_test_holds(example: dict[str, Any], redis_client: RedisConnection) -> None:
    example["test_an_email_is_sent_by_hand"]()
    example["outbox"].clear()
    example["test_an_email_is_sent_once"](redis_client)


def test_the_documented_queue_fails_a_blocked_address_at_once(
    example: dict[str, Any], redis_client: RedisConnection
) -> None:
    configure(redis_client)
    job = example["send"].add(example["Email"](to="nobody@example.org"))
    assert example["send"].worker().step()
    assert job.refresh().failed_reason == "nobody@example.org is blocked"
