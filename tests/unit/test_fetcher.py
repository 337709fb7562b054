"""The fetcher against a publisher on loopback."""

import contextlib
import gzip
import itertools
import socket
import threading
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest

from server.fetching.answers import Validators
from server.fetching.fetcher import Fetcher
from shared.errors import FetchError
from tests.fetchers import MakeFetcher, open_fetchers
from tests.publisher import Answer, Publisher

FEED = b"<rss version='2.0'><channel><title>t</title></channel></rss>"


def gzipped(body: bytes, coding: str) -> Answer:
    return Answer(body=body, headers={"Content-Encoding": coding})


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as publisher:
        yield publisher


@pytest.fixture
def make_fetcher() -> Iterator[MakeFetcher]:
    with open_fetchers(timeout_s=10.0, max_bytes=1 << 20) as make:
        yield make


@pytest.fixture
def fetcher(make_fetcher: MakeFetcher) -> Fetcher:
    return make_fetcher()


def fail(fetcher: Fetcher, url: str, **arguments: object) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(url, **arguments)  # type: ignore[arg-type]
    return caught.value


def test_a_first_request_is_unconditional_and_carries_nothing_odd(
    publisher: Publisher, fetcher: Fetcher
) -> None:
    url = publisher.serve("/f?x=1", FEED)
    fetched = fetcher.fetch(url)
    request = publisher.requests[0]
    assert (fetched.http_status, fetched.body, fetched.not_modified) == (200, FEED, False)
    assert fetched.content_type == "application/rss+xml"
    assert request.path == "/f?x=1"
    assert sorted(name.lower() for name in request.headers) == [
        "accept", "accept-encoding", "host", "user-agent",
    ]  # fmt: skip
    assert request.header("User-Agent") == "Feedmill-test/1 (+https://feedmill.example)"


@pytest.mark.parametrize("etag", ['"abc"', 'W/"abc-gzip"', "unquoted", '"\xe9\xff"', '"a, b"'])
def test_validators_are_sent_back_byte_for_byte(
    publisher: Publisher, fetcher: Fetcher, etag: str
) -> None:
    modified = "Mon, 2 Nov 2026 10:00:00 +0000 odd"
    url = publisher.serve("/f", FEED, etag=etag, last_modified=modified)
    first = fetcher.fetch(url)
    second = fetcher.fetch(url, validators=first.validators)
    assert (second.http_status, second.not_modified, second.body) == (304, True, b"")
    assert publisher.requests[1].header("If-None-Match") == etag
    assert publisher.requests[1].header("If-Modified-Since") == modified
    assert second.validators == first.validators


def test_an_equal_body_is_not_modified_but_its_new_validators_count(
    publisher: Publisher, fetcher: Fetcher
) -> None:
    first = fetcher.fetch(publisher.serve("/f", FEED, etag='"1"'))
    second = fetcher.fetch(publisher.serve("/f", FEED, etag='"2"'), validators=first.validators)
    assert (second.http_status, second.not_modified) == (200, True)
    assert second.validators.etag == '"2"'


def test_an_answer_without_validators_has_none(publisher: Publisher, fetcher: Fetcher) -> None:
    fetched = fetcher.fetch(publisher.answer("/f", Answer(body=FEED)))
    assert (fetched.validators.etag, fetched.validators.last_modified) == (None, None)


def test_a_monstrous_etag_is_dropped(publisher: Publisher, fetcher: Fetcher) -> None:
    fetched = fetcher.fetch(publisher.serve("/f", FEED, etag='"' + "e" * 2000 + '"'))
    assert fetched.validators.etag is None


def test_an_unasked_304_is_an_error(publisher: Publisher, fetcher: Fetcher) -> None:
    error = fail(fetcher, publisher.answer("/f", Answer(304)))
    assert (error.kind, error.http_status, error.retryable) == ("http_status", 304, False)


