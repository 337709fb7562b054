"""Criteria about conditional requests: 1 to 3 and 11. Pure."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from server.politeness.grading import Fault
from server.politeness.log import Exchange, Log, Tags


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
