"""What a hostile publisher serves, and how an import of it has to end.

Every input has a name, an answer and an expected end: the kind of the failed import, or what a
completed one counts. Rows are those of a list of attacks on fetching and on parsing.
"""

import gzip
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tests.publisher import Answer

MIB = 1 << 20
XML = "application/rss+xml"
JSON = "application/feed+json"
SMALL = b"<rss version='2.0'><channel><title>t</title></channel></rss>"
FILE = "file:///etc/passwd"


@dataclass(frozen=True)
class HostileInput:
    """One attack. ``kind`` is the error of the import, None when it completes.

    ``counts`` are what a completed import has, as far as it matters. ``is_bomb`` must be over in a
    second and cost no memory. ``is_retried`` ends after three tries. ``is_small`` is no strain:
    many such are imported at the same time.
    """

    name: str
    answer: Callable[[], Answer]
    kind: str | None
    counts: dict[str, int] = field(default_factory=dict)
    is_bomb: bool = False
    is_retried: bool = False
    is_small: bool = False


def coded(pieces: Callable[[], Iterable[bytes]], coding: str) -> Callable[[], Answer]:
    return lambda: Answer(pieces=pieces, headers={"Content-Encoding": coding, "Content-Type": XML})


def coded_at_once(body: Callable[[], bytes], coding: str) -> Callable[[], Answer]:
    return lambda: Answer(
        body=body(), headers={"Content-Encoding": coding, "Content-Type": XML}, chunked=True
    )


def zeros_gzipped(size_mib: int) -> Iterator[bytes]:
    """A gzip of that many MiB of zeros, made while it is sent; its checksum never comes."""
    deflater = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    yield deflater.compress(bytes(MIB)) + deflater.flush(zlib.Z_FULL_FLUSH)
    block = deflater.compress(bytes(MIB)) + deflater.flush(zlib.Z_FULL_FLUSH)
    yield from itertools.repeat(block, size_mib - 1)


def zeros_deflated(size_mib: int) -> bytes:
    return zlib.compress(bytes(size_mib * MIB))


def endless_garbage() -> Iterator[bytes]:
    yield gzip.compress(SMALL)
    yield from itertools.repeat(bytes(1 << 16), 1 << 12)


def endless_empty_blocks() -> Iterator[bytes]:
    yield from itertools.repeat(b"\x00\x00\x00\xff\xff" * 13_000, 1 << 12)


def endless_body() -> Iterator[bytes]:
    return itertools.repeat(b"x" * (1 << 16), 1 << 14)


def raw(*pieces: bytes, drip_s: float = 0.0) -> Callable[[], Answer]:
    return lambda: Answer(raw=lambda: pieces, drip_s=drip_s)


def letters(text: bytes) -> list[bytes]:
    return [bytes([code]) for code in text]


def endless_headers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\n"
    yield from (b"X-Header-%d: %s\r\n" % (number, b"x" * 1000) for number in range(1 << 20))


def endless_continue() -> Iterator[bytes]:
    return itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 1 << 20)


DRIPS = (
    HostileInput(
        "body drips", lambda: Answer(body=b"x" * 10_000, drip_s=0.1), "timeout", is_retried=True
    ),
    HostileInput(
        "chunks drip",
        lambda: Answer(body=b"x" * 10_000, drip_s=0.1, chunked=True),
        "timeout",
        is_retried=True,
    ),
    HostileInput(
        "headers drip",
        raw(b"HTTP/1.1 200 OK\r\n", *letters(b"X: y\r\n" * 1000), drip_s=0.1),
        "timeout",
        is_retried=True,
    ),
    HostileInput(
        "status line drips", raw(*letters(b"HTTP/1.1 200 " + b"O" * 5000), drip_s=0.1), "timeout",
        is_retried=True,
    ),
    HostileInput(
        "gzip drips",
        lambda: Answer(
            body=gzip.compress(bytes(range(256)) * 40),
            headers={"Content-Encoding": "gzip"},
            drip_s=0.1,
        ),
        "timeout",
        is_retried=True,
    ),
    HostileInput(
        "endless 100 Continue",
        lambda: Answer(raw=endless_continue, drip_s=0.01),
        "timeout",
        is_retried=True,
    ),
)  # fmt: skip

BROKEN = (
    HostileInput("no answer", lambda: Answer(hang=True), "timeout", is_retried=True),
    HostileInput(
        "endless headers", lambda: Answer(raw=endless_headers), "connect", is_retried=True
    ),
    HostileInput("no HTTP", raw(b"\x16\x03\x01 hello\r\n\r\n"), "connect", is_retried=True),
    HostileInput("nothing", raw(b""), "connect", is_retried=True),
    HostileInput(
        "less than announced",
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<rss/>"),
        None,
        is_retried=True,
    ),
    HostileInput(
        "two lengths",
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\n<rss/>"),
        "connect",
        is_retried=True,
    ),
    HostileInput(
        "bad chunk",
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n"),
        "connect",
        is_retried=True,
    ),
)