@pytest.mark.parametrize(
    ("answer", "kind", "retryable", "retry_after_s"),
    [
        (Answer(400), "http_status", False, None),
        (Answer(403), "blocked", False, None),
        (Answer(404), "http_status", False, None),
        (Answer(410), "gone", False, None),
        (Answer(429), "rate_limited", False, None),
        (Answer(429, headers={"Retry-After": "120"}), "rate_limited", False, 120.0),
        (Answer(429, headers={"Retry-After": "0"}), "rate_limited", False, 0.0),
        (Answer(429, headers={"Retry-After": "-5"}), "rate_limited", False, 0.0),
        (Answer(429, headers={"Retry-After": "9" * 30}), "rate_limited", False, 604800.0),
        (Answer(429, headers={"Retry-After": "soon"}), "rate_limited", False, None),
        (Answer(503, headers={"Retry-After": "60"}), "rate_limited", False, 60.0),
        (Answer(503), "http_status", True, None),
        (Answer(500, headers={"Retry-After": "60"}), "http_status", True, None),
        (Answer(503, headers={"cf-mitigated": "challenge"}), "blocked", False, None),
    ],
)
def test_error_answers_are_sorted(
    publisher: Publisher,
    fetcher: Fetcher,
    answer: Answer,
    kind: str,
    retryable: bool,
    retry_after_s: float | None,
) -> None:
    error = fail(fetcher, publisher.answer("/f", answer))
    assert (error.kind, error.retryable, error.retry_after_s) == (kind, retryable, retry_after_s)
    assert error.http_status == answer.status


def test_cookies_live_only_within_one_fetch(publisher: Publisher, fetcher: Fetcher) -> None:
    redirect = {"Location": "/b", "Set-Cookie": "pass=7; Path=/"}
    url = publisher.answer("/a", Answer(302, headers=redirect))
    publisher.serve("/b", FEED, headers={"Set-Cookie": "track=me"})
    fetcher.fetch(url)
    fetcher.fetch(url)
    assert [request.header("Cookie") for request in publisher.requests] == [
        None, "pass=7", None, "pass=7",
    ]  # fmt: skip
    assert all(request.header("Referer") is None for request in publisher.requests)


def test_only_a_chain_of_permanent_redirects_is_permanent(
    publisher: Publisher, fetcher: Fetcher
) -> None:
    target = publisher.serve("/new", FEED)
    publisher.redirect("/moved", "/new", 308)
    publisher.redirect("/old", "/moved", 301)
    publisher.redirect("/today", "/moved", 302)
    assert fetcher.fetch(publisher.url("/old")).permanent_url == target
    temporary = fetcher.fetch(publisher.url("/today"))
    assert (temporary.permanent_url, temporary.final_url) == (None, target)
    assert fetcher.fetch(target).permanent_url is None


def test_an_error_names_the_host_that_it_happened_at(
    publisher: Publisher, fetcher: Fetcher
) -> None:
    publisher.answer("/gone", Answer(410))
    publisher.redirect("/here", "/gone")
    publisher.redirect("/away", "http://127.0.0.1:1/feed")
    own = f"127.0.0.1:{publisher.port}"
    failures = [fail(fetcher, publisher.url(path)) for path in ("/here", "/away")]
    assert [(error.kind, error.host) for error in failures] == [
        ("gone", own),
        ("connect", "127.0.0.1:1"),
    ]
    assert fail(fetcher, "http://").host is None


def test_five_redirects_are_followed_and_no_more(publisher: Publisher, fetcher: Fetcher) -> None:
    for number in range(6):
        publisher.redirect(f"/{number}", f"/{number + 1}")
    publisher.serve("/6", FEED)
    assert fetcher.fetch(publisher.url("/1")).http_status == 200
    assert fail(fetcher, publisher.url("/0")).kind == "redirect"


