"""Documents made to hurt: refused, or read, but never slowly and never with a file's content."""

import contextlib
import time
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.parsing import ParsedFeed, parse_feed, parsed
from shared.errors import ParseError

NOW = datetime(2026, 11, 3, tzinfo=UTC)
FILE = 'SYSTEM "file:///etc/passwd"'
NET = 'PUBLIC "x" "http://127.0.0.1/"'
LONG = "x" * 900
PREFIXES = "".join(f"<p{n}:a/>" for n in range(20_000))
ITEM = "<channel><item><title>&a;</title></item></channel></rss>"
DEEP = "<a>" * 200_000 + "</a>" * 200_000
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


def parse(body: bytes, content_type: str | None = None) -> ParsedFeed:
    return parse_feed(body, content_type=content_type, url=None, now=NOW)


def xml_feed(inner: str) -> str:
    return f"<rss><channel>{inner}</channel></rss>"


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(f'<!DOCTYPE r [<!ENTITY l0 "ha">{LAUGHS}]><rss>{ITEM}', id="laughs"),
        pytest.param(f'<!DOCTYPE r [<!ENTITY a "{LONG}">]><rss>' + "&a;" * 9999, id="quadratic"),
        pytest.param(f'<!DOCTYPE r [<!ENTITY a "&#160;&b;">]><rss>{ITEM}', id="nested"),
        pytest.param(f'<!DOCTYPE r [<!ENTITY a "{"&#160;" * 100}">]><rss>' + "&a;" * 999_999,
                     id="characters"),
        pytest.param(f'<!DOCTYPE r [<!ENTITY a "{"x" * 9999}">]><rss>{ITEM}', id="long entity"),
        pytest.param(f"<!DOCTYPE r [<!ENTITY a {FILE}>]><rss>{ITEM}", id="file"),
        pytest.param(f"<!DOCTYPE r [<!ENTITY a {NET}>]><rss>{ITEM}", id="net"),
        pytest.param("<!DOCTYPE r [" + "<!ENTITY " * 99999, id="endless declaration"),
        pytest.param("<!DOCTYPE " + "[" * 999_999, id="brackets"),
        pytest.param("<rss><channel>" + "<a>" * 200_000, id="deep"),
        pytest.param("<rss><channel><item>" + "<a>" * 200_000, id="deep item"),
        pytest.param(xml_feed(DEEP), id="deep, closed"),
        pytest.param(xml_feed(f"<item>{DEEP}</item>"), id="deep item, closed"),
        pytest.param("<br>" * 200_000 + "<item>", id="deep, no feed"),
        pytest.param("[" * 200_000, id="deep json"),
        pytest.param("<rss><channel>" + PREFIXES, id="prefixes"),
        pytest.param("<rss><channel>" + "&" * 4_000_000, id="references"),
    ],
)  # fmt: skip
def test_bombs_are_refused_within_a_second(document: str) -> None:
    started_s = time.process_time()
    with pytest.raises(ParseError):
        parse(document.encode())
    assert time.process_time() - started_s < 1.0


def json_feed(items: str) -> str:
    return f'{{"version": "https://jsonfeed.org/version/1.1", "items": [{items}]}}'


