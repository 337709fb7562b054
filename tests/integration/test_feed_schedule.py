"""What an import leaves in its feed: the next fetch, its reason, and what is remembered."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest

from server.api.feed_bodies import show_feed
from server.fetching.answers import Validators
from shared.queue import NewJob
from shared.store import Feed, Import, ImportState
from tests.actors import Held
from tests.mill import SOURCE, Mill
from tests.press import feed_url

pytest_plugins = ["tests.mill_fixture"]

OTHER = "other"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WITH_TTL = """<rss version="2.0"><channel><title>T</title><ttl>180</ttl>
<item><guid>1</guid><title>A</title></item></channel></rss>"""


def schedule(mill: Mill, *sources: str, **fields: Any) -> None:
    """Add a feed of these sources' URLs, fetched every hour."""
    sources = sources or (SOURCE,)
    for source in sources:
        mill.press.show(source, {"1": "A"})
    urls = [feed_url(source) for source in sources]
    chosen = {} if "cron" in fields else {"interval_s": 3600}
    mill.server.services.feeds.add(urls, source=sources[0], **chosen, **fields)


def feed_of(mill: Mill, source: str = SOURCE) -> Feed:
    found = mill.stores.feeds.get(source)
    assert found is not None
    return found


def work_off(mill: Mill) -> None:
    """Run all fetch jobs with their repeats; 6 s pass."""
    for _ in range(3):
        while mill.server.fetch():
            pass
        mill.clock.advance(seconds=2)
        mill.reclaim()


def fetch_when_due(mill: Mill, source: str = SOURCE) -> Import:
    """Let the time come for a feed, and its scheduled import run."""
    due_at = feed_of(mill, source).next_fetch_at
    assert due_at is not None
    mill.clock.advance(seconds=max(0.0, (due_at - mill.clock.now()).total_seconds()))
    assert mill.server.scheduler.tick() >= 1
    return run_import(mill, source)


def fetch_now(mill: Mill, source: str = SOURCE) -> Import:
    """Import a feed by hand."""
    mill.server.start(source)
    return run_import(mill, source)


def run_import(mill: Mill, source: str = SOURCE) -> Import:
    while mill.server.fetch():
        pass
    found = mill.stores.imports.get(feed_of(mill, source).last_import or "")
    assert found is not None
    return found


def wait(mill: Mill, source: str = SOURCE) -> timedelta:
    """Return how long it is from now to a feed's next fetch."""
    next_at = feed_of(mill, source).next_fetch_at
    assert next_at is not None
    return next_at - mill.clock.now()


# What the publisher asks for


def test_a_ttl_is_honoured_on_a_304_that_carries_none(mill: Mill) -> None:
    schedule(mill)
    mill.press.show_document(SOURCE, WITH_TTL)
    fetch_when_due(mill)
    assert wait(mill) == 3 * HOUR
    imported = fetch_when_due(mill)
    assert imported.fetches[0]["not_modified"]
    assert wait(mill) == 3 * HOUR
    assert "ttl or updatePeriod asks for 3 h" in feed_of(mill).next_fetch_reason


def test_a_ttl_that_the_next_document_lacks_is_forgotten(mill: Mill) -> None:
    schedule(mill)
    mill.press.show_document(SOURCE, WITH_TTL)
    fetch_when_due(mill)
    mill.press.show_document(SOURCE, WITH_TTL.replace("<ttl>180</ttl>", ""))
    fetch_when_due(mill)
    assert wait(mill) == HOUR


def test_max_age_is_honoured_on_a_304_too(mill: Mill) -> None:
    schedule(mill)
    fetch_when_due(mill)
    mill.press.say(SOURCE, cache_max_age_s=7200.0)
    imported = fetch_when_due(mill)
    assert imported.fetches[0]["not_modified"]
    assert wait(mill) == 2 * HOUR


