"""Politeness rules about what a request carries and where it goes: 1 to 3 and 7 to 12. Pure."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise, takewhile

from tests.politeness.log import DAY, ONE_POLL, Exchange, Fault, Log, Tags, polls

_AGENT = re.compile(r"(?P<name>[A-Za-z][\w.-]*)/(?P<version>\d[\w.+-]*) \((?P<comment>[^()]+)\)")
_CONTACT = re.compile(r"https?://\S+|\S+@\S+")
# Fewer words than these say a name once more, not what the reader is and does.
_FEWEST_WORDS = 5
_FINAL_REFUSALS = 2


def judge_conditionality(log: Log) -> Iterator[Fault | None]:
    """1: the first request of a place carries no validator, each later one does if it has any."""
    for exchanges in log.by_place():
        for exchange, known in _with_known(exchanges):
            if exchange.sent and known is None:
                yield Fault(exchange, f"conditional before anything was given: {exchange.sent}")
            elif known and not exchange.sent:
                yield Fault(exchange, f"unconditional although it was given {known}")
            elif known or known is None:
                yield None


def judge_exactness(log: Log) -> Iterator[Fault | None]:
    """2: what is sent back is all that the last 200 of this place gave, byte for byte."""
    for exchanges in log.by_place():
        earlier: set[str] = set()
        for exchange, known in _with_known(exchanges):
            if exchange.sent:
                reason = _inexactness(exchange.sent, known or Tags(), earlier)
                yield None if reason is None else Fault(exchange, reason)
            if exchange.status == 200:
                earlier |= _values(exchange.given)


def judge_replacement(log: Log) -> Iterator[Fault | None]:
    """3: a 200 replaces both validators, whether the body has changed or not."""
    for exchanges in log.by_place():
        known: Tags | None = None
        for exchange, following in pairwise(exchanges):
            if exchange.status != 200:
                continue
            previous, known = known, exchange.given
            if previous is None or previous == known:
                continue
            if following.sent == known:
                yield None
            else:
                reason = f"sent {following.sent}; the 200 before had given {known}"
                yield Fault(following, reason)


def judge_redirected(log: Log) -> Iterator[Fault | None]:
    """11: validators of one place are not sent to another that a redirect connects with it."""
    given_at: dict[str, set[str]] = {}
    for exchange in log.exchanges:
        if exchange.given:
            given_at.setdefault(exchange.place, set()).update(_values(exchange.given))
    connected = _redirected_places(log.exchanges)
    for exchange in log.exchanges:
        if exchange.place not in connected:
            continue
        carried = _values(exchange.sent) - given_at.get(exchange.place, set())
        owners = [place for place, values in given_at.items() if carried & values]
        reason = f"carries {', '.join(sorted(carried))} of {', '.join(owners)}"
        yield Fault(exchange, reason) if owners else None


def _with_known(exchanges: Sequence[Exchange]) -> Iterator[tuple[Exchange, Tags | None]]:
    """Yield each exchange with what the last 200 before it gave; None before the first."""
    known: Tags | None = None
    for exchange in exchanges:
        yield exchange, known
        if exchange.status == 200:
            known = exchange.given


def _inexactness(sent: Tags, known: Tags, earlier: set[str]) -> str | None:
    for name, value, right in (
        ("If-None-Match", sent.etag, known.etag),
        ("If-Modified-Since", sent.last_modified, known.last_modified),
    ):
        if value == right:
            continue
        if value is None:
            return f"{name} left out; {right} was given"
        kind = "out of sequence" if value in earlier else "invented"
        return f"{name} {kind}: sent {value}, given {right or 'none'}"
    return None


def _values(tags: Tags) -> set[str]:
    return {value for value in (tags.etag, tags.last_modified) if value is not None}


def _redirected_places(exchanges: Sequence[Exchange]) -> set[str]:
    moves = [(exchange.place, exchange.leads_to) for exchange in exchanges]
    return {place for move in moves if move[1] is not None for place in move if place is not None}


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


def judge_targets(log: Log) -> Iterator[Fault | None]:
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
    if not any(location in text for text in log.reported):
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
