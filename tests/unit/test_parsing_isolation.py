"""Parser processes: equal to parsing here, limited, replaced when they die, never left behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from server.parsing import parse_feed
from server.parsing.isolation import ParserPool
from server.parsing.parser_process import RETIRE_ABOVE_BYTES
from shared.errors import ParseError
from tests.feeds.make_feed import make_feed

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 3, tzinfo=UTC)
FEED = make_feed(3).encode()


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool(1, wall_s=20.0) as pool:
        yield pool


def parse(pool: ParserPool, body: bytes) -> list[str]:
    feed = pool.parse(body, content_type="text/xml", url="https://x.example/f", now=NOW)
    return [entry.item.guid for entry in feed.entries]


def parse_in_vain(pool: ParserPool) -> None:
    with pytest.raises(ParseError):
        parse(pool, FEED)


def pid_of(pool: ParserPool) -> int:
    (process,) = pool._running
    return process._process.pid


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pid: int) -> bool:
    ends_at = time.monotonic() + 10
    while is_running(pid) and time.monotonic() < ends_at:
        threading.Event().wait(0.02)
    return not is_running(pid)


def test_a_process_gives_the_same_feed_as_parsing_here(pool: ParserPool) -> None:
    here = parse_feed(FEED, content_type="text/xml", url="https://x.example/f", now=NOW)
    there = pool.parse(FEED, content_type="text/xml", url="https://x.example/f", now=NOW)
    assert there == here


def test_a_process_is_used_again(pool: ParserPool) -> None:
    parse(pool, FEED)
    pid = pid_of(pool)
    with pytest.raises(ParseError) as caught:
        parse(pool, b"<html></html>")
    assert caught.value.kind == "html"
    parse(pool, FEED)
    assert pid_of(pool) == pid


def test_a_process_of_a_large_server_is_used_again(pool: ParserPool) -> None:
    large = b"x" * (RETIRE_ABOVE_BYTES + (50 << 20))
    parse(pool, FEED)
    first = pid_of(pool)
    parse(pool, FEED)
    assert pid_of(pool) == first
    assert large


def test_a_process_that_died_is_replaced(pool: ParserPool) -> None:
    parse(pool, FEED)
    os.kill(pid_of(pool), signal.SIGKILL)
    assert wait_until_gone(pid_of(pool))
    assert parse(pool, FEED) == ["item-1", "item-2", "item-3"]


def test_a_document_that_takes_too_long_is_given_up_and_the_next_one_is_not() -> None:
    with ParserPool(1, wall_s=0.2) as pool:
        with pytest.raises(ParseError) as caught:
            parse(pool, make_feed(20_000).encode())
        assert caught.value.kind == "limits"
        assert not pool._running
        pool._wall_s = 20.0
        assert len(parse(pool, FEED)) == 3


def test_processor_time_is_limited_for_each_document() -> None:
    # What it may use is counted in whole seconds, from its start.
    with ParserPool(1, cpu_s=0, wall_s=30.0) as pool:
        with pytest.raises(ParseError) as caught:
            parse(pool, b"<rss><channel>" + b"<a></a>" * 1_900_000)
        assert caught.value.kind == "limits"
        pool._cpu_s = 20
        assert len(parse(pool, FEED)) == 3


def test_memory_is_limited() -> None:
    with ParserPool(1, memory_bytes=200 << 20, wall_s=30.0) as pool:
        with pytest.raises(ParseError) as caught:
            parse(pool, b"<rss><channel>" + b"<item><a/></item>" * 1_500_000)
        assert caught.value.kind == "limits"
        assert len(parse(pool, FEED)) == 3


@pytest.mark.timeout(60)
def test_a_request_too_large_for_the_parser_s_memory_is_refused_and_the_next_one_is_not() -> None:
    with ParserPool(1, memory_bytes=200 << 20, wall_s=20.0) as pool:
        with pytest.raises(ParseError) as caught:
            parse(pool, b"<rss>" + b"x" * (220 << 20))
        assert caught.value.kind == "limits"
        assert len(parse(pool, FEED)) == 3


@pytest.mark.timeout(60)
@pytest.mark.parametrize("size", [10, 4 << 20])
def test_a_parser_that_stands_still_holds_nobody_up_for_longer_than_allowed(size: int) -> None:
    """Ten bytes fit into the pipe and wait for an answer; the rest waits to be written."""
    with ParserPool(1, wall_s=20.0) as pool:
        parse(pool, FEED)
        os.kill(pid_of(pool), signal.SIGSTOP)
        pool._wall_s = 0.2
        with pytest.raises(ParseError) as caught:
            parse(pool, b"<" * size)
        assert caught.value.kind == "limits"
        pool._wall_s = 20.0
        assert len(parse(pool, FEED)) == 3


@pytest.mark.timeout(60)
def test_a_parser_that_dies_in_the_middle_of_a_request_is_replaced() -> None:
    with ParserPool(1, wall_s=20.0) as pool:
        parse(pool, FEED)
        os.kill(pid_of(pool), signal.SIGSTOP)
        killer = threading.Timer(0.2, os.kill, (pid_of(pool), signal.SIGKILL))
        killer.start()
        # More than fits into the pipe to it.
        body = make_feed(5_000).encode()
        assert len(parse(pool, body)) == 5_000
        killer.join()


def test_the_wait_for_a_parser_ends_in_time_and_blames_no_document() -> None:
    with ParserPool(1, wall_s=20.0) as pool:
        parse(pool, FEED)
        os.kill(pid_of(pool), signal.SIGSTOP)
        busy = threading.Thread(target=lambda: parse_in_vain(pool))
        busy.start()
        while pool._places.qsize():
            threading.Event().wait(0.01)
        for timeout_s, kind in ((0.2, "timeout"), (0.0, "timeout")):
            with pytest.raises(ParseError) as caught:
                pool.parse(FEED, content_type=None, url=None, now=NOW, timeout_s=timeout_s)
            assert (caught.value.kind, caught.value.retryable) == (kind, True)
        pool.close()
        busy.join(10)
        assert not busy.is_alive()


def test_time_left_that_is_too_short_is_not_the_document_s_fault(pool: ParserPool) -> None:
    parse(pool, FEED)
    with pytest.raises(ParseError) as caught:
        pool.parse(make_feed(20_000).encode(), content_type=None, url=None, now=NOW, timeout_s=0.1)
    assert (caught.value.kind, caught.value.retryable) == ("timeout", True)


def test_a_parser_that_cannot_be_started_is_our_own_trouble_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    with ParserPool(1, wall_s=20.0) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(subprocess, "Popen", refuse)
            with pytest.raises(ParseError) as caught:
                parse(pool, FEED)
        assert (caught.value.kind, caught.value.retryable) == ("internal", True)
        assert len(parse(pool, FEED)) == 3


def test_closing_ends_all_processes_even_busy_ones() -> None:
    pool = ParserPool(2, wall_s=30.0)
    kinds: list[str] = []

    def work() -> None:
        try:
            parse(pool, make_feed(3_000).encode())
        except ParseError as exc:
            kinds.append(exc.kind)

    parse(pool, FEED)
    pids = {pid_of(pool)}
    thread = threading.Thread(target=work)
    thread.start()
    pool.close()
    pool.close()
    thread.join(10)
    assert all(wait_until_gone(pid) for pid in pids)
    assert kinds in ([], ["limits"])
    with pytest.raises(ParseError) as caught:
        parse(pool, FEED)
    assert caught.value.retryable


@pytest.mark.parametrize("is_busy", [False, True])
def test_no_process_outlives_a_parent_that_is_killed(is_busy: bool) -> None:
    """The parent starts a parser, tells its pid, and is killed, idle or in mid-document."""
    script = f"""
