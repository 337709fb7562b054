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
from tests.fake_publisher import feed_url
from tests.harness import SOURCE, Harness
from tests.roles import Held

pytest_plugins = ["tests.harness_fixture"]

OTHER = "other"
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
WITH_TTL = """<rss version="2.0"><channel><title>T</title><ttl>180</ttl>
<item><guid>1</guid><title>A</title></item></channel></rss>"""


def schedule(harness: Harness, *sources: str, **fields: Any) -> None:
    """Add a feed of these sources' URLs, fetched every hour."""
    sources = sources or (SOURCE,)
    for source in sources:
        harness.publisher.show(source, {"1": "A"})
    urls = [feed_url(source) for source in sources]
    chosen = {} if "cron" in fields else {"interval_s": 3600}
    harness.server.services.feeds.add(urls, source=sources[0], **chosen, **fields)


def feed_of(harness: Harness, source: str = SOURCE) -> Feed:
    found = harness.stores.feeds.get(source)
    assert found is not None
    return found


def work_off(harness: Harness) -> None:
    """Run all fetch jobs with their repeats; 6 s pass."""
    for _ in range(3):
        while harness.server.fetch():
            pass
        harness.clock.advance(seconds=2)
        harness.reclaim()


def fetch_when_due(harness: Harness, source: str = SOURCE) -> Import:
    """Let the time come for a feed, and its scheduled import run."""
    due_at = feed_of(harness, source).next_fetch_at
    assert due_at is not None
    harness.clock.advance(seconds=max(0.0, (due_at - harness.clock.now()).total_seconds()))
    assert harness.server.scheduler.tick() >= 1
    return run_import(harness, source)


def fetch_now(harness: Harness, source: str = SOURCE) -> Import:
    """Import a feed by hand."""
    harness.server.start(source)
    return run_import(harness, source)


def run_import(harness: Harness, source: str = SOURCE) -> Import:
    while harness.server.fetch():
        pass
    found = harness.stores.imports.get(feed_of(harness, source).last_import or "")
    assert found is not None
    return found


def wait(harness: Harness, source: str = SOURCE) -> timedelta:
    """Return how long it is from now to a feed's next fetch."""
    next_at = feed_of(harness, source).next_fetch_at
    assert next_at is not None
    return next_at - harness.clock.now()


# What the publisher asks for


