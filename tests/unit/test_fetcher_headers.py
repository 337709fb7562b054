"""Headers as servers send them, sensible or not."""

from datetime import UTC, datetime

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.fetching.addresses import check_url, mask_url
from server.fetching.answers import (
    LONGEST_WAIT_S,
    read_max_age_s,
    read_retry_after_s,
    read_validator,
    usable_headers,
)
from server.fetching.fetcher import _next_target
from shared.errors import FetchError, InvalidRequestError

NOW = datetime(2026, 11, 2, 10, tzinfo=UTC)
ADDRESS_TEXT = st.text(alphabet='htps:/?#[]@%\\\\ .-~aé①xn0127\t{}"', max_size=20)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None), ("", None), ("soon", None), ("120", 120.0), (" 120 ", 120.0), ("0", 0.0),
        ("-5", 0.0), ("+5", 5.0), ("+-5", None), ("1.5", None), ("9" * 40, LONGEST_WAIT_S),
        ("-" + "9" * 40, 0.0), ("Mon, 02 Nov 2026 10:02:00 GMT", 120.0),
        ("Mon, 02 Nov 2026 09:00:00 GMT", 0.0), ("Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_WAIT_S),
        ("Monday, 02-Nov-26 10:02:00 GMT", 120.0), ("Mon, 99 Foo 2026 10:02:00 GMT", None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date_within_seven_days(
    value: str | None, seconds: float | None
) -> None:
    assert read_retry_after_s(value, NOW) == seconds


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"cache-control": "no-store"}, None),
        ({"cache-control": "private, MAX-AGE=60"}, 60.0),
        ({"cache-control": 'max-age="60"', "age": "15"}, 45.0),
        ({"cache-control": "max-age=60", "age": "100"}, 0.0),
        ({"cache-control": "max-age=" + "9" * 30}, LONGEST_WAIT_S),
        ({"cache-control": "max-age=x", "expires": "Mon, 02 Nov 2026 10:01:00 GMT"}, 60.0),
        ({"expires": "0"}, None),
        ({"cache-control": "no-cache, max-age=60"}, None),
        ({"cache-control": "no-store", "expires": "Mon, 02 Nov 2026 10:01:00 GMT"}, None),
        ({"cache-control": 'no-cache="set-cookie", max-age=60'}, 60.0),
    ],
)
def test_freshness_is_max_age_less_age_or_expires(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert read_max_age_s(headers, NOW) == seconds


@given(st.text(alphabet="-+0123456789 MonNovGT:,;=", max_size=40))
def test_no_header_breaks_its_reader(text: str) -> None:
    for seconds in (
        read_retry_after_s(text, NOW),
        read_max_age_s({"cache-control": f"max-age={text}", "age": text, "expires": text}, NOW),
    ):
        assert seconds is None or 0 <= seconds <= LONGEST_WAIT_S


@pytest.mark.parametrize("raw", [None, b"", b"  ", b"x" * 1025, b"a\x00b", b"a\nb"])
def test_an_odd_validator_is_none(raw: bytes | None) -> None:
    assert read_validator(raw) is None


def test_headers_that_are_ours_or_no_headers_are_left_out() -> None:
    configured = {
        "Host": "x",
        "If-None-Match": "x",
        "Bad Name": "x",
        "": "x",
        "Accept": "a",
        "K": "v",
    }
    assert usable_headers(configured, same_origin=True) == {"accept": "a", "k": "v"}
    assert usable_headers(configured, same_origin=False) == {"accept": "a"}


@given(st.sampled_from(["", "http://", "https://", "//", "/"]), ADDRESS_TEXT)
def test_a_redirect_target_is_an_address_or_an_error(start: str, rest: str) -> None:
    location = (start + rest).encode("utf-8", "surrogatepass")
    answer = httpx2.Response(302, headers=[(b"location", location)])
    try:
        target = _next_target(httpx2.URL("https://me:s3cr3t@h.example/a?b"), answer)
    except FetchError:
        return
    assert target.scheme == "https"
    assert "s3cr3t" not in str(target.userinfo)


@given(st.sampled_from(["http://", "https://"]), ADDRESS_TEXT, st.booleans())
def test_a_checked_url_is_in_its_final_spelling(start: str, rest: str, allow_private: bool) -> None:
    try:
        checked = check_url(start + rest, allow_private=allow_private)
    except InvalidRequestError:
        return
    assert check_url(checked, allow_private=allow_private) == checked
    assert mask_url(checked)