import sys, threading
from datetime import datetime, UTC
from server.parsing.isolation import ParserPool
from server.parsing.parser_process import RETIRE_ABOVE_BYTES
from tests.feeds.make_feed import make_feed
now = datetime(2026, 11, 3, tzinfo=UTC)
pool = ParserPool(1)
pool.parse(make_feed(1).encode(), content_type=None, url=None, now=now)
print(next(iter(pool._running))._process.pid, flush=True)
if {is_busy}:
    pool.parse(make_feed(100000).encode(), content_type=None, url=None, now=now)
sys.stdin.read()
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    pid = int(parent.stdout.readline())
    assert is_running(pid)
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    parent.stdin.close()
    assert wait_until_gone(pid)


def test_many_threads_share_few_processes() -> None:
    with ParserPool(2, wall_s=30.0) as pool:
        results: list[int] = []

        def work(item_count: int) -> None:
            results.append(len(parse(pool, make_feed(item_count).encode())))

        threads = [threading.Thread(target=work, args=(count,)) for count in range(1, 13)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(results) == list(range(1, 13))
        assert len(pool._running) <= 2


def test_ten_thousand_items_are_parsed_in_a_few_seconds(pool: ParserPool) -> None:
    body = make_feed(10_000).encode()
    parse(pool, FEED)
    [process] = pool._running
    before_s = cpu_s(process._process.pid)
    assert len(parse(pool, body)) == 10_000
    # Processor time: it does not depend on who else works on this machine.
    assert cpu_s(process._process.pid) - before_s < 5.0


def cpu_s(pid: int) -> float:
    """Return how many seconds of processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
