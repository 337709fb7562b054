"""How jobs are written and read: anything foreign is read without a crash."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.queue import BlockedBy, JobState, NewJob
from shared.queue.connection import raw, text
from shared.queue.reading import json_or_text, read_object
from shared.queue.wire import decode_claim, decode_view, opts_of

FIELD_COUNT = 11


@pytest.mark.parametrize(
    ("job", "opts"),
    [
        (NewJob("i", "n", {}), {"attempts": 1, "removeOnComplete": True}),
        (
            NewJob("i", "n", {}, attempts=3, backoff_ms=50, keep_completed=9, keep_failed=7),
            {
                "attempts": 3,
                "backoff": {"type": "exponential", "delay": 50},
                "removeOnComplete": {"count": 9},
                "removeOnFail": {"count": 7},
            },
        ),
        (
            NewJob("i", "n", {}, keep_failed=0),
            {"attempts": 1, "removeOnComplete": True, "removeOnFail": True},
        ),
    ],
)
def test_opts_are_written_in_bullmqs_words(job: NewJob, opts: dict[str, object]) -> None:
    assert opts_of(job) == opts | {"jobId": "i"}


@given(st.lists(st.one_of(st.none(), st.binary(max_size=20)), min_size=11, max_size=11))
def test_a_claimed_job_is_read_whatever_its_fields_hold(fields: list[bytes | None]) -> None:
    job = decode_claim([b"", -1, [*fields, b"id\xff"]], "t").jobs[0]
    assert raw(job.id) == b"id\xff"
    assert job.raw_data.encode("utf-8") is not None
    assert job.max_attempts >= 1


@given(
    st.dictionaries(
        st.sampled_from([b"name", b"data", b"opts", b"stacktrace", b"atm", b"timestamp", b"delay"]),
        st.binary(max_size=20),
    )
)
def test_a_job_is_shown_whatever_its_fields_hold(fields: dict[bytes, bytes]) -> None:
    assert decode_view("i", JobState.WAITING, fields).id == "i"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"7", 7),
        (str(2**53 - 1).encode(), 2**53 - 1),
        (str(2**53).encode(), 0),
        (str(1 - 2**53).encode(), 1 - 2**53),
        (str(-(2**53)).encode(), 0),
    ],
)
def test_a_number_beyond_what_json_and_lua_hold_exactly_is_none(written: bytes, read: int) -> None:
    assert decode_view("i", JobState.WAITING, {b"timestamp": written}).timestamp_ms == read


@pytest.mark.parametrize(("written", "read"), [(b"1", 1), (b"0", None), (b"-1", None)])
def test_a_revision_below_one_is_none(written: bytes, read: int | None) -> None:
    assert decode_view("i", JobState.WAITING, {b"revision": written}).revision == read


def test_a_blocked_claim_says_why_and_until_when() -> None:
    claim = decode_claim([b"rate_limit", 250], "t")
    assert (claim.jobs, claim.blocked_by, claim.retry_in_ms) == ([], BlockedBy.RATE_LIMIT, 250)


@pytest.mark.parametrize("value", ["a", "ü", chr(0xDCFF), chr(0xD800), "😀"])
def test_any_text_can_be_written(value: str) -> None:
    assert isinstance(raw(value), bytes)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (r'"a\ud83d"', "a\ufffd"),
        (r'"\uDE00b"', "\ufffdb"),
        (r'"\ud83d\ud83d\ude00"', "\ufffd😀"),
        (r'"\ud83d\\ude00"', "\ufffd\\ude00"),
        (r'["\\ud83d", "\\\ud83d"]', ["\\ud83d", "\\\ufffd"]),
        (r'{"\ud83d": [1.5, 18446744073709551616]}', {"\ufffd": [1.5, 2.0**64]}),
        (r'"\ud83d" NaN', r'"\ud83d" NaN'),
        (r"\ud83d", r"\ud83d"),
        ("[" * 2000 + "]" * 2000, "[" * 2000 + "]" * 2000),
    ],
)
def test_half_an_emoji_is_read_as_the_sign_for_what_is_no_character(
    written: str, read: object
) -> None:
    assert json_or_text(written) == read


TEXTS = st.text(st.characters() | st.characters(categories=["Cs"]) | st.sampled_from('\\u"dD8'))


@given(st.recursive(TEXTS | st.integers(0, 9), st.lists) | st.dictionaries(TEXTS, TEXTS))
def test_all_else_in_a_text_with_half_an_emoji_is_read_as_it_stands(value: object) -> None:
    written = json.dumps(value)
    theirs = as_utf16(json.dumps(json.loads(written), ensure_ascii=False))
    assert json_or_text(written) == json.loads(theirs)


def as_utf16(value: str) -> str:
    """Return a text without halves of characters, as an encoder of JavaScript writes it."""
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.mark.parametrize("unreadable", [b"\xff", rb"\ud83d"])
def test_options_that_hold_what_is_no_character_are_read_all_the_same(unreadable: bytes) -> None:
    assert read_object(b'{"attempts":3,"x":"' + unreadable + b'"}')["attempts"] == 3


@given(st.binary())
def test_an_id_of_any_bytes_finds_its_key_again(value: bytes) -> None:
    assert raw(text(value)) == value