def test_of_several_urls_the_longest_wish_counts(mill: Mill) -> None:
    schedule(mill, SOURCE, OTHER)
    mill.press.say(SOURCE, cache_max_age_s=60.0)
    mill.press.say(OTHER, cache_max_age_s=7200.0)
    fetch_when_due(mill)
    assert wait(mill) == 2 * HOUR
    mill.press.show_document(OTHER, WITH_TTL)
    fetch_when_due(mill)
    mill.press.show(SOURCE, {"1": "B"})
    fetch_when_due(mill)
    assert wait(mill) == 3 * HOUR
    mill.press.refuse(OTHER, "http_status", http_status=404)
    fetch_when_due(mill)
    assert wait(mill) == 3 * HOUR


def test_a_fetch_that_is_held_back_is_no_failure(mill: Mill) -> None:
    schedule(mill)
    mill.press.refuse(SOURCE, "rate_limited", http_status=429, retry_after_s=7200.0)
    fetch_when_due(mill)
    assert wait(mill) == 2 * HOUR
    requests = mill.press.requests
    assert fetch_now(mill).error_kind == "rate_limited"
    assert mill.press.requests == requests
    assert (feed_of(mill).consecutive_failures, wait(mill)) == (1, 2 * HOUR)


# By hand


def test_an_import_by_hand_does_not_move_the_schedule(mill: Mill) -> None:
    schedule(mill)
    fetch_when_due(mill)
    before = feed_of(mill)
    mill.clock.advance(minutes=10)
    fetch_now(mill)
    mill.press.refuse(SOURCE, "blocked", http_status=403)
    fetch_now(mill)
    after = feed_of(mill)
    assert (after.next_fetch_at, after.next_fetch_reason) == (
        before.next_fetch_at,
        before.next_fetch_reason,
    )
    assert after.consecutive_failures == 1


def test_a_success_by_hand_brings_a_failing_feed_back_to_its_schedule(mill: Mill) -> None:
    schedule(mill)
    mill.press.refuse(SOURCE, "blocked", http_status=403)
    fetch_when_due(mill)
    assert wait(mill) == 4 * HOUR
    mill.press.admit(SOURCE)
    fetch_now(mill)
    feed = feed_of(mill)
    assert (wait(mill), feed.consecutive_failures, feed.error) == (HOUR, 0, None)
    assert feed.next_fetch_reason.startswith("an import by hand succeeded")


def test_a_document_says_nothing_about_a_feeds_urls(mill: Mill) -> None:
    schedule(mill)
    mill.press.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(mill)
    before = feed_of(mill)
    mill.server.services.starter.start_document(WITH_TTL.encode(), SOURCE)
    run_import(mill)
    after = feed_of(mill)
    assert after.last_import != before.last_import
    assert (after.next_fetch_at, after.error) == (before.next_fetch_at, before.error)
    assert after.consecutive_failures == 1
    assert after.history["gone_since"] == before.history["gone_since"]


# 410


def test_a_second_410_a_day_later_disables_the_feed_and_says_so(mill: Mill) -> None:
    schedule(mill)
    mill.press.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(mill)
    assert (feed_of(mill).enabled, wait(mill)) == (True, DAY)
    fetch_now(mill)
    assert feed_of(mill).enabled
    fetch_when_due(mill)
    shown = show_feed(feed_of(mill))
    assert (shown.enabled, shown.next_fetch_at) == (False, None)
    assert shown.next_fetch_reason == (
        "gone: the publisher answered 410 twice, at 2026-11-01T12:00:00.000Z and "
        "2026-11-02T12:00:00.000Z; enable the feed to try again"
    )
    mill.clock.advance(days=30)
    assert mill.server.scheduler.tick() == 0


def test_enabling_a_gone_feed_gives_it_two_more_tries(mill: Mill) -> None:
    schedule(mill)
    mill.press.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(mill)
    fetch_when_due(mill)
    feeds = mill.server.services.feeds
    assert feeds.change(SOURCE, {"interval_s": 60}).next_fetch_reason.startswith("gone: ")
    assert feeds.change(SOURCE, {"enabled": True}).next_fetch_reason == "enabled"
    fetch_when_due(mill)
    assert (feed_of(mill).enabled, wait(mill)) == (True, DAY)
    assert feeds.change(SOURCE, {"enabled": False}).next_fetch_reason == "disabled"


