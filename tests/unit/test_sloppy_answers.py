"""Answers that HTTP's grammar refuses and every browser shows: they are read."""

import gzip
import os
import ssl
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from server.fetching.answer_head import MAX_HEAD_BYTES, fix_head
from server.fetching.body import MAX_MEMBERS
from server.fetching.fetcher import Fetcher
from server.fetching.network import make_ssl_context
from shared.errors import FetchError, SettingsError
from tests.fetchers import MakeFetcher, open_fetchers
from tests.publisher import Answer, Publisher

FEED = b"<rss version='2.0'><channel><title>t</title></channel></rss>"
LENGTH = b"Content-Length: %d\r\n" % len(FEED)


def gzipped(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher


@pytest.fixture
def make_fetcher() -> Iterator[MakeFetcher]:
    with open_fetchers(timeout_s=5.0, max_bytes=1 << 22, user_agent="Feedmill-test/1") as make:
        yield make


@pytest.fixture
def fetcher(make_fetcher: MakeFetcher) -> Fetcher:
    return make_fetcher()


def raw(*pieces: bytes, drip_s: float = 0.0) -> Answer:
    return Answer(raw=lambda: pieces, drip_s=drip_s)


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([status, *lines, b"", b""])


BAD_LINES = [
    b'"X-XSS-Protection: 0"',
    b"get-ban-result/forum.php: userdata not support",
    b"X-Powered By: PHP",
    b"Warning",
    b"X-Note : yes",
    "Größe: 1".encode(),
    b": nothing",
    b"<br />",
    b"<b>Warning</b>:  Cannot modify header information in /srv/feed.php on line 7",
    b"X-Null: a\0b",
    b"X-Return: a\rb",
    b"X-Folded: a\r\n\t b",
    b"bad one: a\r\n its continuation",
    b"X-Empty:",
    b"\xff\xfe: 1",
    b"Content-Length: many",
    b"Content-Length : %d" % len(FEED),
    b"Transfer-Encoding: identity",
]


@pytest.mark.parametrize("line", BAD_LINES)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_malformed_header_line_costs_that_line(
    publisher: Publisher, fetcher: Fetcher, line: bytes, is_first: bool
) -> None:
    others = [b'ETag: "1"', b"Content-Type: application/rss+xml"]
    lines = [line, *others] if is_first else [*others, line]
    fetched = fetcher.fetch(publisher.answer("/f", raw(head(*lines) + FEED)))
    assert (fetched.body, fetched.is_cut, fetched.validators.etag) == (FEED, False, '"1"')
    assert fetched.content_type == "application/rss+xml"


def test_what_continues_nothing_is_left_out(publisher: Publisher, fetcher: Fetcher) -> None:
    url = publisher.answer("/f", raw(head(b" a continuation of nothing", LENGTH.strip()) + FEED))
    assert fetcher.fetch(url).body == FEED


@pytest.mark.parametrize(
    "status",
    [
        b"ICY 200 OK",
        b"HTTP/1.1 200",
        b"HTTP/1.1  200  OK",
        b"HTTP/1 200 OK",
        b"HTTP/2 200 OK",
        b"HTTP 200 OK",
        b"http/1.1 200 ok",
        b"HTTP/1.1 200OK",
        b"HTTP/1.1\t200\tOK",
        b"HTTP/1.1 200 O\0K",
        b"\r\n\r\nHTTP/1.1 200 OK",
    ],
)
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_a_status_line_in_a_foreign_spelling_is_read(
    publisher: Publisher, fetcher: Fetcher, status: bytes, end: bytes
) -> None:
    written = (head(LENGTH.strip(), status=status) + FEED).replace(b"\r\n", end)
    fetched = fetcher.fetch(publisher.answer("/f", raw(written)))
    assert (fetched.http_status, fetched.body) == (200, FEED)


def test_a_head_may_come_byte_by_byte(publisher: Publisher, fetcher: Fetcher) -> None:
    written = b"\r\n" + head(b"bad line: 1", LENGTH.strip()) + FEED
    pieces = [written[at : at + 1] for at in range(len(written))]
    url = publisher.answer("/f", raw(*pieces, drip_s=0.001))
    assert fetcher.fetch(url).body == FEED


def test_an_informational_answer_before_is_passed_over(
    publisher: Publisher, fetcher: Fetcher
) -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nLink : </a.css>\r\nbad line: 1\r\n\r\n"
    url = publisher.answer("/f", raw(early + head(b"bad line: 1", LENGTH.strip()) + FEED))
    assert fetcher.fetch(url).body == FEED


@pytest.mark.parametrize("status", [301, 404, 500])
def test_a_malformed_line_hides_no_status(
    publisher: Publisher, fetcher: Fetcher, status: int
) -> None:
    target = publisher.serve("/target", FEED).encode()
    written = head(
        b"bad line: 1", b"Location: " + target, b"Content-Length: 0",
        status=b"HTTP/1.1 %d Said" % status,
    )  # fmt: skip
    url = publisher.answer("/f", raw(written))
    if status == 301:
        assert fetcher.fetch(url).permanent_url == target.decode()
        return
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(url)
    assert caught.value.http_status == status


@pytest.mark.parametrize(
    "written",
    [
        head(b"Content-Length: 5", b"Content-Length: 60") + FEED,
        head(b"Content-Length: 5, 60") + FEED,
        head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + FEED,
        head(b"Transfer-Encoding: xchunked") + FEED,
        b"no answer of HTTP at all\r\n\r\n",
        b"\x16\x03\x01\x00\x00\r\n\r\n",
    ],
)
def test_contradictions_in_the_framing_are_refused(
    publisher: Publisher, fetcher: Fetcher, written: bytes
) -> None:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(publisher.answer("/f", raw(written)))
    assert caught.value.kind == "connect"


def test_of_a_length_beside_chunks_the_chunks_count(publisher: Publisher, fetcher: Fetcher) -> None:
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(FEED), FEED)
    written = head(b"Content-Length: 5", b"Transfer-Encoding: chunked") + chunks
    fetched = fetcher.fetch(publisher.answer("/f", raw(written)))
    assert (fetched.body, fetched.is_cut) == (FEED, False)