@pytest.mark.parametrize(
    "location",
    ["", "file:///etc/passwd", "gopher://x/", "http://", "http://[", "//", "http://a b/"],
)
def test_a_redirect_to_no_web_address_is_refused(
    publisher: Publisher, fetcher: Fetcher, location: str
) -> None:
    assert fail(fetcher, publisher.redirect("/f", location)).kind == "redirect"


def test_validators_stay_with_the_address_they_came_from(
    publisher: Publisher, fetcher: Fetcher
) -> None:
    publisher.serve("/b", FEED, etag='"b"')
    url = publisher.redirect("/a", "/b")
    first = fetcher.fetch(url)
    assert fetcher.fetch(url, validators=first.validators).http_status == 304
    asked = [request.header("If-None-Match") for request in publisher.requests]
    assert asked == [None, None, None, '"b"']


def test_validators_are_not_carried_over_a_redirect(publisher: Publisher, fetcher: Fetcher) -> None:
    for path in ("/b", "/c"):
        publisher.serve(path, FEED, etag='"same"')
    url = publisher.redirect("/a", "/b")
    validators = fetcher.fetch(url).validators
    assert validators.final_url == publisher.url("/b")
    publisher.redirect("/a", "/c")
    assert fetcher.fetch(url, validators=validators).http_status == 200
    publisher.serve("/a", FEED, etag='"same"')
    assert fetcher.fetch(url, validators=validators).http_status == 200
    assert all(request.header("If-None-Match") is None for request in publisher.requests)


def test_secrets_stay_with_their_origin(publisher: Publisher, fetcher: Fetcher) -> None:
    with Publisher() as other:
        target = other.serve("/f", FEED)
        publisher.redirect("/same", "/away")
        publisher.redirect("/away", target)
        url = publisher.url("/same").replace("http://", "http://me:s3cr3t@")
        headers = {"X-Api-Key": "k3y", "User-Agent": "mine", "Host": "evil.example"}
        fetched = fetcher.fetch(url, headers=headers)
        here, there = publisher.requests, other.requests[0]
    assert [request.header("Authorization") for request in here] == ["Basic bWU6czNjcjN0"] * 2
    assert [request.header("X-Api-Key") for request in here] == ["k3y"] * 2
    assert (there.header("Authorization"), there.header("X-Api-Key")) == (None, None)
    assert there.header("User-Agent") == "mine"
    assert here[0].header("Host") == f"127.0.0.1:{publisher.port}"
    assert "s3cr3t" not in fetched.final_url + str(fetched.validators)


def test_errors_do_not_tell_credentials(publisher: Publisher, fetcher: Fetcher) -> None:
    url = publisher.answer("/f", Answer(500)).replace("http://", "http://me:s3cr3t@")
    error = fail(fetcher, url + "?token=s3cr3t")
    assert "s3cr3t" not in f"{error} {error.url} {error!r}"
    odd = fail(fetcher, publisher.url("/f"), headers={"X-Key": "s3cr3t\r\nX-Evil: 1"})
    moved = fail(fetcher, publisher.redirect("/g", "http://[me:s3cr3t/?token=s3cr3t"))
    assert (odd.kind, moved.kind) == ("bad_url", "redirect")
    # Kept with the failed job, as the trace of the whole chain.
    for failed in (odd, moved):
        assert "s3cr3t" not in "".join(traceback.format_exception(failed))