def test_an_answer_between_two_410s_forgets_the_first(mill: Mill) -> None:
    schedule(mill)
    mill.press.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(mill)
    mill.press.admit(SOURCE)
    fetch_when_due(mill)
    mill.press.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(mill)
    assert (feed_of(mill).enabled, wait(mill)) == (True, DAY)


def test_a_feed_is_not_gone_while_one_of_its_urls_is_not(mill: Mill) -> None:
    schedule(mill, SOURCE, OTHER)
    mill.press.refuse(SOURCE, "gone", http_status=410)
    mill.press.refuse(OTHER, "http_status", http_status=404)
    fetch_when_due(mill)
    assert (feed_of(mill).history, wait(mill)) == ({}, HOUR)
    mill.press.refuse(OTHER, "gone", http_status=410)
    fetch_when_due(mill)
    assert feed_of(mill).history["gone_since"] == mill.clock.now()


def test_a_crash_behind_the_failure_does_not_keep_a_gone_feed_enabled(mill: Mill) -> None:
    schedule(mill)
    mill.press.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(mill)
    mill.clock.advance(days=1)
    crashing = mill.new_server()
    assert crashing.scheduler.tick() == 1
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)
    assert feed_of(mill).enabled
    mill.lose_locks()
    mill.come_to_rest()
    assert not feed_of(mill).enabled
    assert feed_of(mill).next_fetch_reason.startswith("gone: ")


# Changed while it runs


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"interval_s": 7200}, "schedule changed"),
        ({"cron": "0 6 * * *"}, "schedule changed"),
        ({"urls": [feed_url(OTHER)]}, "URL changed"),
        ({"enabled": False}, "disabled"),
    ],
)
def test_a_feed_that_is_changed_while_it_is_fetched_keeps_the_change(
    mill: Mill, change: dict[str, Any], reason: str
) -> None:
    schedule(mill)
    mill.press.show(OTHER, {"1": "A"})
    assert mill.server.scheduler.tick() == 1
    with Held(mill.server.fetch, mill.server.stores.imports, "commit"):
        mill.clock.advance(seconds=1)
        changed = mill.server.services.feeds.change(SOURCE, change)
    feed = feed_of(mill)
    assert feed.running_import is None
    assert (feed.next_fetch_at, feed.next_fetch_reason) == (changed.next_fetch_at, reason)
    assert bool(feed.validators) == ("urls" not in change)


def test_a_feed_that_is_enabled_while_its_410_comes_stays_enabled(mill: Mill) -> None:
    schedule(mill)
    mill.press.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(mill)
    mill.clock.advance(days=1)
    assert mill.server.scheduler.tick() == 1
    feeds = mill.server.services.feeds
    with Held(mill.server.fetch, mill.server.stores.imports, "fail"):
        mill.clock.advance(seconds=1)
        feeds.change(SOURCE, {"enabled": False})
        feeds.change(SOURCE, {"enabled": True})
    feed = feed_of(mill)
    assert (feed.enabled, feed.next_fetch_reason) == (True, "enabled")
    assert feed.next_fetch_at == mill.clock.now()


def test_new_urls_do_not_take_over_what_the_old_ones_answered(mill: Mill) -> None:
    schedule(mill)
    mill.press.refuse(SOURCE, "gone", http_status=410)
    assert mill.server.scheduler.tick() == 1
    with Held(mill.server.fetch, mill.server.stores.imports, "fail"):
        mill.server.services.feeds.change(SOURCE, {"urls": [feed_url(OTHER)]})
    feed = feed_of(mill)
    assert (feed.history, feed.consecutive_failures, feed.error) == ({}, 0, None)