def answer(status: int, **headers: str) -> Callable[[], Answer]:
    return lambda: Answer(status, headers={k.replace("_", "-"): v for k, v in headers.items()})


FETCHING = (
    HostileInput("gzip of 64 MiB", coded(lambda: zeros_gzipped(64), "gzip"), "too_large",
                 is_bomb=True),
    HostileInput("gzip of 1 GiB", coded(lambda: zeros_gzipped(1024), "gzip"), "too_large",
                 is_bomb=True),
    HostileInput("deflate of 64 MiB", coded_at_once(lambda: zeros_deflated(64), "deflate"),
                 "too_large", is_bomb=True),
    HostileInput("gzip of gzip", coded_at_once(lambda: gzip.compress(gzip.compress(bytes(64 * MIB)
                 )), "gzip, gzip"), "too_large", is_bomb=True),
    HostileInput("gzip, gzip, gzip", coded(lambda: [b"x"], "gzip, gzip, gzip"), "encoding",
                 is_bomb=True),
    HostileInput("brotli", coded(lambda: [b"\x1b" * 1617], "br"), "encoding", is_bomb=True),
    HostileInput("zstd in gzip", coded(lambda: [b"x"], "zstd, gzip"), "encoding", is_bomb=True),
    HostileInput("garbage after gzip", coded(endless_garbage, "gzip"), "too_large"),
    HostileInput("empty deflate blocks", coded(endless_empty_blocks, "deflate"), "too_large"),
    HostileInput("no gzip at all", coded(lambda: [b"<rss/>"], "gzip"), None, is_bomb=True),
    HostileInput("endless chunks", lambda: Answer(pieces=endless_body), "too_large"),
    HostileInput("1 TB announced", answer(200, Content_Length=str(1 << 40)), "too_large",
                 is_bomb=True),
    HostileInput("length of 5000 digits", raw(b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000
                 + b"\r\n\r\n<rss/>"), None, is_retried=True),
    HostileInput("no length, no end", lambda: Answer(raw=lambda: itertools.chain(
                 [b"HTTP/1.1 200 OK\r\n\r\n"], endless_body())), "too_large"),
    HostileInput("redirect to a file", answer(302, Location=FILE), "redirect", is_bomb=True),
    HostileInput("redirect without a target", answer(302, Location=""), "redirect", is_bomb=True),
    HostileInput("redirect to itself", answer(301, Location="?again"), "redirect", is_bomb=True),
    HostileInput("redirect to multicast", answer(302, Location="http://224.0.0.1/"), "redirect",
                 is_bomb=True),
    HostileInput("redirect of 60 kB", answer(302, Location="http://x/" + "a" * 60_000), "redirect",
                 is_bomb=True),
    HostileInput("304 unasked", raw(b"HTTP/1.1 304 Not Modified\r\n\r\n" + SMALL), "http_status",
                 is_bomb=True),
    HostileInput("status 999", answer(999), "http_status", is_retried=True),
    HostileInput("101 switching", raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
                 "connect", is_retried=True),
    HostileInput("ETag of 60 kB", lambda: Answer(body=SMALL, headers={"ETag": "e" * 60_000}), None),
    HostileInput("ETag of control codes", raw(b"HTTP/1.1 200 OK\r\nETag: \"a\x01b\x7f\"\r\n"
                 b"Content-Length: %d\r\n\r\n%s" % (len(SMALL), SMALL)), None),
    *(
        HostileInput(f"Retry-After {value[:12]!r}", answer(429, Retry_After=value), "rate_limited",
                     is_bomb=True)
        for value in ("999999999", "-5", "0", "9" * 5000, "soon", "Fri, 31 Dec 9999 23:59:59 GMT",
                      "1e9", "Thu, 01 Jan 1970 00:00:00 GMT")
    ),
)  # fmt: skip


def rss(inner: str, before: str = "") -> bytes:
    head = f'<?xml version="1.0"?>{before}<rss version="2.0"><channel><title>t</title>'
    return f"{head}{inner}</channel></rss>".encode()


def items(*inner: str) -> str:
    return "".join(f"<item>{each}</item>" for each in inner)


def json_feed(inner: str, more: str = "") -> bytes:
    return f'{{"version": "https://jsonfeed.org/version/1.1", "items": [{inner}]{more}}}'.encode()


