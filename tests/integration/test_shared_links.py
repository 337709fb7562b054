"""Items that share a link, or a guid that is only their link: none is lost, none comes twice."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import pytest

from shared.store import Import
from tests.fake_publisher import feed_url
from tests.harness import SOURCE, Harness

PAGE = "https://case.example.test/releases"
OTHER = "other"


@dataclass(frozen=True)
class Post:
    """One post of a page that all posts link to."""

    title: str
    date: str | None = None
    guid: str | None = None
    link: str | None = PAGE
    file: str | None = None
    text: str = ""

    @property
    def xml(self) -> str:
        elements = {"title": self.title, "guid": self.guid, "link": self.link, "pubDate": self.date}
        texts = [f"<{name}>{escape(text)}</{name}>" for name, text in elements.items() if text]
        if self.file:
            texts.append(f'<enclosure url="{escape(self.file)}" type="audio/mpeg" length="1"/>')
        about = f"<description>{self.text or 'About ' + escape(self.title)}</description>"
        return f"<item>{''.join(texts)}{about}</item>"


def rss(posts: Sequence[Post]) -> str:
    channel = (
        "<title>Case</title><link>https://case.example.test/</link><description>d</description>"
    )
    items = "".join(post.xml for post in posts)
    return f'<rss version="2.0"><channel>{channel}{items}</channel></rss>'


def release(number: int, **fields: str | None) -> Post:
    return Post(f"Release {number}.0 is out", f"Mon, 0{number} Oct 2026 10:00:00 GMT", **fields)


def poll(harness: Harness, document: str, source: str = SOURCE) -> Import:
    """Import a document to the end."""
    harness.publisher.show_document(source, document)
    started = harness.poll(source=SOURCE)
    harness.come_to_rest()
    found = harness.stores.imports.get(started.import_id)
    assert found is not None
    return found


def counts(imported: Import) -> tuple[int, int, int, int]:
    """Return what was new, updated, unchanged and duplicate."""
    names = ("new", "updated", "unchanged", "duplicate")
    new, updated, unchanged, duplicate = (imported.counts[name] for name in names)
    return new, updated, unchanged, duplicate


def stored(harness: Harness) -> dict[str, str]:
    """Return the titles in the store by item id."""
    return {
        item["_id"]: item.get("title", "") for item in harness.database.collection("items").find()
    }


@pytest.fixture
def feed(harness: Harness) -> Harness:
    harness.server.services.feeds.add([feed_url(SOURCE)], source=SOURCE)
    return harness


KINDS = [
    pytest.param({}, id="no guid"),
    pytest.param({"guid": PAGE}, id="the link as guid"),
]


@pytest.mark.parametrize("fields", KINDS)
def test_posts_that_share_their_link_are_all_stored_and_stay(
    feed: Harness, fields: dict[str, str]
) -> None:
    three = [release(number, **fields) for number in (3, 2, 1)]
    assert counts(poll(feed, rss(three))) == (3, 0, 0, 0)
    before = stored(feed)
    four = [release(4, **fields), *three]
    assert counts(poll(feed, rss(four))) == (1, 0, 3, 0)
    after = stored(feed)
    assert before.items() <= after.items()
    assert sorted(after.values()) == [f"Release {number}.0 is out" for number in (1, 2, 3, 4)]


def test_the_order_of_posts_that_share_their_link_changes_nothing(feed: Harness) -> None:
    posts = [release(number) for number in (3, 2, 1)]
    poll(feed, rss(posts))
    assert counts(poll(feed, rss(posts[::-1]))) == (0, 0, 3, 0)


def test_a_link_once_shared_stays_no_identity_when_one_post_is_left(feed: Harness) -> None:
    poll(feed, rss([release(2), release(1)]))
    assert counts(poll(feed, rss([release(2)]))) == (0, 0, 1, 0)
    assert counts(poll(feed, rss([release(3)]))) == (1, 0, 0, 0)
    assert len(stored(feed)) == 3


@pytest.mark.parametrize("fields", KINDS)
def test_what_was_stored_under_the_link_keeps_its_id_when_the_link_is_shared_later(
    feed: Harness, fields: dict[str, str]
) -> None:
    poll(feed, rss([release(1, **fields)]))
    assert counts(poll(feed, rss([release(2, **fields), release(1, **fields)]))) == (1, 0, 1, 0)
    assert stored(feed)[f"{SOURCE}#{PAGE}"] == "Release 1.0 is out"
    three = [release(number, **fields) for number in (1, 3, 2)]
    assert counts(poll(feed, rss(three))) == (1, 0, 2, 0)
    assert counts(poll(feed, rss([release(1, text="reworded", **fields)]))) == (0, 1, 0, 0)
    assert stored(feed)[f"{SOURCE}#{PAGE}"] == "Release 1.0 is out"
    assert len(stored(feed)) == 3


def test_what_was_stored_under_the_link_keeps_its_id_when_its_text_changed_meanwhile(
    feed: Harness,
) -> None:
    poll(feed, rss([release(1)]))
    assert counts(poll(feed, rss([release(2), release(1, text="reworded")]))) == (1, 1, 0, 0)
    assert stored(feed)[f"{SOURCE}#{PAGE}"] == "Release 1.0 is out"


def test_what_still_waits_under_the_link_keeps_its_id_too(feed: Harness) -> None:
    feed.publisher.show_document(SOURCE, rss([release(1)]))
    feed.poll()
    feed.publisher.show_document(SOURCE, rss([release(2), release(1)]))
    feed.poll()
    feed.come_to_rest()
    assert len(stored(feed)) == 2
    assert stored(feed)[f"{SOURCE}#{PAGE}"] == "Release 1.0 is out"


def test_what_was_stored_under_the_link_and_is_no_longer_listed_is_left_alone(
    feed: Harness,
) -> None:
    poll(feed, rss([release(1)]))
    assert counts(poll(feed, rss([release(3), release(2)]))) == (2, 0, 0, 0)
    assert len(stored(feed)) == 3


def test_an_edited_title_makes_a_new_item_where_the_title_is_all_that_tells_items_apart(
    feed: Harness,
) -> None:
    poll(feed, rss([release(2), release(1)]))
    edited = Post("Release 1.0 is out (again)", release(1).date)
    assert counts(poll(feed, rss([release(2), edited]))) == (1, 0, 1, 0)


def test_an_entry_listed_twice_is_still_a_duplicate(feed: Harness) -> None:
    assert counts(poll(feed, rss([release(1), release(1)]))) == (1, 0, 0, 1)
    assert counts(poll(feed, rss([release(2), release(1), release(1)]))) == (1, 0, 1, 1)


def test_episodes_that_link_home_are_told_apart_by_their_files(feed: Harness) -> None:
    home = "https://case.example.test/"
    episodes = [
        Post(f"Episode {n}", f"Mon, 0{n} Oct 2026 10:00:00 GMT", link=home, file=f"{home}{n}.mp3")
        for n in (2, 1)
    ]
    assert counts(poll(feed, rss(episodes))) == (2, 0, 0, 0)
    renamed = Post("Episode 1, in full", episodes[1].date, link=home, file=f"{home}1.mp3")
    third = Post("Episode 3", "Mon, 03 Oct 2026 10:00:00 GMT", link=home, file=f"{home}3.mp3")
    assert counts(poll(feed, rss([third, episodes[0], renamed]))) == (1, 1, 1, 0)


def test_a_file_that_all_items_carry_tells_none_apart(feed: Harness) -> None:
    posts = [release(n, file="https://case.example.test/logo.png") for n in (3, 2, 1)]
    assert counts(poll(feed, rss(posts))) == (3, 0, 0, 0)
    assert counts(poll(feed, rss(posts[::-1]))) == (0, 0, 3, 0)


def test_a_guid_and_a_link_for_all_with_different_files_are_different_items(feed: Harness) -> None:
    posts = [release(n, guid="podcast", file=f"https://case.example.test/{n}.mp3") for n in (2, 1)]
    assert counts(poll(feed, rss(posts))) == (2, 0, 0, 0)


@pytest.mark.parametrize("has_id", [False, True])
def test_items_of_a_json_feed_that_share_their_url_are_all_stored(
    feed: Harness, has_id: bool
) -> None:
    items = [
        {"url": PAGE, "title": f"Release {n}", "date_published": f"2026-10-0{n}T10:00:00Z"}
        | ({"id": PAGE} if has_id else {})
        for n in (3, 2, 1)
    ]

    def document(items: list[dict[str, str]]) -> str:
        return json.dumps({"version": "https://jsonfeed.org/version/1.1", "items": items})

    assert counts(poll(feed, document(items[1:]))) == (2, 0, 0, 0)
    assert counts(poll(feed, document(items))) == (1, 0, 2, 0)


def test_atom_entries_without_id_that_share_their_link_are_all_stored(feed: Harness) -> None:
    def document(numbers: Sequence[int]) -> str:
        entries = (
            f'<entry><title>Release {n}</title><link href="{PAGE}"/>'
            f"<updated>2026-10-0{n}T10:00:00Z</updated></entry>"
            for n in numbers
        )
        return (
            f'<feed xmlns="http://www.w3.org/2005/Atom"><title>t</title>{"".join(entries)}</feed>'
        )

    assert counts(poll(feed, document([2, 1]))) == (2, 0, 0, 0)
    assert counts(poll(feed, document([1, 3, 2]))) == (1, 0, 2, 0)


def test_two_urls_that_list_the_same_posts_of_one_link_give_each_once(harness: Harness) -> None:
    harness.server.services.feeds.add([feed_url(SOURCE), feed_url(OTHER)], source=SOURCE)
    harness.publisher.show_document(OTHER, rss([release(1), release(2)]))
    assert counts(poll(harness, rss([release(2), release(1)]))) == (2, 0, 0, 2)
    # One of them alone shows one post: what the other once showed still holds.
    assert counts(poll(harness, rss([release(3)]))) == (1, 0, 0, 0)
    assert len(stored(harness)) == 3


def atom(*entries: tuple[str, str]) -> str:
    """Return a feed that lists one entry once for each title and date of change."""
    listed = "".join(
        f'<entry><id>tag:case,2026:1</id><link href="{PAGE}"/><title>{title}</title>'
        f"<published>2026-10-01T10:00:00Z</published><updated>{updated}</updated></entry>"
        for title, updated in entries
    )
    return f'<feed xmlns="http://www.w3.org/2005/Atom"><title>t</title>{listed}</feed>'


def test_two_urls_that_write_the_links_of_the_same_posts_differently_give_each_once(
    harness: Harness,
) -> None:
    harness.server.services.feeds.add([feed_url(SOURCE), feed_url(OTHER)], source=SOURCE)
    plain, counted = (
        [release(n, guid=f"urn:{n}", link=link.format(n)) for n in (1, 2, 3)]
        for link in ("http://case.example.test/{}", "https://case.example.test/{}?utm_source=rss")
    )
    harness.publisher.show_document(OTHER, rss(counted))
    assert counts(poll(harness, rss(plain))) == (3, 0, 0, 3)
    assert set(stored(harness)) == {f"{SOURCE}#urn:{n}" for n in (1, 2, 3)}
    assert counts(poll(harness, rss(counted)))[0] == 0
    assert len(stored(harness)) == 3


def test_two_mirrors_with_relative_links_give_each_post_once(harness: Harness) -> None:
    mirrors = [feed_url(SOURCE), feed_url(OTHER)]
    harness.server.services.feeds.add(mirrors, source=SOURCE)
    posts = [release(n, guid=f"g{n}", link=f"/post/{n}") for n in (1, 2)]
    # Without the channel's own link, so that each document resolves against its own address.
    document = rss(posts).replace("<link>https://case.example.test/</link>", "")
    harness.publisher.show_document(OTHER, document)
    assert counts(poll(harness, document)) == (2, 0, 0, 2)
    assert set(stored(harness)) == {f"{SOURCE}#g1", f"{SOURCE}#g2"}


def test_a_post_that_is_listed_twice_once_with_a_counted_link_keeps_its_guid(feed: Harness) -> None:
    link = "https://case.example.test/1"
    once = release(1, guid="urn:1", link=link)
    poll(feed, rss([once, release(1, guid="urn:1", link=f"{link}?utm_medium=mail")]))
    assert counts(poll(feed, rss([release(1, guid="urn:1", link=f"{link}-new")])))[:2] == (0, 1)
    assert set(stored(feed)) == {f"{SOURCE}#urn:1"}


def test_the_newest_version_of_an_entry_wins_whichever_stands_first(feed: Harness) -> None:
    old, new = ("old", "2026-10-02T10:00:00Z"), ("new", "2026-10-02T13:00:00+02:00")
    assert counts(poll(feed, atom(old, new))) == (1, 0, 0, 1)
    assert list(stored(feed).values()) == ["new"]
    assert counts(poll(feed, atom(new, old))) == (0, 0, 1, 1)
    assert list(stored(feed).values()) == ["new"]
