"""What becomes of a job's data: an item that can be stored, or the reason why it cannot."""

import json
import re
from typing import Any

import orjson
import pytest

from shared.errors import ItemError
from shared.models import content_hash
from shared.queue import JobQueue, connect
from shared.store.items import check_encodable
from tests.factories import JOB_MAX_BYTES, make_claimed, make_data, make_decoded
from tests.fakes import FakeClock
from worker.decoding import DecodedItem, decode_data, decode_item


@pytest.fixture
def queue() -> JobQueue:
    return JobQueue(connect("redis://127.0.0.1:1"), "items", clock=FakeClock())


def refusal_of(raw_data: str, **fields: Any) -> str:
    with pytest.raises(ItemError) as caught:
        decode_data(make_claimed(raw_data, **fields), JOB_MAX_BYTES)
    return caught.value.error_type


def held(queue: JobQueue, **fields: Any) -> DecodedItem:
    return make_decoded(queue, make_data(**fields))


@pytest.mark.parametrize(
    "raw_data",
    [
        "",
        "{",
        "nonsense",
        "NaN",
        "[" * 3000 + "]" * 3000,
        '{"source": "lwn", "guid": "1", "x": ' + "[" * 3000 + "]" * 3000 + "}",
    ],
)
def test_what_is_not_json_is_undecodable(raw_data: str) -> None:
    assert refusal_of(raw_data) == "undecodable"


def test_half_an_emoji_costs_no_item_its_text(queue: JobQueue) -> None:
    raw_data = r'{"source": "lwn", "guid": "1", "title": "Hello \ud83d"}'
    job = make_claimed(raw_data)
    item = decode_item(queue, job, decode_data(job, JOB_MAX_BYTES), 1)
    assert item.content["title"] == "Hello \ufffd"


@pytest.mark.parametrize("raw_data", ["[]", "1", "null", '"text"', "true"])
def test_json_that_is_no_object_is_invalid(raw_data: str) -> None:
    assert refusal_of(raw_data) == "invalid"


@pytest.mark.parametrize(
    "identity",
    [
        {},
        {"source": "lwn"},
        {"guid": "1"},
        {"source": "LWN", "guid": "1"},
        {"source": "a#b", "guid": "1"},
        {"source": "", "guid": "1"},
        {"source": "x" * 65, "guid": "1"},
        {"source": 5, "guid": "1"},
        {"source": "lwn", "guid": ""},
        {"source": "lwn", "guid": None},
        {"source": "lwn", "guid": ["1"]},
        {"source": {"$gt": ""}, "guid": "1"},
    ],
)
def test_an_item_without_a_proper_identity_is_invalid(identity: dict[str, Any]) -> None:
    assert refusal_of(orjson.dumps(identity).decode()) == "invalid"


def test_an_item_over_the_limit_is_too_large_by_its_bytes_not_its_characters() -> None:
    raw_data = orjson.dumps(make_data(title="漢" * 400_000)).decode()
    assert len(raw_data) < JOB_MAX_BYTES
    assert refusal_of(raw_data) == "too_large"


def test_a_job_that_the_queue_gave_up_is_stalled_whatever_its_data() -> None:
    assert refusal_of("{", deferred_failure="job stalled more than allowable limit") == "stalled"


@pytest.mark.parametrize(
    "guid", ["a\x00b", "line\nbreak", "x" * 513, "job:lock", "\u2028", "tab\there"]
)
def test_a_guid_that_no_key_could_hold_is_hashed(guid: str) -> None:
    data = decode_data(make_claimed(orjson.dumps(make_data(guid)).decode()), JOB_MAX_BYTES)
    assert data["guid"].startswith("sha256:")


