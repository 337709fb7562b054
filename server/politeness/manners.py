"""Criteria about what a request says, and where it goes: 7 to 10 and 12. Pure."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, takewhile

from server.politeness.grading import Fault
from server.politeness.log import DAY, ONE_POLL, Exchange, Log, polls

_AGENT = re.compile(r"(?P<name>[A-Za-z][\w.-]*)/(?P<version>\d[\w.+-]*) \((?P<comment>[^()]+)\)")
_CONTACT = re.compile(r"https?://\S+|\S+@\S+")
# Fewer words than these say a name once more, not what the reader is and does.
_FEWEST_WORDS = 5
_FINAL_REFUSALS = 2


def judge_privacy(log: Log) -> Iterator[Fault | None]:
    """7: no cookies, no referrer, and nothing added to the address."""
    for exchange in log.exchanges:
        extra = [name for name in ("cookie", "referer") if name in exchange.headers]
        bare = exchange.host + exchange.target.partition("?")[0]
        if extra:
            yield Fault(exchange, f"sends {extra[0]}: {exchange.headers[extra[0]]}")
        elif exchange.place not in log.places and bare in log.places:
            yield Fault(exchange, "adds a query to the address")
        else:
            yield None


def judge_agent(log: Log) -> Iterator[Fault | None]:
    """8: the User-Agent has a name, a version, and an address or a sentence to learn more from."""
    for exchange in log.exchanges:
        agent = exchange.headers.get("user-agent", "")
        yield None if _is_informative(agent) else Fault(exchange, f"User-Agent: {agent or 'none'}")


def _is_informative(agent: str) -> bool:
    found = _AGENT.match(agent)
    if found is None:
        return False
    comment = found["comment"]
    return bool(_CONTACT.search(comment)) or len(comment.split()) >= _FEWEST_WORDS


def judge_compression(log: Log) -> Iterator[Fault | None]:
    """9: gzip is accepted."""
    for exchange in log.exchanges:
        accepted = exchange.headers.get("accept-encoding", "")
        codings = [coding.replace(" ", "").lower() for coding in accepted.split(",")]
        is_accepted = any(re.fullmatch(r"gzip(;q=(1|0?\.\d*[1-9]\d*).*)?", c) for c in codings)
        yield None if is_accepted else Fault(exchange, f"Accept-Encoding: {accepted or 'none'}")


def judge_endings(log: Log) -> Iterator[Fault | None]:
    """10: a permanent redirect is followed and reported; 410, confirmed a day later, is the end."""
    for number, exchange in enumerate(log.exchanges):
        if exchange.is_permanent_redirect:
            yield _judge_move(exchange, log.exchanges[number + 1 :], log)
    for exchanges in log.by_place():
        refused = [exchange for exchange in polls(exchanges) if exchange.status == 410]
        if refused:
            yield from _judge_refused(refused)


def _judge_move(moved: Exchange, later: Sequence[Exchange], log: Log) -> Fault | None:
    location = moved.answered.get("location", "")
    soon = takewhile(lambda exchange: exchange.at - moved.at <= ONE_POLL, later)
    if not any(exchange.place == moved.leads_to for exchange in soon):
        return Fault(moved, f"the move to {location} was not followed")
    if not any(location in text for text in log.said):
        return Fault(moved, f"the move to {location} was not reported to the operator")
    return None


def _judge_refused(refused: Sequence[Exchange]) -> Iterator[Fault | None]:
    for earlier, later in pairwise(refused[:_FINAL_REFUSALS]):
        is_hasty = later.at - earlier.at < DAY
        reason = "asked again less than a day after 410"
        yield Fault(later, reason) if is_hasty else None
    if len(refused) < _FINAL_REFUSALS:
        yield Fault(refused[0], "410 was never confirmed by a second poll")
    for exchange in refused[_FINAL_REFUSALS:]:
        yield Fault(exchange, "asked again after 410 had been confirmed")


def judge_scope(log: Log) -> Iterator[Fault | None]:
    """12: nothing is asked for but feeds, and only with GET."""
    for exchange in log.exchanges:
        bare = exchange.host + exchange.target.partition("?")[0]
        if exchange.method != "GET":
            yield Fault(exchange, f"{exchange.method} instead of GET")
        elif exchange.place not in log.places and bare not in log.places:
            yield Fault(exchange, "is no feed, nor what one redirects to")
        else:
            yield None