def json_lists(values: str) -> str:
    return json_feed(f'{{"id": "1", "tags": [{values}]}}, {{"id": "2", "x": [{values}]}}')


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits, met by documents that are quickly read."""
    monkeypatch.setattr(parsed, "MAX_ITEMS", 100)
    monkeypatch.setattr(parsed, "MAX_PARTS", 1000)
    monkeypatch.setattr(parsed, "MAX_ITEM_PARTS", 50)
    monkeypatch.setattr(parsed, "MAX_REJECTED", 90)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize(
    ("document", "what"),
    [
        pytest.param(xml_feed("<item/>" * 101), "100 items", id="items"),
        pytest.param(xml_feed("<a/>" * 1000), "1000 parts", id="elements"),
        pytest.param(xml_feed("<a b='c' d='e'/>" * 334), "1000 parts", id="attributes"),
        pytest.param(json_feed("1" + ",1" * 100), "100 items", id="json items"),
        pytest.param(json_feed("1" + ",1" * 100)[:-1], "100 items", id="json items, cut"),
        pytest.param(json_lists("1" + ",1" * 500), "1000 parts", id="json lists"),
    ],
)
def test_a_document_of_too_many_parts_is_refused(document: str, what: str) -> None:
    with pytest.raises(ParseError, match=what) as caught:
        parse(document.encode())
    assert caught.value.kind == "limits"


@pytest.mark.usefixtures("small_limits")
def test_a_document_of_just_so_many_items_is_read() -> None:
    assert len(parse(xml_feed("<item><guid>1</guid></item>" * 100).encode()).entries) == 100
    assert len(parse(json_feed('{"id": "1"}' + ',{"id": "1"}' * 99).encode()).entries) == 100


@pytest.mark.usefixtures("small_limits")
def test_a_document_that_is_unreadable_from_end_to_end_is_refused_with_its_first_reason() -> None:
    assert len(parse(json_feed("1" + ",1" * 89).encode()).rejected) == 90
    with pytest.raises(
        ParseError, match=r"91 items.*90; the first: the item is a number"
    ) as caught:
        parse(json_feed("1" + ",1" * 90).encode())
    assert caught.value.kind == "limits"


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize(
    "document",
    [
        xml_feed("<item><guid>a</guid></item><item><guid>b</guid>" + "<x>y</x>" * 51 + "</item>"),
        xml_feed("<item><guid>a</guid></item><item><guid>b</guid>" + "<tags>y,z</tags>" * 26
                 + "<category>c</category>" * 50 + "".join(f"<tags>{n}</tags>" for n in range(49))
                 + "</item>"),
        json_feed('{"id": "a"}, {"id": "b", "x": [' + "1," * 50 + "1]}"),
    ],
)  # fmt: skip
def test_an_item_of_too_many_parts_is_rejected_and_the_others_are_read(document: str) -> None:
    feed = parse(document.encode())
    assert [entry.item.guid for entry in feed.entries] == ["a"]
    assert [(entry.guid, "parts" in entry.reason) for entry in feed.rejected] == [("b", True)]


def test_two_mebibytes_of_commas_do_not_take_a_gigabyte_and_minutes() -> None:
    started_s = time.process_time()
    with pytest.raises(ParseError):
        parse(json_feed("1" + ",1" * 1_000_000).encode())
    assert time.process_time() - started_s < 1.0


def test_a_type_declaration_hidden_behind_a_comment_is_found() -> None:
    document = f'<!-- <rss> --><!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><rss>{ITEM}'
    with pytest.raises(ParseError, match="external entity"):
        parse(document.encode())


@pytest.mark.parametrize(
    ("value", "title"),
    [
        ("A and B", "A and B"),
        ("A &#38; B", "A & B"),
        ("A&#160;B", "A\xa0B"),
        ("&#x20AC;&#8364;", "\u20ac\u20ac"),
        ("&#38;#60;b>", "<b>"),
        ("&#38;#38;lt;", "&lt;"),
        ("&#60;b>", "<b>"),
        ("A &amp; B &lt;b>", "A & B <b>"),
        ("&#38;c;", "&c;"),
    ],
)
def test_short_entities_made_of_characters_are_filled_in(value: str, title: str) -> None:
    declared = f'<!ENTITY a "{value}"><!ENTITY c "never"><!ENTITY lt "&#38;#60;">'
    feed = parse(f"<!DOCTYPE r [{declared}]><rss>{ITEM}".encode())
    assert (feed.entries[0].item.title, feed.warnings) == (title, ())


def test_what_looks_like_an_entity_in_cdata_is_text() -> None:
    document = f'<!DOCTYPE r [<!ENTITY a "A&#160;B">]><rss>{ITEM}'
    feed = parse(document.replace("&a;", "&a;<![CDATA[&a;]]>&a;").encode())
    assert feed.entries[0].item.title == "A\xa0B&a;A\xa0B"


@pytest.mark.parametrize(
    "document",
    [
        pytest.param("<rss><channel>" + "&" * 500_000, id="ampersands"),
        pytest.param("<rss><channel>" + "<" * 500_000, id="brackets"),
        pytest.param("<rss><channel>&" + "<![CDATA[" * 100_000, id="cdata"),
        pytest.param("<rss><channel>&" + "<!--" * 200_000, id="comments"),
        pytest.param("<![CDATA[]]>" * 60_000 + f"<rss>{ITEM}", id="cdata before the root"),
        pytest.param("&<!---->" * 60_000 + f"<rss>{ITEM}", id="comments before the root"),
        pytest.param("<rss><channel>&" + "&aaaaaaaaaaaaa" * 50_000, id="references"),
        pytest.param(f"<rss><channel><item><title>&#{'9' * 5000};</title>", id="long number"),
        pytest.param(" " * 1_000_000 + "<", id="blanks"),
    ],
)  # fmt: skip
def test_senseless_documents_cost_no_more_than_their_length(document: str) -> None:
    started_s = time.process_time()
    with contextlib.suppress(ParseError):
        parse(document.encode())
    assert time.process_time() - started_s < 3.0


def test_utf_7_is_not_a_way_in() -> None:
    with pytest.raises(ParseError):
        parse(b"+ADw-rss+AD4-", "text/xml; charset=utf-7")


@settings(max_examples=300)
@given(st.binary(max_size=400))
def test_no_bytes_raise_anything_but_a_parse_error(body: bytes) -> None:
    try:
        parse(body)
    except ParseError:
        return


@settings(max_examples=200)
@given(
    st.text(alphabet="<>&;#/!-[]\"' abcdeitmrsguxCDATA:=?\x00\ud800é", max_size=200),
    st.sampled_from(
        ["<rss><channel><item>{}</item></channel></rss>", "<feed>{}</feed>", "<rss {}"]
    ),
)
def test_no_markup_raises_anything_but_a_parse_error(inner: str, frame: str) -> None:
    try:
        parse(frame.format(inner).encode("utf-8", "surrogatepass"))
    except ParseError:
        return


@settings(max_examples=200)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5),
        lambda children: st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "url", "title", "tags", "author", "authors", "attachments", "x",
                             "size_in_bytes", "content_text", "name"]), children, max_size=5),
        max_leaves=12,
    )
)  # fmt: skip
def test_no_json_item_stops_the_others(value: object) -> None:
    items = [{"id": "first"}, value, {"id": "last"}]
    document = {"version": "https://jsonfeed.org/version/1.1", "items": items}
    feed = parse(orjson.dumps(document))
    guids = [entry.item.guid for entry in feed.entries]
    assert (guids[0], guids[-1]) == ("first", "last")
    assert len(feed.entries) + len(feed.rejected) == 3