def document(
    name: str,
    body: Callable[[], bytes] | bytes,
    kind: str | None,
    *,
    content_type: str = XML,
    is_bomb: bool = False,
    **counts: int,
) -> HostileInput:
    def build() -> Answer:
        content = body if isinstance(body, bytes) else body()
        return Answer(body=content, headers={"Content-Type": content_type})

    is_small = isinstance(body, bytes) and not is_bomb
    return HostileInput(name, build, kind, counts, is_bomb, is_small=is_small)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
ONE = "<guid>1</guid><title>{}</title>"
FEW = items("<guid>before</guid>", "{}", "<guid>after</guid>")
LONG = "x" * 900

XML_DOCUMENTS = (
    document("billion laughs", rss(items(ONE.format("&l9;")),
             f'<!DOCTYPE r [<!ENTITY l0 "ha">{LAUGHS}]>'), "refused", is_bomb=True),
    document("quadratic blow-up", rss(items(ONE.format("&a;" * 50_000)),
             f'<!DOCTYPE r [<!ENTITY a "{LONG}">]>'), "refused", is_bomb=True),
    document("long entity", rss(items(ONE.format("&a;")),
             f'<!DOCTYPE r [<!ENTITY a "{"x" * 60_000}">]>'), "refused", is_bomb=True),
    document("small entity", rss(items(ONE.format("&a;")), '<!DOCTYPE r [<!ENTITY a "fine">]>'),
             None, is_bomb=True, new=1),
    document("external entity", rss(items(ONE.format("&a;")),
             f'<!DOCTYPE r [<!ENTITY a SYSTEM "{FILE}">]>'), "refused", is_bomb=True),
    document("external DTD", rss(items(ONE.format("t")), f'<!DOCTYPE r SYSTEM "{FILE}">'), None,
             is_bomb=True, new=1),
    document("parameter entity", rss(items(ONE.format("t")),
             f'<!DOCTYPE r [<!ENTITY % p SYSTEM "{FILE}"> %p;]>'), None, is_bomb=True, new=1),
    document("included file", rss(items('<guid>1</guid><xi:include xmlns:xi='
             f'"http://www.w3.org/2001/XInclude" parse="text" href="{FILE}"/>')), None, new=1),
    document("endless declaration", lambda: rss("", "<!DOCTYPE r [" + "<!ENTITY " * 500_000),
             "refused", is_bomb=True),
    document("deep nesting", lambda: rss(items("<a>" * 200_000)), "refused", is_bomb=True),
    document("200,000 tags", lambda: rss("<a></a>" * 200_000), None, is_bomb=True, fetched=0),
    document("200,000 tags in an item", lambda: rss(items("<guid>1</guid>" + "<a>b</a>" * 200_000)),
             None, dead=1),
    document("3 million tags", lambda: rss("<a></a>" * 3_000_000), "limits"),
    document("a million empty items", lambda: rss("<item/>" * 1_000_000), "limits"),
    document("100,001 items", lambda: rss("<item/>" * 100_001), "limits"),
    document("20,000 prefixes", lambda: rss("".join(f"<p{n}:a/>" for n in range(20_000))),
             "refused", is_bomb=True),
    document("300,000 attributes", lambda: rss("<a " + " ".join(f'a{n}="1"' for n in range(300_000))
             + "/>"), None, fetched=0),
    document("4 million ampersands", lambda: rss("&" * 4_000_000), "refused", is_bomb=True),
    document("number of 5000 digits", rss(items(ONE.format(f"&#{'9' * 5000};"))), None, new=1),
    document("references beyond Unicode", rss(items(ONE.format("&#x110000;&#55296;a&#0;"))), None,
             new=1),
    document("32 MiB of blanks", lambda: b" " * (32 * MIB) + b"<", "too_large"),
    document("NUL bytes", rss(items(ONE.format("a\0b\0c"))), None, new=1),
    document("UTF-7", b"+ADw-rss+AD4-", "not_a_feed", content_type="text/xml; charset=utf-7"),
    document("UTF-16", rss(items(ONE.format("\u00e9"))).decode().encode("utf-16"), None, new=1),
    document("UTF-32", rss(items(ONE.format("\u00e9"))).decode().encode("utf-32"), None, new=1),
    document("UTF-16 that says UTF-8", rss(items(ONE.format("x"))).decode().encode("utf-16-le"),
             None, content_type="text/xml; charset=utf-8", new=1),
    document("truncated UTF-8", rss(items(ONE.format("caf\u00e9"))).replace(b"\xa9", b""), None,
             new=1),
    document("unknown charset", rss(items(ONE.format("x"))), None,
             content_type="text/xml; charset=../../etc/passwd", new=1),
    document("charset of a program", rss(items(ONE.format("x"))), None,
             content_type="text/xml; charset=zlib_codec", new=1),
    document("guid of 1 MB", lambda: rss(FEW.format(f"<guid>{'g' * 1_000_000}</guid>")), None,
             new=3),
    document("guids of other keys", rss(items(*(
             f"<guid>{guid}</guid><title>{n}</title>" for n, guid in enumerate((
             "#", "a#b", ":lock", "x:lock", "*?[", "1:2", "..", "/", "\u00e9", "e\u0301", "0",
             "$where", "a.b", "__proto__", "&lt;script&gt;", ""))))), None, new=16),
    document("absurd dates", rss(items(*(f"<guid>{n}</guid><pubDate>{date}</pubDate>"
             for n, date in enumerate(("10000-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00",
             "0000-00-00T00:00:00Z", "-0044-03-15", "2026-06-30T23:59:60Z", "1762077600",
             "9" * 5000, "Mon, 99 Foo 99999 99:99:99 +9999", "0001-01-01T00:00:00+14:00")))))
             , None, new=9),
    document("markup in every field", rss(items("<guid>1</guid>" + "".join(
             f"<{name}>&lt;script&gt;alert(1)&lt;/script&gt;&lt;svg/onload=alert(1)&gt;</{name}>"
             for name in ("title", "description", "author", "category", "odd"))
             + "<link>javascript:alert(1)</link>"
             + '<enclosure url="javascript:alert(1)" type="&lt;script&gt;"/>')), None, new=1),
    document("item of 2 MiB", lambda: rss(FEW.format(f"<guid>big</guid>{'x' * (2 * MIB)}"
             f"<description>{'x' * (2 * MIB)}</description>")), None, new=2, dead=1),
    document("item of 12 MiB", lambda: rss(FEW.format(
             f"<guid>big</guid><description>{'x' * (12 * MIB)}</description>")), None, new=2,
             dead=1),
    document("cut in an item", rss(items(ONE.format("x")) + "<item><guid>2</guid").removesuffix(
             b"</channel></rss>"), None, fetched=1, new=1),
    document("a web page", b"<!DOCTYPE html><html><body>no</body></html>", "html", is_bomb=True),
    document("empty", b"", "empty", is_bomb=True),
)  # fmt: skip

