"""What a simulated feed contains at a time, its validators, and conditional answers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from email.utils import format_datetime
from xml.sax.saxutils import escape

from tests.politeness.log import DAY, HOUR, Tags
from tests.politeness.publisher import Reply, Visit

# The channel has all that tempts a reader to ask for more than the feed.
_HEAD = """<?xml version="1.0" encoding="utf-8"?>
<?xml-stylesheet type="text/xsl" href="/style.xsl"?>
<rss version="2.0" xmlns:atom="http://www.w3.org/2005/Atom"
     xmlns:wfw="http://wellformedweb.org/CommentAPI/">
<channel>
<title>{title}</title>
<link>http://{host}/</link>
<description>Simulated</description>
<image><url>/favicon.ico</url><title>{title}</title><link>http://{host}/</link></image>
<atom:link rel="self" href="http://{host}/self.xml"/>
<atom:link rel="hub" href="http://{host}/hub"/>
<atom:link rel="next" href="http://{host}/page2.xml"/>
{extra}
"""
_ITEM = """<item>
<guid isPermaLink="false">{guid}</guid>
<title>Number {number}</title>
<link>http://{host}/items/{guid}</link>
<wfw:commentRss>http://{host}/comments/{guid}.xml</wfw:commentRss>
<enclosure url="http://{host}/media/{guid}.mp3" type="audio/mpeg" length="1"/>
<description>&lt;img src="http://{host}/images/{guid}.png"&gt;</description>
</item>
"""
# Each is of new content, touched (both validators, same content), or of a new ETag alone.
_VERSION_TIME = 8 * HOUR
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
class Version:
    """A document's latest numbers, and its validators."""

    numbers: tuple[int, ...]
    tags: Tags


def plain_version(span: Span, moment: datetime) -> Version:
    """Return an version with well-formed validators; the third of a day changes the ETag alone."""
    number = span.count(moment, _VERSION_TIME)
    touched = number - (number % _KINDS == _KINDS - 1)
    changed_at = span.began_at + touched * _VERSION_TIME
    return Version(_numbers(number // _KINDS), Tags(f'"plain-{number}"', http_date(changed_at)))


def odd_version(span: Span, moment: datetime) -> Version:
    """Return an version whose validators are spelled as some publishers spell them, or missing."""
    number = span.count(moment, _VERSION_TIME)
    changed_at = span.began_at + number * _VERSION_TIME
    etag, spell_date = _ODD_SPELLINGS[number % len(_ODD_SPELLINGS)]
    tags = Tags(
        None if etag is None else etag.format(number),
        None if spell_date is None else spell_date(changed_at),
    )
    return Version(_numbers(number // 2), tags)


def daily_version(span: Span, moment: datetime, name: str) -> Version:
    """Return an version of each day."""
    number = span.count(moment, DAY)
    tags = Tags(f'"{name}-{number}"', http_date(span.began_at + number * DAY))
    return Version(_numbers(number), tags)


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


def write_feed(host: str, name: str, numbers: Sequence[int], extra: str = "") -> bytes:
    """Return an RSS document that lists these numbers; ``extra`` goes into its channel."""
    head = _HEAD.format(title=escape(name), host=host, extra=extra)
    items = [_ITEM.format(guid=f"{name}-{each}", number=each, host=host) for each in numbers]
    return (head + "".join(items) + "</channel>\n</rss>\n").encode()


def write_ttl(minutes: int) -> str:
    """Return the element that asks to leave the feed alone for so long."""
    return f"<ttl>{minutes}</ttl>"


def write_skips(hours: Sequence[int], days: Sequence[str]) -> str:
    """Return the elements that ask not to come in these hours (UTC) and on these days."""
    listed_hours = "".join(f"<hour>{hour}</hour>" for hour in hours)
    listed_days = "".join(f"<day>{day}</day>" for day in days)
    return f"<skipHours>{listed_hours}</skipHours><skipDays>{listed_days}</skipDays>"
