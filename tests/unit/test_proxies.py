"""What is believed of a request's headers, by who sent it."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from server.api.proxies import RootPath, TrustedProxies

PROXY, CLIENT = "10.0.0.1", "192.0.2.7"
FORWARDED = {"x-forwarded-for": CLIENT, "x-forwarded-proto": "https", "x-forwarded-host": "outer"}


def pass_through(middleware: Any, options: dict[str, Any], scope: dict[str, Any]) -> Scope:
    """Return the request that an application behind a middleware gets."""
    seen: list[Scope] = []

    async def note(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope)

    asyncio.run(middleware(note, **options)(scope, None, None))
    return seen[0]


def through_proxy(trusted: list[str], client: str, headers: dict[str, str]) -> tuple[str, str, str]:
    """Return client, scheme and host of a request as the application sees them."""
    sent = {"host": "in", **headers}
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    scope = {"type": "http", "scheme": "http", "client": (client, 1), "headers": raw}
    seen = pass_through(TrustedProxies, {"proxies": trusted}, scope)
    return seen["client"][0], seen["scheme"], dict(seen["headers"])[b"host"].decode()


@pytest.mark.parametrize(
    ("trusted", "client"),
    [
        ([PROXY], PROXY),
        (["10.0.0.0/8"], PROXY),
        (["192.168.0.1", "10.0.0.0/8"], PROXY),
        (["fd00::/8"], "fd00::5"),
        (["*"], "203.0.113.9"),
        (["192.168.0.1", "*"], "203.0.113.9"),
        # As a socket for both families shows an IPv4 address.
        ([PROXY], f"::ffff:{PROXY}"),
        (["10.0.0.0/8"], f"::ffff:{PROXY}"),
    ],
)
def test_headers_of_a_trusted_proxy_count(trusted: list[str], client: str) -> None:
    assert through_proxy(trusted, client, FORWARDED) == (CLIENT, "https", "outer")


@pytest.mark.parametrize("client", [CLIENT, "10.1.0.1", "testclient", "fd00::1"])
def test_headers_of_others_are_not_read(client: str) -> None:
    assert through_proxy([PROXY], client, FORWARDED) == (client, "http", "in")


@pytest.mark.parametrize(
    ("sent", "client"),
    [
        (f"203.0.113.9, {CLIENT}", CLIENT),  # what a client sends comes first
        (f"{CLIENT}, {PROXY}", CLIENT),  # two proxies in a row
        (f"{CLIENT}:4711", CLIENT),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("", PROXY),
    ],
)
def test_client_is_the_last_one_that_is_no_proxy(sent: str, client: str) -> None:
    assert through_proxy([PROXY], PROXY, {"x-forwarded-for": sent})[0] == client


@pytest.mark.parametrize(("sent", "host"), [("a, outer", "outer"), ("", "in"), (" ", "in")])
def test_host_is_what_the_last_proxy_wrote(sent: str, host: str) -> None:
    assert through_proxy([PROXY], PROXY, {"x-forwarded-host": sent})[2] == host


@pytest.mark.parametrize("scheme", ["ftp", "javascript", ""])
def test_scheme_that_is_none_of_the_web_is_not_taken(scheme: str) -> None:
    assert through_proxy([PROXY], PROXY, {"x-forwarded-proto": scheme})[1] == "http"


@pytest.mark.parametrize(
    ("asked", "raw", "path", "raw_path"),
    [
        ("/reader", b"/reader", "/", b"/"),
        ("/reader/", b"/reader/", "/", b"/"),
        ("/reader/items/a/b", b"/reader/items/a%2Fb", "/items/a/b", b"/items/a%2Fb"),
        ("/reader/reader", b"/reader/reader", "/reader", b"/reader"),
        ("/readers", b"/readers", "/readers", b"/readers"),
        ("/feeds", b"/feeds", "/feeds", b"/feeds"),
    ],
)
def test_root_path_is_taken_off_where_it_is(
    asked: str, raw: bytes, path: str, raw_path: bytes
) -> None:
    scope = {"type": "http", "path": asked, "raw_path": raw}
    seen = pass_through(RootPath, {"root_path": "/reader"}, scope)
    assert (seen["path"], seen["raw_path"]) == (path, raw_path)