@pytest.mark.parametrize(
    "fields",
    [
        {"title": 5},
        {"title": ["a"]},
        {"link": {"href": "x"}},
        {"summary": False},
        {"categories": "news"},
        {"categories": [1]},
        {"categories": {}},
        {"enclosures": [{"type": "audio/mpeg"}]},
        {"enclosures": ["https://x.org/a.mp3"]},
        {"enclosures": [{"url": "https://x.org", "length": "12"}]},
        {"enclosures": [{"url": "https://x.org", "length": 2**70}]},
        {"extra": {"$where": "1"}},
        {"extra": [{"value": "a"}]},
        {"extra": [{"name": "a", "attributes": {"b": 1}}]},
        {"extra": [{"name": "a", "attributes": {"$where": "1"}}]},
        {"formats": "html"},
        {"bases": {"summary": 1}},
        {"extra": [{"name": "a", "value": 1}]},
        {"published_at": "yesterday"},
        {"published_at": 1700000000},
        {"updated_at": "10000-01-01T00:00:00Z"},
        {"updated_at": "0001-01-01T00:00:00+14:00"},
    ],
)
def test_a_field_of_the_wrong_type_makes_the_item_invalid(
    queue: JobQueue, fields: dict[str, Any]
) -> None:
    # Not orjson: it would refuse numbers that others write.
    job = make_claimed(json.dumps(make_data(**fields)))
    with pytest.raises(ItemError) as caught:
        decode_item(queue, job, decode_data(job, JOB_MAX_BYTES), 1)
    assert caught.value.error_type == "invalid"


def test_a_number_that_mongodb_cannot_hold_is_unencodable(queue: JobQueue) -> None:
    enclosure = {"url": "https://x.org/a.mp3", "length": 2**64 - 1}
    with pytest.raises(ItemError) as caught:
        held(queue, enclosures=[enclosure])
    assert caught.value.error_type == "unencodable"


def test_content_that_outgrows_a_document_is_too_large() -> None:
    with pytest.raises(ItemError) as caught:
        check_encodable({"content": "x" * 16_000_000})
    assert caught.value.error_type == "too_large"


CONTROLS = "".join(map(chr, range(32)))


def test_control_characters_are_stored_in_no_text_and_hashed_as_published(
    queue: JobQueue,
) -> None:
    # The last is no control character but its name, word for word.
    text = f"a{CONTROLS}b\\u0000"
    data = make_data(
        **dict.fromkeys(["title", "author", "summary", "content"], text),
        categories=[text],
        enclosures=[{"url": f"https://x.org/{text}", "type": text}],
        extra=[{"name": text, "value": text, "attributes": {"kind": text}}],
        formats={"summary": "text"},
    )
    item = make_decoded(queue, data)
    assert item.content["title"] == "a\t\n  \rb\\u0000"
    shown = {key: value for key, value in item.content.items() if key != "guid"}
    assert re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", "".join(texts_in(shown))) is None
    assert item.content_hash == content_hash(data)


def texts_in(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    within = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for each in within for text in texts_in(each)]


def test_a_control_character_hides_no_address_that_runs(queue: JobQueue) -> None:
    hidden = "java\x00sc\x1bript:alert(1)"
    item = held(queue, link=hidden, content=f"<a href='{hidden}'>b</a>")
    assert "link" not in item.content
    assert "script" not in item.content["content"]


def test_a_producer_of_deep_nonsense_with_a_control_character_harms_its_own_job_only(
    queue: JobQueue,
) -> None:
    raw_data = '{"source": "lwn", "guid": "1", "title": "a\\u0000b", "extra": %s}'
    job = make_claimed(raw_data % ("[" * 900 + "]" * 900))
    with pytest.raises(ItemError) as caught:
        decode_item(queue, job, decode_data(job, JOB_MAX_BYTES), 1)
    assert caught.value.error_type == "invalid"


def test_the_raw_fields_are_hashed_and_the_sanitised_ones_stored(queue: JobQueue) -> None:
    data = make_data(
        summary="<p onclick=x()>hi<script>alert(1)</script></p>",
        title="<b>T</b>",
        formats={"title": "html"},
    )
    item = make_decoded(queue, data)
    assert item.content_hash == content_hash(data)
    assert item.content["summary"] == "<p>hi</p>"
    assert item.content["title"] == "T"


def test_a_job_that_says_nothing_of_formats_has_plain_titles_and_html_summaries(
    queue: JobQueue,
) -> None:
    item = held(queue, title="R&D > all <b>", summary="a & b")
    assert item.content["title"] == "R&D > all <b>"
    assert item.content["summary"] == "a &amp; b"


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        " javascript:x",
        "java\nscript:x",
        "data:text/html,x",
    ],
)
def test_a_link_that_would_run_something_is_left_out(queue: JobQueue, link: str) -> None:
    item = held(queue, link=link, enclosures=[{"url": link}])
    assert "link" not in item.content
    assert item.content["enclosures"] == []