def deflate_raw(body: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflater.compress(body) + deflater.flush()


@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, deflate_raw])
def test_compressed_bodies_are_decoded(
    publisher: Publisher, fetcher: Fetcher, compress: Callable[[bytes], bytes]
) -> None:
    name = "gzip" if compress is gzip.compress else "deflate"
    answer = Answer(body=compress(FEED), headers={"Content-Encoding": name}, chunked=True)
    assert fetcher.fetch(publisher.answer("/f", answer)).body == FEED


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(body=b"x", headers={"Content-Encoding": "br"}), "encoding"),
        (Answer(body=b"x", headers={"Content-Encoding": "gzip, gzip, gzip"}), "encoding"),
        (Answer(body=b"no gzip", headers={"Content-Encoding": "gzip"}), "encoding"),
        (Answer(body=b"x" * (1 << 21)), "too_large"),
        (Answer(body=b"x" * (1 << 21), chunked=True), "too_large"),
        (Answer(body=b"", headers={"Content-Length": str(1 << 40)}), "too_large"),
        (gzipped(gzip.compress(bytes(1 << 26)), "gzip"), "too_large"),
        (gzipped(gzip.compress(gzip.compress(bytes(1 << 26))), "gzip, gzip"), "too_large"),
    ],
)  # fmt: skip
def test_bodies_beyond_the_limits_are_given_up(
    publisher: Publisher, fetcher: Fetcher, answer: Answer, kind: str
) -> None:
    assert fail(fetcher, publisher.answer("/f", answer)).kind == kind


def endless(first: bytes, rest: bytes) -> Iterator[bytes]:
    """64 MiB in pieces, which decode to next to nothing."""
    yield first
    for _ in range((1 << 26) // len(rest)):
        yield rest


STORED_EMPTY = b"\x00\x00\x00\xff\xff"  # a block of deflate that holds nothing


@pytest.mark.parametrize(
    ("coding", "first", "rest"),
    [
        pytest.param("gzip", gzip.compress(FEED), bytes(1 << 16), id="behind the end"),
        pytest.param("deflate", STORED_EMPTY, STORED_EMPTY * 10_000, id="empty blocks"),
        pytest.param("gzip", gzip.compress(FEED), gzip.compress(b""), id="empty members"),
    ],
)
def test_a_body_that_decodes_to_nothing_is_limited_by_what_it_sends(
    publisher: Publisher, make_fetcher: MakeFetcher, coding: str, first: bytes, rest: bytes
) -> None:
    answer = Answer(pieces=lambda: endless(first, rest), headers={"Content-Encoding": coding})
    # Processor time of publisher and fetcher together: it does not depend on who else works here.
    fetcher, started_s = make_fetcher(timeout_s=60.0), time.process_time()
    assert fail(fetcher, publisher.answer("/f", answer)).kind == "too_large"
    assert time.process_time() - started_s < 8.0


def test_a_body_in_tiny_pieces_costs_no_more_memory_than_its_size(
    publisher: Publisher, make_fetcher: MakeFetcher
) -> None:
    pieces = Answer(pieces=lambda: itertools.repeat(b"ab", 30_000))
    fetcher = make_fetcher(timeout_s=60.0)
    url = publisher.answer("/f", pieces)
    fetcher.fetch(publisher.serve("/small", FEED))
    tracemalloc.start()
    try:
        assert fetcher.fetch(url).body == b"ab" * 30_000
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1_500_000


def test_a_bomb_below_the_limit_is_known_by_its_ratio(
    publisher: Publisher, make_fetcher: MakeFetcher
) -> None:
    body = gzip.compress(bytes(1 << 24))
    url = publisher.answer("/f", Answer(body=body, headers={"Content-Encoding": "gzip"}))
    error = fail(make_fetcher(max_bytes=1 << 25), url)
    assert error.kind == "too_large"
    assert "times" in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"x" * 1000, drip_s=0.05),
        Answer(body=b"x" * 1000, drip_s=0.05, chunked=True),
        Answer(hang=True),
    ],
)
def test_no_drip_outlasts_the_deadline(
    publisher: Publisher, make_fetcher: MakeFetcher, answer: Answer
) -> None:
    started_s = time.monotonic()
    error = fail(make_fetcher(timeout_s=0.3), publisher.answer("/f", answer))
    assert (error.kind, error.retryable) == ("timeout", True)
    assert time.monotonic() - started_s < 10.0