# Our own line


def test_no_feed_is_blamed_while_this_server_is_cut_off(mill: Mill) -> None:
    sources = [f"host{number}" for number in range(6)]
    for source in sources:
        schedule(mill, source)
        mill.press.refuse(source, "dns", retryable=True)
    assert mill.server.scheduler.tick() == 6
    work_off(mill)
    feeds = [feed_of(mill, source) for source in sources]
    assert [feed.consecutive_failures for feed in feeds] == [0] * 6
    assert all("seems to be cut off" in feed.next_fetch_reason for feed in feeds)
    assert all(timedelta(minutes=4) < wait(mill, source) <= 5 * HOUR / 60 for source in sources)
    assert feeds[0].error == "dns: refused: dns"


def test_feeds_are_to_blame_while_another_host_answers(mill: Mill) -> None:
    sources = [f"host{number}" for number in range(6)]
    for source in sources:
        schedule(mill, source)
        mill.press.refuse(source, "dns", retryable=True)
    schedule(mill)
    assert mill.server.scheduler.tick() == 7
    work_off(mill)
    assert {feed_of(mill, source).consecutive_failures for source in sources} == {1}


# An error of our own


def test_an_error_of_our_own_is_a_failure_with_a_next_fetch(mill: Mill) -> None:
    schedule(mill)
    assert mill.server.scheduler.tick() == 1
    with mock.patch.object(mill.press, "fetch", side_effect=KeyError("oops")):
        imported = run_import(mill)
    assert (imported.state, imported.error_kind) == ("failed", "internal")
    feed = feed_of(mill)
    assert (feed.running_import, feed.consecutive_failures, wait(mill)) == (None, 1, HOUR)
    assert "please report it: KeyError('oops')" in (feed.error or "")
    mill.come_to_rest()
    assert mill.press.requests == 0


def test_a_foreign_fetch_job_that_names_no_import_fails_once(mill: Mill) -> None:
    mill.fetch_queue.add_many([NewJob(id="odd", name="fetch", data={"source": SOURCE})])
    assert mill.server.fetch()
    found = mill.fetch_queue.get_job("odd")
    assert found is not None
    assert (found.state, found.failed_reason) == ("failed", "the job's data names no import")
    assert not mill.server.fetch()


# Moved for good


def test_a_permanent_redirect_is_reported_and_never_adopted(mill: Mill) -> None:
    schedule(mill)
    mill.press.say(SOURCE, permanent_url="https://new.example/feed?token=secret")
    for _ in range(2):
        imported = fetch_when_due(mill)
        [warning] = imported.warnings
        assert warning == (
            f"{feed_url(SOURCE)}: moved permanently to https://new.example/feed?token=***; "
            "change the feed's url"
        )
        feed = feed_of(mill)
        assert feed.urls == [feed_url(SOURCE)]
        [entry] = feed.history["urls"]
        assert (entry["url"], entry["moved_to"]) == (
            feed_url(SOURCE),
            "https://new.example/feed?token=***",
        )
        shown = show_feed(feed).moved_to
        assert shown == {feed_url(SOURCE): "https://new.example/feed?token=***"}
    mill.press.say(SOURCE)
    fetch_when_due(mill)
    [entry] = feed_of(mill).history["urls"]
    assert "moved_to" not in entry


MOVED = (
    '<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel>'
    "<title>t</title><itunes:new-feed-url> {} </itunes:new-feed-url>"
    "<item><guid>1</guid><title>one</title></item></channel></rss>"
)