HOSTILE_TEXTS = [
    "<script>alert(1)</script>",
    "<svg/onload=alert(1)>",
    "<img src=x onerror=alert(1)>",
    "<a href='java&#x09;script:alert(1)'>x</a>",
    "<a href='vbscript:x' onclick=x>x</a>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<p style='background:url(javascript:alert(1))'>x</p><style>*{color:red}</style>",
    "<math><table><mglyph><style><!--</style><img title='--><img src=1 onerror=x>'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<form action='javascript:x'><button formaction='javascript:x'>x</button></form>",
    "<object data='data:text/html,x'></object><embed src='javascript:x'><base href='javascript:'>",
    "<meta http-equiv=refresh content='0;url=javascript:x'><link rel=stylesheet href='//x'>",
]
# What would run or restyle a page that shows a stored text as it is.
LIVE = re.compile(
    r"<\s*/?\s*(?:script|style|svg|math|iframe|object|embed|base|meta|link|form|noscript)\b"
    r"|<[^>]*\s(?:on\w+|style|srcdoc|formaction)\s*=|<[^>]*(?:script|data)\s*:",
    re.IGNORECASE,
)


@pytest.mark.parametrize("hostile", HOSTILE_TEXTS)
def test_nothing_that_would_run_is_stored_where_html_is(queue: JobQueue, hostile: str) -> None:
    assert LIVE.search(hostile)
    data = make_data(
        **dict.fromkeys(["title", "summary", "content", "author"], hostile),
        link=f"https://x.org/?q={hostile}",
        categories=[hostile, "news"],
        enclosures=[{"url": f"https://x.org/{hostile}", "type": hostile, "length": 1}],
        extra=[{"name": hostile, "value": "1"}, {"name": "a", "value": hostile}],
    )
    item = make_decoded(queue, data)
    content = item.content
    shown = (
        content.get("summary", ""),
        content.get("content", ""),
        content["link"],
        content["enclosures"][0]["url"],
    )
    assert [text for text in shown if LIVE.search(text)] == []
    assert item.content_hash == content_hash(data)
    plain = (content["title"], content["author"], content["categories"][0])
    assert plain == (hostile, hostile, hostile)
    # A name is a label: it holds no tag.
    label = hostile.translate(str.maketrans("", "", "<>"))
    assert content["extra"] == [{"name": label, "value": "1"}, {"name": "a", "value": hostile}]


def test_an_address_is_stored_so_that_no_quotes_are_left_in_it(queue: JobQueue) -> None:
    link = "https://x.org/a\"><script>\n?b='c'&d=é"
    item = held(queue, link=link, enclosures=[{"url": link}])
    assert item.content["link"] == "https://x.org/a%22%3E%3Cscript%3E?b='c'&d=é"
    assert item.content["enclosures"] == [{"url": item.content["link"]}]


@pytest.mark.parametrize(
    ("name", "value", "is_kept"),
    [
        ("link:via", "javascript:alert(1)", False),
        ("link", " java\tscript:alert(1)", False),
        ("media:content@url", "DATA:text/html,<script>x</script>", False),
        ("source@href", "vbscript:x", False),
        ("feedburner:origLink", "javascript:x", False),
        ("job:logo", "data:text/html,x", False),
        ("comments", "javascript:x", False),
        ("link:via", "https://x.org/", True),
        ("comments", "Comments: 5", True),
        ("job:skill", "JavaScript: five years", True),
        ("job:note", "data: see below", True),
    ],
)
def test_a_field_of_the_publishers_own_is_no_way_in_for_a_link_that_runs(
    queue: JobQueue, name: str, value: str, is_kept: bool
) -> None:
    stored = held(queue, extra=[{"name": name, "value": value}]).content["extra"]
    assert stored == ([{"name": name, "value": value}] if is_kept else [])


def test_dates_do_not_change_the_hash(queue: JobQueue) -> None:
    early, late = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
    assert held(queue, updated_at=early).content_hash == held(queue, updated_at=late).content_hash


def test_an_unknown_field_never_becomes_a_field_of_the_document(queue: JobQueue) -> None:
    content = held(queue, **{"$where": "1", "a.b": 2, "_id": "evil", "revision": 9}).content
    assert {"$where", "a.b", "_id", "revision"}.isdisjoint(content)


def test_a_text_that_would_take_minutes_to_clean_is_escaped_as_a_whole(queue: JobQueue) -> None:
    content = held(queue, summary="<b>" + "&" * 300_000).content
    assert content["summary"] == "&lt;b&gt;" + "&amp;" * 300_000