def test_a_closed_port_is_a_retryable_connection_error(fetcher: Fetcher) -> None:
    with Publisher() as gone:
        url = gone.url()
    error = fail(fetcher, url)
    assert (error.kind, error.retryable) == ("connect", True)


def test_freshness_is_read_from_the_headers(publisher: Publisher, fetcher: Fetcher) -> None:
    url = publisher.serve("/f", FEED, headers={"Cache-Control": "public, max-age=600", "Age": "60"})
    assert fetcher.fetch(url).cache_max_age_s == 540
    dates = {"Date": "Mon, 02 Nov 2026 10:00:00 GMT", "Expires": "Mon, 02 Nov 2026 10:30:00 GMT"}
    assert fetcher.fetch(publisher.serve("/g", FEED, headers=dates)).cache_max_age_s == 1800
    assert fetcher.fetch(publisher.serve("/h", FEED)).cache_max_age_s is None


def test_a_retry_after_date_is_seconds_from_now(publisher: Publisher, fetcher: Fetcher) -> None:
    past = Answer(429, headers={"Retry-After": "Mon, 01 Jan 2001 10:00:00 GMT"})
    assert fail(fetcher, publisher.answer("/f", past)).retry_after_s == 0
    far = Answer(429, headers={"Retry-After": "Fri, 01 Jan 2100 10:00:00 GMT"})
    assert fail(fetcher, publisher.answer("/g", far)).retry_after_s == 7 * 86400


def test_many_threads_fetch_at_once_each_with_its_own_deadline(
    publisher: Publisher, make_fetcher: MakeFetcher
) -> None:
    fetcher = make_fetcher(timeout_s=30.0)
    slow, fast = publisher.answer("/slow", Answer(hang=True)), publisher.serve("/fast", FEED)
    kinds: list[str] = []

    def fetch_slow() -> None:
        kinds.append(fail(fetcher, slow, timeout_s=0.3).kind)

    threads = [threading.Thread(target=fetch_slow) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert all(fetcher.fetch(fast).http_status == 200 for _ in range(20))
    for thread in threads:
        thread.join(5)
    assert kinds == ["timeout"] * 4


def test_a_validator_without_an_address_goes_with_the_first_request(
    publisher: Publisher, fetcher: Fetcher
) -> None:
    url = publisher.serve("/f", FEED, etag='"1"')
    assert fetcher.fetch(url, validators=Validators(etag='"1"')).http_status == 304


def serve_connections(listener: socket.socket, answers_each: int, opened: list[int]) -> None:
    """Answer so many requests of each connection with 304, then close it when asked once more."""
    not_modified = b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n'
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        opened.append(1)
        with connection:
            for _ in range(answers_each):
                if connection.recv(65536):
                    connection.sendall(not_modified)
            connection.recv(65536)


@contextlib.contextmanager
def closing_server(answers_each: int) -> Iterator[tuple[str, list[int]]]:
    opened: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = (listener, answers_each, opened)
        thread = threading.Thread(target=serve_connections, args=arguments, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/f", opened
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def test_a_304_leaves_its_connection_to_the_next_fetch(fetcher: Fetcher) -> None:
    with closing_server(3) as (url, opened):
        for _ in range(3):
            assert fetcher.fetch(url, validators=Validators(etag='"1"')).http_status == 304
        assert len(opened) == 1
        fetcher.close()


def test_a_kept_connection_that_its_server_closes_is_no_error(fetcher: Fetcher) -> None:
    with closing_server(1) as (url, opened):
        for _ in range(3):
            assert fetcher.fetch(url, validators=Validators(etag='"1"')).http_status == 304
        assert len(opened) == 3
        fetcher.close()


def test_a_new_connection_that_closes_without_an_answer_is_not_tried_again(
    fetcher: Fetcher,
) -> None:
    with closing_server(0) as (url, opened):
        error = fail(fetcher, url)
        assert (error.kind, error.retryable, len(opened)) == ("connect", True, 1)