def test_a_feed_that_says_that_it_has_moved_is_reported(mill: Mill) -> None:
    schedule(mill)
    mill.press.show_document(SOURCE, MOVED.format("https://new.example/feed?token=secret"))
    [warning] = fetch_when_due(mill).warnings
    assert warning == (
        f"{feed_url(SOURCE)}: the feed says that it has moved to "
        "https://new.example/feed?token=***; change the feed's url"
    )
    moved = {feed_url(SOURCE): "https://new.example/feed?token=***"}
    assert show_feed(feed_of(mill)).moved_to == moved
    # An answer of 304 says nothing else.
    fetch_when_due(mill)
    assert show_feed(feed_of(mill)).moved_to == moved
    own = feed_url(SOURCE).replace("https://", "http://") + "/"
    mill.press.show_document(SOURCE, MOVED.format(own))
    assert fetch_when_due(mill).warnings == []
    assert show_feed(feed_of(mill)).moved_to is None


@pytest.mark.parametrize(
    "document",
    [
        "<?xml version='1.0'?>\n<redirect>\n<newLocation>{}</newLocation></redirect>",
        "<redirect><newLocation><![CDATA[{}]]></newLocation></redirect>",
        '<html><head><meta http-equiv="refresh" content="0; url={}"></head></html>',
        "<HTML><META CONTENT='5;URL={}' HTTP-EQUIV=Refresh></HTML>",
        """<html><meta http-equiv="refresh" content="0;'{}'"></html>""",
    ],
)
def test_a_document_that_only_says_where_the_feed_is_now_is_told(mill: Mill, document: str) -> None:
    schedule(mill)
    mill.press.show_document(SOURCE, document.format("/new.xml?token=secret&amp;a=1"))
    error = fetch_when_due(mill).error
    assert error is not None
    assert "moved to https://" in error
    assert "/new.xml?token=***&a=1" in error


def test_the_refresh_header_is_told(mill: Mill) -> None:
    schedule(mill)
    mill.press.say(SOURCE, refresh="0; url=https://new.example/")
    mill.press.show_document(SOURCE, "<html><body>moved</body></html>")
    error = fetch_when_due(mill).error
    assert error == (
        "html: a web page instead of a feed; its Refresh header leads to https://new.example/"
    )
    mill.press.show(SOURCE, {"1": "A"})
    assert fetch_when_due(mill).warnings == [
        f"{feed_url(SOURCE)}: its Refresh header leads to https://new.example/"
    ]


def paged(element: str, kind: str = "rss") -> str:
    if kind == "json":
        return (
            '{"version": "https://jsonfeed.org/version/1.1", "title": "t", '
            + element
            + '"items": [{"id": "1", "content_text": "one"}]}'
        )
    if kind == "atom":
        return (
            '<feed xmlns="http://www.w3.org/2005/Atom"><id>f</id><title>t</title>' + element
            + "<entry><id>1</id><title>one</title></entry></feed>"
        )  # fmt: skip
    return (
        '<rss version="2.0" xmlns:a="http://www.w3.org/2005/Atom"><channel><title>t</title>'
        + element
        + "<item><guid>1</guid><title>one</title></item></channel></rss>"
    )


@pytest.mark.parametrize(
    ("document", "is_paged"),
    [
        (paged('<link rel="next" href="/page2.atom"/>', "atom"), True),
        (paged('<link rel="prev-archive" href="/page2.atom"/>', "atom"), True),
        (paged('<a:link rel="next" href="/page2"/>'), True),
        (paged('"next_url": "/page2.json", ', "json"), True),
        (paged('<link rel="next" href=""/>', "atom"), False),
        (paged('<link rel="self" href="/page1"/>', "atom"), False),
        (paged('"next_url": 2, ', "json"), False),
        (paged(""), False),
    ],
)
def test_a_document_that_is_one_page_of_several_says_so(
    mill: Mill, document: str, is_paged: bool
) -> None:
    schedule(mill)
    mill.press.show_document(SOURCE, document)
    warnings = fetch_when_due(mill).warnings
    assert len(warnings) == is_paged
    for warning in warnings:
        assert "page one of several: older items are at https://" in warning
        assert "/page2" in warning


# What came broken over the wire


