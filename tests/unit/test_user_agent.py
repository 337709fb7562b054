"""The User-Agent tells a publisher who asks, and what slows us down."""

from importlib.metadata import version

from server.composition import user_agent
from tests.fakes import FakeClock
from tests.politeness.log import Exchange, Log
from tests.politeness.request_rules import judge_agent


def test_user_agent_has_name_version_and_a_sentence_that_a_publisher_can_use() -> None:
    agent = user_agent()
    assert agent.startswith(f"Feedmill/{version('feedmill')} (")
    assert "Retry-After" in agent
    assert agent.isascii()
    now = FakeClock().now()
    request = Exchange(at=now, host="a.example", target="/", headers={"user-agent": agent})
    assert list(judge_agent(Log([request], now))) == [None]
