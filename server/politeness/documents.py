"""Feeds as the simulated publisher writes them, with all that tempts a reader to ask for more."""

from collections.abc import Sequence
from xml.sax.saxutils import escape

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