# A value of a wrong type costs itself; without an identity, or as no object, it is no item.
WRONG_VALUES = (
    '{"id": "a", "title": 5}', '{"id": "b", "tags": {}}', '{"id": "c", "url": {}}',
    '{"id": "d", "authors": [1]}', '{"id": "e", "attachments": [{"url": 5}]}',
)  # fmt: skip
NO_ITEMS = ('{"id": [1]}', '{"id": [1], "title": "t"}', "5", "null", "[]", '"text"', "{}")
JSON_DOCUMENTS = (
    document("deep JSON", lambda: b"[" * 200_000, "json_error", is_bomb=True),
    document("deep JSON in an item", json_feed('{"id": "a", "x": ' + "[" * 2000 + "]" * 2000 + "}"),
             "damaged", is_bomb=True),
    document("integers of 5000 digits", json_feed(f'{{"id": "1", "x": {"9" * 5000}}}'), None,
             new=1),
    document("infinite numbers", json_feed('{"id": "1", "x": 1e999}'), None, new=1),
    document("not a number", json_feed('{"id": "1", "x": NaN}'), None, new=1),
    document("keys twice", json_feed('{"id": "1", "id": "2", "title": "a", "title": "b"}'), None,
             new=1),
    document("lone surrogates", json_feed('{"id": "1", "title": "a\\ud800"}'), None, new=1),
    document("no list of items", b'{"version": "https://jsonfeed.org/version/1", "items": {}}',
             "not_a_feed", is_bomb=True),
    document("wrong types", json_feed(", ".join([*WRONG_VALUES, *NO_ITEMS])), None,
             new=len(WRONG_VALUES), dead=len(NO_ITEMS)),
    document("field names that are operators", json_feed('{"id": "1", "$where": "1", "a.b": "2", '
             '"": "3", "__proto__": {"$gt": ""}, "_id": "evil", "$set": {"revision": 9}}'), None,
             new=1),
    document("markup in names", json_feed('{"id": "1", "<script>alert(1)</script>": "x"}'), None,
             new=1),
    document("10,001 unreadable items", lambda: json_feed(
             ",".join(f'{{"id": [{n}]}}' for n in range(10_001))), "limits"),
    document("16 million numbers", lambda: json_feed("1" + ",1" * 15_000_000), "limits"),
    document("a million numbers", lambda: json_feed("1" + ",1" * 1_000_000), "limits",
             is_bomb=True),
    document("4 million tags", lambda: json_feed(
             '{"id": "1", "tags": ["a"' + ',"b"' * 4_000_000 + "]}"), "limits"),
)  # fmt: skip
DOCUMENTS = XML_DOCUMENTS + JSON_DOCUMENTS