def test_a_whole_document_of_a_broken_answer_is_imported_with_a_warning(mill: Mill) -> None:
    schedule(mill)
    mill.press.say(SOURCE, is_cut=True, faults=("the connection ended early",))
    mill.press.show(SOURCE, {"1": "A"})
    imported = fetch_when_due(mill)
    assert imported.counts["fetched"] == 1
    assert imported.warnings == [f"{feed_url(SOURCE)}: the connection ended early"]
    assert feed_of(mill).validators[feed_url(SOURCE)].etag is not None


def test_validators_do_not_move_for_what_came_in_part(mill: Mill) -> None:
    schedule(mill)
    mill.press.say(SOURCE, is_cut=True, faults=("the connection ended early",))
    item = "<item><guid>{}</guid><title>one</title></item>"
    document = f'<rss version="2.0"><channel><title>t</title>{item.format(1)}{item.format(2)[:-9]}'
    mill.press.show_document(SOURCE, document)
    imported = fetch_when_due(mill)
    assert imported.counts["fetched"] == 1
    assert feed_of(mill).validators == {}
    mill.press.show_document(SOURCE, document[:30])
    # Of that the connection is to blame: it is tried again.
    fetch_when_due(mill)
    states = {each.state for each in mill.stores.imports.find_open()}
    assert ImportState.FETCHING in states


# A publisher that says 304 for ever


class _Deaf:
    """Answers 304 to whatever is conditional, whatever there is."""

    def __init__(self, mill: Mill) -> None:
        self._fetch = mill.press.fetch
        self.sent: list[Validators | None] = []
        mill.press.fetch = self  # type: ignore[assignment, method-assign]

    def __call__(self, url: str, *, validators: Validators | None = None, **rest: Any) -> Any:
        self.sent.append(validators)
        is_conditional = validators is not None and validators.etag is not None
        fetched = self._fetch(url, **rest)
        if validators is not None and is_conditional:
            return replace(
                fetched, http_status=304, not_modified=True, body=b"", validators=validators
            )
        is_same = validators is not None and validators.body_hash == fetched.validators.body_hash
        return replace(fetched, not_modified=is_same)


def poll_for(mill: Mill, days: int) -> list[Import]:
    imports = []
    for _ in range(days):
        mill.clock.advance(days=1)
        imports.append(fetch_when_due(mill))
        mill.come_to_rest()
    return imports


def test_after_two_weeks_of_304_one_look_is_taken_without_conditions(mill: Mill) -> None:
    schedule(mill)
    deaf = _Deaf(mill)
    mill.press.show(SOURCE, {"1": "A"})
    poll_for(mill, 3)
    poll_for(mill, 16)
    looks = [sent for sent in deaf.sent if sent is not None and sent.etag is None]
    # It was right: nothing has changed, and the row begins anew.
    assert len(looks) == 1
    assert show_feed(feed_of(mill)).disbelieved is None
    mill.press.show(SOURCE, {"1": "A", "2": "B"})
    imports = poll_for(mill, 16)
    found = [each for each in imports if each.warnings]
    assert len(found) == 1
    [warning] = found[0].warnings
    assert "answered 304 (not modified) for 14 days though there were changes" in warning
    assert show_feed(feed_of(mill)).disbelieved == [feed_url(SOURCE)]
    # From then on each answer is whole.
    mill.press.show(SOURCE, {"3": "C"})
    [following] = poll_for(mill, 1)
    assert (following.counts["fetched"], following.warnings) == (1, [])
    assert poll_for(mill, 1)[0].fetches[0]["not_modified"]
    assert show_feed(feed_of(mill)).disbelieved == [feed_url(SOURCE)]


def test_another_body_with_the_same_items_is_no_lie(mill: Mill) -> None:
    schedule(mill)
    _Deaf(mill)
    mill.press.show_document(SOURCE, paged(""))
    poll_for(mill, 2)
    mill.press.show_document(SOURCE, paged("<lastBuildDate>now</lastBuildDate>"))
    poll_for(mill, 17)
    assert show_feed(feed_of(mill)).disbelieved is None