def test_a_ttl_is_honoured_on_a_304_that_carries_none(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.show_document(SOURCE, WITH_TTL)
    fetch_when_due(harness)
    assert wait(harness) == 3 * HOUR
    imported = fetch_when_due(harness)
    assert imported.fetches[0]["not_modified"]
    assert wait(harness) == 3 * HOUR
    assert "ttl or updatePeriod asks for 3 h" in feed_of(harness).next_fetch_reason


def test_a_ttl_that_the_next_document_lacks_is_forgotten(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.show_document(SOURCE, WITH_TTL)
    fetch_when_due(harness)
    harness.publisher.show_document(SOURCE, WITH_TTL.replace("<ttl>180</ttl>", ""))
    fetch_when_due(harness)
    assert wait(harness) == HOUR


def test_max_age_is_honoured_on_a_304_too(harness: Harness) -> None:
    schedule(harness)
    fetch_when_due(harness)
    harness.publisher.say(SOURCE, cache_max_age_s=7200.0)
    imported = fetch_when_due(harness)
    assert imported.fetches[0]["not_modified"]
    assert wait(harness) == 2 * HOUR


def test_of_several_urls_the_longest_wish_counts(harness: Harness) -> None:
    schedule(harness, SOURCE, OTHER)
    harness.publisher.say(SOURCE, cache_max_age_s=60.0)
    harness.publisher.say(OTHER, cache_max_age_s=7200.0)
    fetch_when_due(harness)
    assert wait(harness) == 2 * HOUR
    harness.publisher.show_document(OTHER, WITH_TTL)
    fetch_when_due(harness)
    harness.publisher.show(SOURCE, {"1": "B"})
    fetch_when_due(harness)
    assert wait(harness) == 3 * HOUR
    harness.publisher.refuse(OTHER, "http_status", http_status=404)
    fetch_when_due(harness)
    assert wait(harness) == 3 * HOUR


def test_a_fetch_that_is_held_back_is_no_failure(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.refuse(SOURCE, "rate_limited", http_status=429, retry_after_s=7200.0)
    fetch_when_due(harness)
    assert wait(harness) == 2 * HOUR
    requests = harness.publisher.requests
    assert fetch_now(harness).error_kind == "rate_limited"
    assert harness.publisher.requests == requests
    assert (feed_of(harness).consecutive_failures, wait(harness)) == (1, 2 * HOUR)


# By hand


def test_an_import_by_hand_does_not_move_the_schedule(harness: Harness) -> None:
    schedule(harness)
    fetch_when_due(harness)
    before = feed_of(harness)
    harness.clock.advance(minutes=10)
    fetch_now(harness)
    harness.publisher.refuse(SOURCE, "blocked", http_status=403)
    fetch_now(harness)
    after = feed_of(harness)
    assert (after.next_fetch_at, after.next_fetch_reason) == (
        before.next_fetch_at,
        before.next_fetch_reason,
    )
    assert after.consecutive_failures == 1


def test_failures_by_hand_are_shown_and_lengthen_no_back_off(harness: Harness) -> None:
    schedule(harness)
    fetch_when_due(harness)
    harness.publisher.refuse(SOURCE, "http_status", http_status=404)
    fetch_now(harness)
    fetch_when_due(harness)
    planned = feed_of(harness).next_fetch_at
    for _ in range(3):
        fetch_now(harness)
    assert feed_of(harness).next_fetch_at == planned

    fetch_when_due(harness)

    feed = feed_of(harness)
    assert (wait(harness), feed.consecutive_failures) == (2 * HOUR, 6)
    assert feed.next_fetch_reason == (
        "backing off after 2 failures in a row, not counting 4 by hand: next in 2 h"
    )


def test_a_success_by_hand_brings_a_failing_feed_back_to_its_schedule(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.refuse(SOURCE, "blocked", http_status=403)
    fetch_when_due(harness)
    assert wait(harness) == 4 * HOUR
    harness.publisher.admit(SOURCE)
    fetch_now(harness)
    feed = feed_of(harness)
    assert (wait(harness), feed.consecutive_failures, feed.error) == (HOUR, 0, None)
    assert feed.next_fetch_reason.startswith("a manual import succeeded")


def test_a_document_says_nothing_about_a_feeds_urls(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(harness)
    before = feed_of(harness)
    harness.server.services.starter.start_document(WITH_TTL.encode(), SOURCE)
    run_import(harness)
    after = feed_of(harness)
    assert after.last_import != before.last_import
    assert (after.next_fetch_at, after.error) == (before.next_fetch_at, before.error)
    assert after.consecutive_failures == 1
    assert after.history["gone_since"] == before.history["gone_since"]


# 410


def test_a_second_410_a_day_later_disables_the_feed_and_says_so(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(harness)
    assert (feed_of(harness).enabled, wait(harness)) == (True, DAY)
    fetch_now(harness)
    assert feed_of(harness).enabled
    fetch_when_due(harness)
    shown = show_feed(feed_of(harness))
    assert (shown.enabled, shown.next_fetch_at) == (False, None)
    assert shown.next_fetch_reason == (
        "gone: the publisher answered 410 twice, at 2026-11-01T12:00:00.000Z and "
        "2026-11-02T12:00:00.000Z; enable the feed to try again"
    )
    harness.clock.advance(days=30)
    assert harness.server.scheduler.tick() == 0


def test_enabling_a_gone_feed_gives_it_two_more_tries(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(harness)
    fetch_when_due(harness)
    feeds = harness.server.services.feeds
    assert feeds.change(SOURCE, {"interval_s": 60}).next_fetch_reason.startswith("gone: ")
    assert feeds.change(SOURCE, {"enabled": True}).next_fetch_reason == "enabled"
    fetch_when_due(harness)
    assert (feed_of(harness).enabled, wait(harness)) == (True, DAY)
    assert feeds.change(SOURCE, {"enabled": False}).next_fetch_reason == "disabled"


def test_an_answer_between_two_410s_forgets_the_first(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(harness)
    harness.publisher.admit(SOURCE)
    fetch_when_due(harness)
    harness.publisher.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(harness)
    assert (feed_of(harness).enabled, wait(harness)) == (True, DAY)


def test_a_feed_is_not_gone_while_one_of_its_urls_is_not(harness: Harness) -> None:
    schedule(harness, SOURCE, OTHER)
    harness.publisher.refuse(SOURCE, "gone", http_status=410)
    harness.publisher.refuse(OTHER, "http_status", http_status=404)
    fetch_when_due(harness)
    assert (feed_of(harness).history, wait(harness)) == ({}, HOUR)
    harness.publisher.refuse(OTHER, "gone", http_status=410)
    fetch_when_due(harness)
    assert feed_of(harness).history["gone_since"] == harness.clock.now()


def test_a_crash_behind_the_failure_does_not_keep_a_gone_feed_enabled(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(harness)
    harness.clock.advance(days=1)
    crashing = harness.new_server()
    assert crashing.scheduler.tick() == 1
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)
    assert feed_of(harness).enabled
    harness.lose_locks()
    harness.come_to_rest()
    assert not feed_of(harness).enabled
    assert feed_of(harness).next_fetch_reason.startswith("gone: ")


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
    harness: Harness, change: dict[str, Any], reason: str
) -> None:
    schedule(harness)
    harness.publisher.show(OTHER, {"1": "A"})
    assert harness.server.scheduler.tick() == 1
    with Held(harness.server.fetch, harness.server.stores.imports, "commit"):
        harness.clock.advance(seconds=1)
        changed = harness.server.services.feeds.change(SOURCE, change)
    feed = feed_of(harness)
    assert feed.running_import is None
    assert (feed.next_fetch_at, feed.next_fetch_reason) == (changed.next_fetch_at, reason)
    assert bool(feed.validators) == ("urls" not in change)


def test_a_feed_that_is_enabled_while_its_410_comes_stays_enabled(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.refuse(SOURCE, "gone", http_status=410)
    fetch_when_due(harness)
    harness.clock.advance(days=1)
    assert harness.server.scheduler.tick() == 1
    feeds = harness.server.services.feeds
    with Held(harness.server.fetch, harness.server.stores.imports, "fail"):
        harness.clock.advance(seconds=1)
        feeds.change(SOURCE, {"enabled": False})
        feeds.change(SOURCE, {"enabled": True})
    feed = feed_of(harness)
    assert (feed.enabled, feed.next_fetch_reason) == (True, "enabled")
    assert feed.next_fetch_at == harness.clock.now()


def test_new_urls_do_not_take_over_what_the_old_ones_answered(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.refuse(SOURCE, "gone", http_status=410)
    assert harness.server.scheduler.tick() == 1
    with Held(harness.server.fetch, harness.server.stores.imports, "fail"):
        harness.server.services.feeds.change(SOURCE, {"urls": [feed_url(OTHER)]})
    feed = feed_of(harness)
    assert (feed.history, feed.consecutive_failures, feed.error) == ({}, 0, None)


# Our own line


def test_no_feed_is_blamed_while_this_server_is_cut_off(harness: Harness) -> None:
    sources = [f"host{number}" for number in range(6)]
    for source in sources:
        schedule(harness, source)
        harness.publisher.refuse(source, "dns", retryable=True)
    assert harness.server.scheduler.tick() == 6
    work_off(harness)
    feeds = [feed_of(harness, source) for source in sources]
    assert [feed.consecutive_failures for feed in feeds] == [0] * 6
    assert all("seems to be offline" in feed.next_fetch_reason for feed in feeds)
    assert all(timedelta(minutes=4) < wait(harness, source) <= 5 * HOUR / 60 for source in sources)
    assert feeds[0].error == "dns: refused: dns"


def test_feeds_are_to_blame_while_another_host_answers(harness: Harness) -> None:
    sources = [f"host{number}" for number in range(6)]
    for source in sources:
        schedule(harness, source)
        harness.publisher.refuse(source, "dns", retryable=True)
    schedule(harness)
    assert harness.server.scheduler.tick() == 7
    work_off(harness)
    assert {feed_of(harness, source).consecutive_failures for source in sources} == {1}


# An error of our own


def test_an_error_of_our_own_is_a_failure_with_a_next_fetch(harness: Harness) -> None:
    schedule(harness)
    assert harness.server.scheduler.tick() == 1
    with mock.patch.object(harness.publisher, "fetch", side_effect=KeyError("oops")):
        imported = run_import(harness)
    assert (imported.state, imported.error_kind) == ("failed", "internal")
    feed = feed_of(harness)
    assert (feed.running_import, feed.consecutive_failures, wait(harness)) == (None, 1, HOUR)
    assert "please report it: KeyError('oops')" in (feed.error or "")
    harness.come_to_rest()
    assert harness.publisher.requests == 0


def test_a_foreign_fetch_job_that_names_no_import_fails_once(harness: Harness) -> None:
    harness.fetch_queue.add_many([NewJob(id="odd", name="fetch", data={"source": SOURCE})])
    assert harness.server.fetch()
    found = harness.fetch_queue.get_job("odd")
    assert found is not None
    assert (found.state, found.failed_reason) == ("failed", "the job's data names no import")
    assert not harness.server.fetch()


# Moved for good


def test_a_permanent_redirect_is_reported_and_never_adopted(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.say(SOURCE, permanent_url="https://new.example/feed?token=secret")
    for _ in range(2):
        imported = fetch_when_due(harness)
        [warning] = imported.warnings
        assert warning == (
            f"{feed_url(SOURCE)}: moved permanently to https://new.example/feed?token=***; "
            "change the feed's url"
        )
        feed = feed_of(harness)
        assert feed.urls == [feed_url(SOURCE)]
        [entry] = feed.history["urls"]
        assert (entry["url"], entry["moved_to"]) == (
            feed_url(SOURCE),
            "https://new.example/feed?token=***",
        )
        shown = show_feed(feed).moved_to
        assert shown == {feed_url(SOURCE): "https://new.example/feed?token=***"}
    harness.publisher.say(SOURCE)
    fetch_when_due(harness)
    [entry] = feed_of(harness).history["urls"]
    assert "moved_to" not in entry


MOVED = (
    '<rss version="2.0" xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd"><channel>'
    "<title>t</title><itunes:new-feed-url> {} </itunes:new-feed-url>"
    "<item><guid>1</guid><title>one</title></item></channel></rss>"
)


def test_a_feed_that_says_that_it_has_moved_is_reported(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.show_document(SOURCE, MOVED.format("https://new.example/feed?token=secret"))
    [warning] = fetch_when_due(harness).warnings
    assert warning == (
        f"{feed_url(SOURCE)}: the feed says that it has moved to "
        "https://new.example/feed?token=***; change the feed's url"
    )
    moved = {feed_url(SOURCE): "https://new.example/feed?token=***"}
    assert show_feed(feed_of(harness)).moved_to == moved
    # An answer of 304 says nothing else.
    fetch_when_due(harness)
    assert show_feed(feed_of(harness)).moved_to == moved
    own = feed_url(SOURCE).replace("https://", "http://") + "/"
    harness.publisher.show_document(SOURCE, MOVED.format(own))
    assert fetch_when_due(harness).warnings == []
    assert show_feed(feed_of(harness)).moved_to is None


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
def test_a_document_that_only_says_where_the_feed_is_now_is_told(
    harness: Harness, document: str
) -> None:
    schedule(harness)
    harness.publisher.show_document(SOURCE, document.format("/new.xml?token=secret&amp;a=1"))
    error = fetch_when_due(harness).error
    assert error is not None
    assert "moved to https://" in error
    assert "/new.xml?token=***&a=1" in error


def test_the_refresh_header_is_told(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.say(SOURCE, refresh="0; url=https://new.example/")
    harness.publisher.show_document(SOURCE, "<html><body>moved</body></html>")
    error = fetch_when_due(harness).error
    assert error == (
        "html: a web page instead of a feed; its Refresh header leads to https://new.example/"
    )
    harness.publisher.show(SOURCE, {"1": "A"})
    assert fetch_when_due(harness).warnings == [
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
    harness: Harness, document: str, is_paged: bool
) -> None:
    schedule(harness)
    fetch_when_due(harness)
    harness.publisher.show_document(SOURCE, document)
    warnings = fetch_when_due(harness).warnings
    assert len(warnings) == is_paged
    for warning in warnings:
        assert "page one of several: older items are at https://" in warning
        assert "/page2" in warning


# What came broken over the wire


def test_a_whole_document_of_a_broken_answer_is_imported_with_a_warning(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.say(SOURCE, is_cut=True, faults=("the connection ended early",))
    harness.publisher.show(SOURCE, {"1": "A"})
    imported = fetch_when_due(harness)
    assert imported.counts["fetched"] == 1
    assert imported.warnings == [f"{feed_url(SOURCE)}: the connection ended early"]
    assert feed_of(harness).validators[feed_url(SOURCE)].etag is not None


def test_validators_do_not_move_for_what_came_in_part(harness: Harness) -> None:
    schedule(harness)
    harness.publisher.say(SOURCE, is_cut=True, faults=("the connection ended early",))
    item = "<item><guid>{}</guid><title>one</title></item>"
    document = f'<rss version="2.0"><channel><title>t</title>{item.format(1)}{item.format(2)[:-9]}'
    harness.publisher.show_document(SOURCE, document)
    imported = fetch_when_due(harness)
    assert imported.counts["fetched"] == 1
    assert feed_of(harness).validators == {}
    harness.publisher.show_document(SOURCE, document[:30])
    # Of that the connection is to blame: it is tried again.
    fetch_when_due(harness)
    states = {each.state for each in harness.stores.imports.find_open()}
    assert ImportState.FETCHING in states


# A publisher that says 304 for ever


class _Deaf:
    """Answers 304 to whatever is conditional, whatever there is."""

    def __init__(self, harness: Harness) -> None:
        self._fetch = harness.publisher.fetch
        self.sent: list[Validators | None] = []
        harness.publisher.fetch = self  # type: ignore[assignment, method-assign]

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


def poll_for(harness: Harness, days: int) -> list[Import]:
    imports = []
    for _ in range(days):
        harness.clock.advance(days=1)
        imports.append(fetch_when_due(harness))
        harness.come_to_rest()
    return imports


def test_after_two_weeks_of_304_one_look_is_taken_without_conditions(harness: Harness) -> None:
    schedule(harness)
    deaf = _Deaf(harness)
    harness.publisher.show(SOURCE, {"1": "A"})
    poll_for(harness, 3)
    poll_for(harness, 16)
    looks = [sent for sent in deaf.sent if sent is not None and sent.etag is None]
    # It was right: nothing has changed, and the row begins anew.
    assert len(looks) == 1
    assert show_feed(feed_of(harness)).disbelieved is None
    harness.publisher.show(SOURCE, {"1": "A", "2": "B"})
    imports = poll_for(harness, 16)
    found = [each for each in imports if each.warnings]
    assert len(found) == 1
    [warning] = found[0].warnings
    assert "answered 304 (not modified) for 14 days though there were changes" in warning
    assert show_feed(feed_of(harness)).disbelieved == [feed_url(SOURCE)]
    # From then on each answer is whole.
    harness.publisher.show(SOURCE, {"3": "C"})
    [following] = poll_for(harness, 1)
    assert (following.counts["fetched"], following.warnings) == (1, [])
    assert poll_for(harness, 1)[0].fetches[0]["not_modified"]
    assert show_feed(feed_of(harness)).disbelieved == [feed_url(SOURCE)]


def test_another_body_with_the_same_items_is_no_lie(harness: Harness) -> None:
    schedule(harness)
    _Deaf(harness)
    harness.publisher.show_document(SOURCE, paged(""))
    poll_for(harness, 2)
    harness.publisher.show_document(SOURCE, paged("<lastBuildDate>now</lastBuildDate>"))
    poll_for(harness, 17)
    assert show_feed(feed_of(harness)).disbelieved is None
