"""JSON Feed by goodwill: a value of a wrong type costs itself, with a warning, never its item."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from server.parsing import ParsedFeed, parse_feed
from shared.errors import ParseError
from shared.models import TEXT, Enclosure, ExtraField, FeedItem, content_hash, job_data

NOW = datetime(2026, 11, 3, tzinfo=UTC)
ADDRESS = "https://jsonfeed.org/version/1.1"


def parse(document: Any) -> ParsedFeed:
    body = json.dumps(document).encode()
    return parse_feed(body, content_type=None, url="https://x.example/f", now=NOW)


def parse_items(*items: Any, **members: Any) -> ParsedFeed:
    return parse({"version": ADDRESS, "items": items, **members})


def read_item(item: dict[str, Any], **members: Any) -> tuple[FeedItem, tuple[str, ...]]:
    feed = parse_items({"id": "1", **item}, **members)
    assert feed.rejected == ()
    return feed.entries[0].item, feed.warnings


@pytest.mark.parametrize(
    ("member", "author"),
    [
        ({"author": "Ada"}, "Ada"),
        ({"author": ["Ada", {"name": "Bo"}]}, "Ada, Bo"),
        ({"author": {"name": 7}}, "7"),
        ({"author": {"name": ["Ada"]}}, None),
        ({"author": 7}, None),
        ({"authors": {"name": "Ada"}}, "Ada"),
        ({"authors": "Ada"}, "Ada"),
        ({"authors": ["Ada", "Bo"]}, "Ada, Bo"),
        ({"authors": ["Ada", 7, None, {"name": "Bo"}]}, "Ada, Bo"),
        ({"authors": True, "author": {"name": "Ada"}}, "Ada"),
    ],
)
def test_authors_of_any_type_are_understood_or_absent(member: Any, author: str | None) -> None:
    item, warnings = read_item(member)
    assert item.author == author
    assert warnings


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("news, tech", ("news", "tech")),
        ("news", ("news",)),
        (["news", None], ("news",)),
        (["news", 2026, True, ["x"], {"name": "tech"}, {"other": "x"}], ("news", "2026", "tech")),
        ({"name": "news"}, ("news",)),
        (2026, ("2026",)),
        (False, ()),
    ],
)
def test_tags_of_any_type_are_understood_or_absent(tags: Any, expected: Any) -> None:
    item, warnings = read_item({"tags": tags})
    assert item.categories == expected
    assert "'tags'" in warnings[0]


@pytest.mark.parametrize(
    ("attachments", "expected"),
    [
        ({"url": "https://x.example/1.mp3"}, (Enclosure("https://x.example/1.mp3"),)),
        ("/1.mp3", (Enclosure("https://x.example/1.mp3"),)),
        (["/1.mp3", 7, None], (Enclosure("https://x.example/1.mp3"),)),
        ([{"url": "/1", "size_in_bytes": "123"}], (Enclosure("https://x.example/1", None, 123),)),
        ([{"url": "/1", "size_in_bytes": "12 MB"}], (Enclosure("https://x.example/1"),)),
        ([{"url": "/1", "size_in_bytes": True}], (Enclosure("https://x.example/1"),)),
        ([{"url": "/1", "mime_type": 5}], (Enclosure("https://x.example/1"),)),
        ([{"url": ["/1"]}], ()),
        (7, ()),
    ],
)
def test_attachments_of_any_type_are_understood_or_absent(attachments: Any, expected: Any) -> None:
    item, warnings = read_item({"attachments": attachments})
    assert item.enclosures == expected
    assert warnings


@pytest.mark.parametrize("name", ["title", "summary", "content_html", "content_text"])
@pytest.mark.parametrize(
    ("value", "text"), [(2026, "2026"), (1.5, "1.5"), (True, None), (["a", "b"], None), ({}, None)]
)
def test_texts_of_a_wrong_type_cost_themselves(name: str, value: Any, text: str | None) -> None:
    item, warnings = read_item({name: value, "tags": ["kept"]})
    field = "content" if name.startswith("content") else name
    assert getattr(item, field) == text
    assert item.categories == ("kept",)
    assert repr(name) in warnings[0]
    assert "not a string" in warnings[0]


def test_a_wrong_content_html_leaves_content_text_its_place() -> None:
    item, _ = read_item({"content_html": ["<p>a</p>"], "content_text": "a < b"})
    assert item.content == "a < b"
    assert item.formats == {"content": TEXT}


@pytest.mark.parametrize("seconds", [1793613600, 1793613600.0, "1793613600", 1793613600000])
def test_a_number_is_a_date_in_seconds_or_milliseconds(seconds: Any) -> None:
    item, _ = read_item({"date_published": seconds})
    assert item.published_at == datetime(2026, 11, 2, 10, tzinfo=UTC)


@pytest.mark.parametrize("value", [2026110210, 12, [], True])
def test_a_date_of_a_wrong_type_is_absent_with_a_warning(value: Any) -> None:
    item, warnings = read_item({"date_published": value, "title": "t"})
    assert item.published_at is None
    assert "'date_published'" in warnings[0]


@pytest.mark.parametrize("written", [[1], {"a": 1}, True, None, ""])
def test_a_wrong_id_or_url_leaves_the_next_identity(written: Any) -> None:
    feed = parse_items({"id": written, "url": "https://x.example/1"})
    assert feed.entries[0].item.guid == "https://x.example/1"
    feed = parse_items({"id": "1", "url": written if written is not None else 7, "title": "t"})
    assert (feed.entries[0].item.guid, feed.entries[0].item.link) == ("1", None)


def test_only_what_is_no_item_is_rejected() -> None:
    feed = parse_items({"id": "1"}, "text", None, 7, {}, {"title": [1]})
    assert [entry.item.guid for entry in feed.entries] == ["1"]
    assert len(feed.rejected) == 5


def test_one_warning_for_each_kind_says_how_often() -> None:
    feed = parse_items(*({"id": str(n), "tags": "a", "title": n} for n in range(3)))
    assert set(feed.warnings) == {
        "'tags' is a string, not a list (3 times)", "'title' is a number, not a string (3 times)",
    }  # fmt: skip


def test_a_sound_feed_of_either_version_has_no_warning() -> None:
    item = {"title": "t", "date_published": "2026-11-02T10:00:00Z", "tags": ["a"]}
    sizes = {"attachments": [{"url": "/1", "size_in_bytes": 1.0}]}
    assert read_item({**item, **sizes, "authors": [{"name": "Ada"}]})[1] == ()
    assert read_item({**item, "author": {"name": "Ada"}}, author={"name": "Bo"})[1] == ()


@pytest.mark.parametrize("name", ["$id", "a\0"])
def test_a_member_of_a_name_that_no_store_takes_costs_itself(name: str) -> None:
    files = [{"url": "https://x/1", name: "7", "title": "t"}]
    item, warnings = read_item({"attachments": files, "authors": [{"name": "Ada", name: "P"}]})
    about = {"url": "https://x/1", "title": "t"}
    assert item.extra == (ExtraField("attachments", None, about),)
    assert warnings == ("a member is left out: its name begins with '$' or holds NUL (2 times)",)


def test_the_feeds_authors_stand_for_those_of_an_item_without_any() -> None:
    feed = parse_items(
        {"id": "1"}, {"id": "2", "author": {"name": "Bo"}}, authors=[{"name": "Ada"}]
    )
    assert [entry.item.author for entry in feed.entries] == ["Ada", "Bo"]
    assert parse_items({"id": "1"}, author="Ada").entries[0].item.author == "Ada"


def test_the_feeds_authors_identify_no_item() -> None:
    item = {"title": "t", "content_text": "c"}
    [plain], [inherited] = parse_items(item).entries, parse_items(item, author="Ada").entries
    assert plain.item.guid == inherited.item.guid


def test_what_attachments_and_authors_say_beyond_their_fields_is_kept() -> None:
    sound = {"url": "/1.mp3", "mime_type": "audio/mpeg", "title": "Part one",
             "size_in_bytes": "123", "duration_in_seconds": 61.5}  # fmt: skip
    item, _ = read_item(
        {"attachments": [sound, {"url": "/1.ogg"}],
         "authors": [{"name": "Ada", "url": "https://ada.example/"}, {"name": "Bo"}]}
    )  # fmt: skip
    assert item.enclosures[0] == Enclosure("https://x.example/1.mp3", "audio/mpeg", 123)
    assert item.extra == (
        ExtraField(
            "attachments",
            None,
            {"url": "https://x.example/1.mp3", "mime_type": "audio/mpeg", "title": "Part one",
             "size_in_bytes": "123", "duration_in_seconds": "61.5"},
        ),
        ExtraField("authors", "Ada", {"url": "https://ada.example/"}),
    )  # fmt: skip


def test_what_is_nested_too_deep_costs_itself() -> None:
    deep: Any = 1
    for _ in range(600):
        deep = [deep]
    item, warnings = read_item({"title": "t", "_deep": deep})
    assert item.title == "t"
    assert "'_deep'" in warnings[0]


@pytest.mark.parametrize("version", ["1.1", "1", 1.1, 1, "HTTPS://JSONFeed.org/version/1.1/"])
def test_a_version_in_short_is_one(version: Any) -> None:
    feed = parse({"version": version, "title": "t", "items": [{"id": "1", "title": "t"}]})
    assert len(feed.entries) == 1
    assert feed.version in ("1", "1.1")


def test_without_a_version_the_items_show_what_it_is() -> None:
    item = {"id": "1", "url": "https://x.example/1", "content_text": "t"}
    feed = parse({"title": "t", "items": [item]})
    assert feed.entries[0].item.guid == "1"
    assert "'version'" in feed.warnings[0]
    [entry] = parse({"version": ADDRESS, "items": [item]}).entries
    known = [content_hash(job_data("s", each.item)) for each in (entry, feed.entries[0])]
    assert known[0] == known[1]


@pytest.mark.parametrize(
    "document",
    [
        {"items": [{"id": 1, "title": "an answer of some API", "url": "https://x.example"}]},
        {"version": "1.1", "items": []},
        {"version": "2", "items": [{"id": 1}]},
        {"version": True, "items": [{"id": 1, "title": "t"}]},
        {"kind": "youtube#list", "items": [{"id": "1", "snippet": {"title": "t"}}]},
        {"version": ADDRESS, "items": None},
        {"version": ADDRESS, "items": "none"},
    ],
)
def test_other_json_is_still_no_feed(document: Any) -> None:
    with pytest.raises(ParseError) as refusal:
        parse(document)
    assert refusal.value.kind == "not_a_feed"


@pytest.mark.parametrize(
    "items", [{"0": {"id": "1"}, "1": {"id": "2"}}, {"id": "1", "content_text": "t"}]
)
def test_an_object_in_place_of_the_items_is_read(items: Any) -> None:
    feed = parse({"version": ADDRESS, "items": items})
    assert feed.entries[0].item.guid == "1"
    assert "'items' is an object, not a list" in feed.warnings


def test_a_page_names_the_next_as_written() -> None:
    assert parse_items({"id": "1"}, next_url="/page2.json").next_page == "/page2.json"
    assert parse_items({"id": "1"}, next_url=None).next_page is None


def test_an_item_without_a_link_has_its_base_from_the_home_page() -> None:
    item = {"id": "1", "content_html": "<img src='a.png'>", "image": "/i.png"}
    [entry] = parse_items(item, home_page_url="https://home.example/blog/").entries
    home = "https://home.example/blog/"
    assert entry.item.bases == {"content": home, "extra": home}
    assert parse_items({**item, "url": "https://x.example/1"}).entries[0].item.bases == {}
