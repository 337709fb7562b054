"""What a place has to offer at a time, and how it answers conditional requests for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime

from server.politeness.log import DAY, HOUR, Tags
from server.politeness.publisher import Reply, Visit

# Each is of new content, touched (both validators, same content), or of a new ETag alone.
_EDITION_TIME = 8 * HOUR
_KINDS = 3


@dataclass(frozen=True, slots=True)
class Span:
    """The simulated time."""

    began_at: datetime
    ended_at: datetime

    def count(self, moment: datetime, length: timedelta) -> int:
        """Return how many whole periods have passed since the beginning."""
        return (moment - self.began_at) // length


@dataclass(frozen=True, slots=True)
class Edition:
    """A document's latest numbers, and its validators."""

    numbers: tuple[int, ...]
    tags: Tags


def plain_edition(span: Span, moment: datetime) -> Edition:
    """Return an edition with well-formed validators; the third of a day changes the ETag alone."""
    number = span.count(moment, _EDITION_TIME)
    touched = number - (number % _KINDS == _KINDS - 1)
    changed_at = span.began_at + touched * _EDITION_TIME
    return Edition(_numbers(number // _KINDS), Tags(f'"plain-{number}"', http_date(changed_at)))


def odd_edition(span: Span, moment: datetime) -> Edition:
    """Return an edition whose validators are spelled as some publishers spell them, or missing."""
    number = span.count(moment, _EDITION_TIME)
    changed_at = span.began_at + number * _EDITION_TIME
    etag, spell_date = _ODD_SPELLINGS[number % len(_ODD_SPELLINGS)]
    tags = Tags(
        None if etag is None else etag.format(number),
        None if spell_date is None else spell_date(changed_at),
    )
    return Edition(_numbers(number // 2), tags)


def daily_edition(span: Span, moment: datetime, name: str) -> Edition:
    """Return an edition of each day."""
    number = span.count(moment, DAY)
    tags = Tags(f'"{name}-{number}"', http_date(span.began_at + number * DAY))
    return Edition(_numbers(number), tags)


def offer(visit: Visit, tags: Tags, document: bytes, headers: Mapping[str, str]) -> Reply:
    """Answer 304 to whoever sends back just what was given, else the document."""
    carried = {"Date": http_date(visit.at), **headers}
    if tags.etag is not None:
        carried["ETag"] = tags.etag
    if tags.last_modified is not None:
        carried["Last-Modified"] = tags.last_modified
    if _is_known(visit, tags):
        return Reply(304, headers=carried)
    return Reply(200, document, {"Content-Type": "application/rss+xml; charset=utf-8", **carried})


def keep_fresh(reply: Reply, visit: Visit, age: timedelta) -> Reply:
    """Let an answer ask to be kept for a while, by Cache-Control."""
    cached = {"Cache-Control": f"public, max-age={int(age.total_seconds())}"}
    headers = {**reply.headers, **cached}
    return replace(reply, headers=headers, quiet_until=visit.at + age)


def http_date(moment: datetime) -> str:
    """Return a time as HTTP writes it."""
    return format_datetime(moment, usegmt=True)


def _is_known(visit: Visit, tags: Tags) -> bool:
    etag = visit.headers.get("if-none-match")
    if etag is not None:
        return etag == tags.etag
    date = visit.headers.get("if-modified-since")
    return date is not None and date == tags.last_modified


def _numbers(latest: int) -> tuple[int, ...]:
    return (latest + 1, latest)


def _spell_unpadded(moment: datetime) -> str:
    return f"{moment:%a}, {moment.day} {moment:%b} {moment.year} {moment.hour}:{moment:%M:%S} GMT"


def _spell_as(pattern: str) -> Callable[[datetime], str]:
    return lambda moment: moment.strftime(pattern)


_ODD_SPELLINGS: tuple[tuple[str | None, Callable[[datetime], str] | None], ...] = (
    ('W/"odd-{}"', http_date),
    ('"odd-{}-gzip"', _spell_unpadded),
    ("odd-{}", _spell_as("%Y-%m-%dT%H:%M:%SZ")),
    ('"odd-{}', _spell_as("%A, %d-%b-%y %H:%M:%S GMT")),
    (None, _spell_as("%a, %d %b %Y %H:%M:%S +0000")),
    ('"\xe9t\xe9 {};v=2"', None),
    (None, None),
    ('""', _spell_as("on %d %b")),
    ('"a", "odd-{}"', lambda _: "Thu, 01 Jan 1970 00:00:00 GMT"),
)