def test_a_head_without_an_end_is_given_up(publisher: Publisher, fetcher: Fetcher) -> None:
    line = b"X-Line: %s\r\n" % (b"a" * 1000)
    many = (b"HTTP/1.1 200 OK\r\n", *[line] * (MAX_HEAD_BYTES // 500))
    for path, pieces in (("/f", many), ("/g", (b"\r\n" * MAX_HEAD_BYTES,))):
        with pytest.raises(FetchError) as caught:
            fetcher.fetch(publisher.answer(path, raw(*pieces)))
        assert caught.value.kind == "connect"


def test_many_malformed_lines_cost_little_time() -> None:
    written = head(*[b"bad" * 3, b" folded"] * 4000)
    started_s = time.process_time()
    assert fix_head(written).written == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    assert time.process_time() - started_s < 0.5


def test_a_sound_head_is_handed_on_as_it_is() -> None:
    written = head(b'ETag: "1"', b"X-A:b ", b"Set-Cookie: a=\x01", LENGTH.strip())
    fixed = fix_head(written)
    assert (fixed.written, fixed.length, fixed.is_final) == (written, len(FEED), True)


def test_bytes_behind_an_answer_are_no_answer_to_the_next_request(fetcher: Fetcher) -> None:
    forged = head(b"Content-Length: 6") + b"forged"
    with Publisher() as publisher:
        # The connection stays open: only these bytes could be taken for the next answer.
        url = publisher.answer("/f", Answer(body=FEED + forged, headers={"Content-Length": "60"}))
        assert len(FEED) == 60
        assert fetcher.fetch(url).body == FEED
        assert fetcher.fetch(publisher.serve("/g", FEED + b"\n")).body == FEED + b"\n"


CUT = [
    pytest.param(head(b"Content-Length: 99999") + FEED, id="length too large"),
    pytest.param(
        head(b"Transfer-Encoding: chunked") + b"%x\r\n%s\r\n" % (len(FEED), FEED),
        id="no last chunk",
    ),
    pytest.param(
        head(b"Transfer-Encoding: chunked") + b"%x\r\n%s\r\n0\r\n" % (len(FEED), FEED),
        id="no end of trailers",
    ),
    pytest.param(
        head(b"Transfer-Encoding: chunked") + b"%x\r\n%s\r\nzz\r\n" % (len(FEED), FEED),
        id="no chunk follows",
    ),
    pytest.param(
        head(b"Content-Length: 99999", b"Content-Encoding: gzip") + gzipped(FEED),
        id="length of what was compressed",
    ),
]


@pytest.mark.parametrize("written", CUT)
def test_an_answer_that_ends_early_is_read_as_far_as_it_came(
    publisher: Publisher, fetcher: Fetcher, written: bytes
) -> None:
    fetched = fetcher.fetch(publisher.answer("/f", raw(written)))
    assert (fetched.body, fetched.is_cut) == (FEED, True)
    assert "ended before the end" in fetched.faults[0]


def test_an_answer_of_which_nothing_came_is_a_connection_error(
    publisher: Publisher, fetcher: Fetcher
) -> None:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(publisher.answer("/f", raw(head(LENGTH.strip()))))
    assert (caught.value.kind, caught.value.retryable) == ("connect", True)


def deflated(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


DOUBLE = gzipped(gzipped(FEED))
MEMBERS = b"".join(gzipped(FEED[at : at + 7]) for at in range(0, len(FEED), 7))


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", MEMBERS),
        ("gzip", MEMBERS + bytes(512)),
        ("gzip", gzipped(FEED[:9]) + bytes(3) + gzipped(FEED[9:])),
        ("gzip", gzipped(FEED) + b"what follows is none"),
        (None, gzipped(FEED)),
        (None, MEMBERS),
        (None, DOUBLE),
        ("gzip", DOUBLE),
        ("gzip, gzip", DOUBLE),
        ("gzip, gzip", gzipped(FEED)),
        ("deflate", gzipped(FEED)),
        ("deflate, gzip", gzipped(deflated(FEED))),
        ("gzip", FEED),
        ("deflate", FEED),
        ("gzip, gzip", FEED),
        ("br", FEED),
        ("br", gzipped(FEED)),
        ("gzip", b"\n \xef\xbb\xbf"[:2] + FEED),
        ("gzip", b"\xef\xbb\xbf" + FEED),
        ("gzip", "\ufeff<rss/>".encode("utf-16-le")),
        ("UTF-8", FEED),
        ("utf-8", gzipped(FEED)),
        ("none", FEED),
        ("None", FEED),
        ("binary", FEED),
        ("8bit", FEED),
        ("identity", FEED),
        ("identity", gzipped(FEED)),
        ("identity, gzip", gzipped(FEED)),
        ("application/gzip", gzipped(FEED)),
        ("iso-8859-1", '{"title": "ü"}'.encode()),
        ("", FEED),
        (",", FEED),
    ],
)
@pytest.mark.parametrize("piece_bytes", [1, 1 << 20])
def test_a_body_is_read_by_what_its_bytes_are(
    publisher: Publisher, fetcher: Fetcher, coding: str | None, body: bytes, piece_bytes: int
) -> None:
    pieces = [body[at : at + piece_bytes] for at in range(0, len(body), piece_bytes)]
    headers = {} if coding is None else {"Content-Encoding": coding}
    url = publisher.answer("/f", Answer(pieces=lambda: pieces, headers=headers))
    fetched = fetcher.fetch(url)
    plain = body if not body.startswith((b"\x1f", b"x")) else FEED
    assert (fetched.body, fetched.is_cut, fetched.faults) == (plain, False, ())


@pytest.mark.parametrize(("coding", "body"), [("br", b"\x0b\x02\x80"), ("zstd", b"(\xb5/\xfd")])
def test_what_cannot_be_decoded_is_refused(
    publisher: Publisher, fetcher: Fetcher, coding: str, body: bytes
) -> None:
    url = publisher.answer("/f", Answer(body=body, headers={"Content-Encoding": coding}))
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(url)
    assert caught.value.kind == "encoding"
    assert coding in str(caught.value)


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
def test_a_gzip_that_breaks_off_is_partial(
    publisher: Publisher, fetcher: Fetcher, headers: dict[str, str]
) -> None:
    text = b"".join(os.urandom(20).hex().encode() + b"\n" for _ in range(20_000))
    body = b"<rss>" + text
    whole = gzipped(body)
    for cut in (len(whole) // 2, len(whole) - 4):
        url = publisher.answer("/f", Answer(body=whole[:cut], headers=headers))
        fetched = fetcher.fetch(url)
        assert fetched.is_cut
        assert body.startswith(fetched.body)
        assert len(fetched.body) > len(body) // 3
        assert fetched.faults == ("the body breaks off in the middle of its gzip",)


def test_pieces_of_exactly_the_decoders_size_are_whole(
    publisher: Publisher, fetcher: Fetcher
) -> None:
    for size in (1 << 18, (1 << 18) - 1, (1 << 18) + 1, 1 << 19):
        body = b"<" + b"a" * (size - 1)
        url = publisher.answer("/f", Answer(body=gzipped(body)))
        fetched = fetcher.fetch(url)
        assert (len(fetched.body), fetched.is_cut) == (size, False)


@pytest.mark.parametrize("coding", [None, "gzip", "UTF-8"])
def test_undeclared_bombs_are_limited_alike(
    publisher: Publisher, make_fetcher: MakeFetcher, coding: str | None
) -> None:
    headers = {} if coding is None else {"Content-Encoding": coding}
    layer = gzipped(bytes(1 << 24))
    fetcher = make_fetcher(max_bytes=1 << 25)
    hidden = gzipped(gzipped(b"<rss>") + bytes(1 << 24))
    for body in (layer, gzipped(layer), gzipped(b"") * (MAX_MEMBERS + 9), hidden):
        started_s = time.process_time()
        with pytest.raises(FetchError) as caught:
            fetcher.fetch(publisher.answer("/f", Answer(body=body, headers=headers)))
        assert caught.value.kind == "too_large"
        assert time.process_time() - started_s < 3.0


@pytest.mark.parametrize("status", [404, 406, 410, 403, 500, 503])
def test_a_feed_that_comes_with_an_error_is_named(
    publisher: Publisher, fetcher: Fetcher, status: int
) -> None:
    json_feed = b'{"title": "t", "version": "https://jsonfeed.org/version/1.1", "items": []}'
    atom = b'<?xml version="1.0"?>\n<feed xmlns="http://www.w3.org/2005/Atom"></feed>'
    for body in (FEED, atom, json_feed, gzipped(FEED), FEED + bytes(1 << 23)):
        with pytest.raises(FetchError) as caught:
            fetcher.fetch(publisher.answer("/f", Answer(status, body)))
        assert str(caught.value).startswith(f"server answered {status}, though with a feed")
        assert caught.value.http_status == status


@pytest.mark.parametrize(
    "body",
    [
        b"", b"not found", b"<html><body><pre>&lt;rss></pre><rss ></html>", b'{"version": "1"}',
        b"\x1f\x8bbroken gzip", b"<!DOCTYPE html><feed >",
    ],
)  # fmt: skip
def test_an_error_without_a_feed_is_told_as_before(
    publisher: Publisher, fetcher: Fetcher, body: bytes
) -> None:
    for answer in (Answer(404, body), Answer(404, body, cut=True)):
        with pytest.raises(FetchError) as caught:
            fetcher.fetch(publisher.answer("/f", answer))
        assert (caught.value.kind, str(caught.value)) == ("http_status", "server answered 404")


def test_the_body_of_an_error_is_not_waited_for_long(
    publisher: Publisher, make_fetcher: MakeFetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.fetching.fetcher.LONGEST_LOOK_S", 0.2)
    url = publisher.answer("/f", Answer(404, FEED, {"Content-Length": "99"}))
    started_s = time.monotonic()
    with pytest.raises(FetchError) as caught:
        make_fetcher(timeout_s=30.0).fetch(url)
    assert "though with a feed" in str(caught.value)
    assert time.monotonic() - started_s < 10.0


@pytest.mark.parametrize("status", [203, 206])
def test_other_successes_are_read(publisher: Publisher, fetcher: Fetcher, status: int) -> None:
    assert fetcher.fetch(publisher.answer("/f", Answer(status, FEED))).body == FEED


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure_publisher(authority: trustme.CA) -> Iterator[Publisher]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with Publisher(tls=context) as publisher:
        publisher.serve("/f", FEED)
        yield publisher


@pytest.mark.parametrize("given", ["file", "folder", "folders"])
def test_a_private_authority_can_be_trusted(
    authority: trustme.CA,
    secure_publisher: Publisher,
    make_fetcher: MakeFetcher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: str,
) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    file = folder / "own.pem"
    authority.cert_pem.write_to_path(str(file))
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(FetchError) as caught:
        make_fetcher().fetch(secure_publisher.url("/f"))
    assert caught.value.kind == "tls"
    if given == "file":
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    else:
        other = tmp_path / "empty"
        other.mkdir()
        both = f"{other}{os.pathsep}{folder}"
        monkeypatch.setenv("SSL_CERT_DIR", both if given == "folders" else str(folder))
    fetched = make_fetcher().fetch(secure_publisher.url("/f"))
    assert fetched.body == FEED


def test_an_own_authority_takes_away_no_other(authority: trustme.CA, tmp_path: Path) -> None:
    file = tmp_path / "own.pem"
    authority.cert_pem.write_to_path(str(file))
    system = make_ssl_context({}).cert_store_stats()["x509_ca"]
    assert make_ssl_context({"SSL_CERT_FILE": str(file)}).cert_store_stats()["x509_ca"] == (
        system + 1
    )


def test_a_place_without_certificates_is_said_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("no certificate")
    wrong = (
        {"SSL_CERT_FILE": str(tmp_path / "missing.pem")},
        {"SSL_CERT_FILE": str(tmp_path / "none.pem")},
        {"SSL_CERT_DIR": str(tmp_path / "missing")},
        {"SSL_CERT_DIR": str(tmp_path)},
    )
    for environment in wrong:
        [variable] = environment
        with pytest.raises(SettingsError, match=variable):
            make_ssl_context(environment)
