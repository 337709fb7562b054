"""Adds, changes and removes feeds."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from server.feeds.backfills import BackFills
from server.feeds.fetch_jobs import fetch_job_id
from server.feeds.next_fetch import NOT_SCHEDULED
from server.feeds.outcomes import Outcomes
from server.feeds.retry_after import RetryAfter
from server.feeds.schedules import check_cron
from server.feeds.source_names import check_new_source, make_hashed_source, make_source
from server.feeds.tags import read_tags
from server.feeds.windows import FeedWindow, Windows, check_window, read_window
from server.fetching.addresses import is_masked
from shared.clock import Clock
from shared.error_kinds import ErrorKind
from shared.errors import ConflictError, InvalidRequestError, NotFoundError
from shared.queue import JobQueue
from shared.store import Feed, Stores
from shared.store.feed_documents import tidy_title
from shared.urls import MASK

MAX_URLS = 100
DISABLED = "disabled"
NEW_FEED = "new feed"
SCHEDULE_CHANGED = "schedule changed"
URL_CHANGED = "URL changed"
ENABLED = "enabled"
BY_WINDOW = "its window"
WINDOW_ENDED = "its window ended"

# Set when a feed may be due earlier than the scheduler knows.
FeedChanges = threading.Event


class FeedService:
    """Everything that changes a feed's configuration.

    ``check_url`` refuses a URL that may not be fetched, with InvalidRequestError, and returns it in
    the one spelling in which it is stored and compared; it asks nobody but the text itself.
    """

    def __init__(
        self,
        stores: Stores,
        fetch_queue: JobQueue,
        clock: Clock,
        check_url: Callable[[str], str],
        outcomes: Outcomes,
        changes: FeedChanges,
        retry_after: RetryAfter,
        windows: Windows,
        backfills: BackFills,
    ) -> None:
        self._stores = stores
        self._fetch_queue = fetch_queue
        self._clock = clock
        self._check_url = check_url
        self._outcomes = outcomes
        self._changes = changes
        self._retry_after = retry_after
        self._windows = windows
        self._backfills = backfills

    def get(self, source: str) -> Feed:
        """Return a feed.

        Raises:
            NotFoundError: there is none.
        """
        found = self._stores.feeds.get(source)
        if found is None:
            raise NotFoundError(f"there is no feed {source[:80]!r}")
        return found

    def exists(self, source: str) -> bool:
        """Return whether a feed has this source."""
        return self._stores.feeds.get(source) is not None

    def add(
        self,
        urls: Sequence[str],
        *,
        source: str | None = None,
        enabled: bool = True,
        interval_s: int | None = None,
        cron: str | None = None,
        headers: Mapping[str, str] | None = None,
        weight: str | None = None,
        window: FeedWindow | None = None,
        title: str | None = None,
        tags: Sequence[str] = (),
    ) -> Feed:
        """Add a feed, due at once if it is scheduled (has ``interval_s`` or ``cron``).

        One with a ``window`` is read by intervals instead, and its schedule rests.

        Without ``source`` one is made from the first URL's host and path, with a short hash when
        that is taken.

        Raises:
            InvalidRequestError: a URL that may not be fetched, no crontab line, not a slug, no
                tag, or a window that does not fit the URLs.
            ConflictError: the source is taken, or a feed has just these URLs.
        """
        checked = self._check_urls(urls)
        if cron is not None:
            check_cron(cron, self._clock.now())
        check_window(checked, window)
        if source is None:
            self._refuse_known_urls(checked)
        fields: dict[str, Any] = {
            "enabled": enabled,
            "interval_s": interval_s,
            "cron": cron,
            "weight": weight,
            "title": tidy_title(title),
            "tags": read_tags(tags),
        }
        fields["window"] = window.to_document() if window is not None else None
        fields |= self._due(NEW_FEED, fields)
        added = self._insert(source, {**fields, "urls": checked, "headers": dict(headers or {})})
        if window is not None:
            self._windows.begin(added)
        return added

    def find_or_add_unscheduled(self, url: str, source: str | None) -> Feed:
        """Return the feed whose only URL this is, or a new one that is not scheduled.

        Of any number of callers at the same moment one adds it and the others are given it.

        Raises:
            InvalidRequestError: the URL may not be fetched.
            ConflictError: the source is taken by a feed with another URL, or is not that of the
                feed with this URL.
        """
        checked = self._check_urls([url])
        found = self._find_for_start(checked, source)
        if found is not None:
            return found
        try:
            return self.add(checked, source=source)
        except ConflictError:
            found = self._find_for_start(checked, source)
            if found is None:
                raise
            return found

    def _find_for_start(self, urls: Sequence[str], source: str | None) -> Feed | None:
        if source is None:
            return self._stores.feeds.find_by_urls(urls)
        found = self._stores.feeds.get(source)
        if found is not None and found.urls != urls:
            raise ConflictError(f"source {found.source!r} is taken by a feed with another URL")
        return found

    def get_or_add_without_url(self, source: str) -> Feed:
        """Return a feed, or a new one that only documents are handed in for.

        Raises:
            InvalidRequestError: the source is not fit for a new feed.
        """
        found = self._stores.feeds.get(source)
        if found is not None:
            return found
        check_new_source(source)
        new = Feed(source=source, urls=[], created_at=self._clock.now())
        try:
            self._stores.feeds.insert(new)
        except ConflictError:
            return self.get(source)
        return new

    def change(self, source: str, changes: Mapping[str, Any]) -> Feed:
        """Change a feed's fields, named as in :class:`~shared.store.Feed`; returns it changed.

        ``interval_s`` and ``cron`` take each other's place. Changed URLs clear the validators and
        the history of earlier answers. A new schedule, new URLs or enabling make a
        scheduled feed due at once. ``window`` is a FeedWindow; None ends the window that there is,
        and the schedule holds again. A changed one holds from the next interval on.

        Raises:
            NotFoundError: there is no such feed.
            InvalidRequestError: as for :meth:`add`.
            ConflictError: another feed has these URLs.
        """
        feed = self.get(source)
        wanted = self._check_changes(changes)
        update = {name: value for name, value in wanted.items() if value != getattr(feed, name)}
        if "urls" in update:
            self._refuse_known_urls(update["urls"])
            update |= {"validators": {}, "history": {}, "consecutive_failures": 0, "error": None}
        update |= self._reschedule(feed, update)
        self._prepare_window(feed, update)
        if update and not self._stores.feeds.update(source, update):
            raise NotFoundError(f"there is no feed {source!r}")
        self._changes.set()
        changed = self.get(source)
        self._follow_window(feed, changed, update)
        return changed

    def _prepare_window(self, feed: Feed, update: Mapping[str, Any]) -> None:
        """Refuse a window that is not fit, or move a window's start, before the feed is stored."""
        if not {"window", "urls"} & update.keys():
            return
        stored = update.get("window", feed.window)
        wanted = FeedWindow.read(stored) if stored is not None else None
        check_window(update.get("urls", feed.urls), wanted)
        known = read_window(feed)
        if wanted is not None and known is not None and wanted.first != known.first:
            self._windows.change_start(feed, wanted)

    def _follow_window(self, before: Feed, feed: Feed, update: Mapping[str, Any]) -> None:
        """Begin or end a feed's window once the feed is stored so, or have it looked at now."""
        if feed.window is None:
            if before.window is not None:
                self._windows.end(feed.source)
        elif read_window(before) is None:
            self._windows.begin(feed)
        elif {"window", "urls", "enabled"} & update.keys():
            self._windows.wake(feed.source)

    def _check_changes(self, changes: Mapping[str, Any]) -> dict[str, Any]:
        wanted = dict(changes)
        if "urls" in wanted:
            wanted["urls"] = self._check_urls(wanted["urls"])
        if wanted.get("cron") is not None:
            check_cron(wanted["cron"], self._clock.now())
        if wanted.get("interval_s") is not None:
            wanted["cron"] = None
        elif wanted.get("cron") is not None:
            wanted["interval_s"] = None
        if (window := wanted.get("window")) is not None:
            check_window((), window)
            wanted["window"] = window.to_document()
        if "title" in wanted:
            wanted["title"] = tidy_title(wanted["title"])
        if "tags" in wanted:
            wanted["tags"] = read_tags(wanted["tags"])
        return wanted

    def remove(self, source: str) -> None:
        """Delete a feed with its kept bodies; its items stay, its queued or fetching import fails.

        Also one whose document cannot be read.

        Raises:
            NotFoundError: there is no such feed.
        """
        running = self._stores.feeds.read_running_import(source)
        if running is not None:
            self._fail_import(running)
        # A job that is being worked on stays: its run finds that the feed is gone.
        self._fetch_queue.remove_many([fetch_job_id(source)])
        self._stores.bodies.delete(source)
        was_there = self._stores.feeds.delete(source)
        # Last: as long as the feed is there, a crash must not cost it the place where it reads.
        # Also when it is gone, for that crash may have come here.
        self._windows.end(source)
        self._backfills.end(source)
        if not was_there:
            raise NotFoundError(f"there is no feed {source!r}")

    def _fail_import(self, import_id: str) -> None:
        error = f"{ErrorKind.FEED_DELETED}: the feed was deleted"
        outcome = {
            "error": error,
            "error_kind": ErrorKind.FEED_DELETED,
            "finished_at": self._clock.now(),
        }
        if self._stores.imports.fail(import_id, None, outcome):
            self._stores.documents.delete(import_id)
            failed = self._stores.imports.get(import_id)
            if failed is not None:
                self._outcomes.report_failed(failed, error)

    def _reschedule(self, feed: Feed, update: Mapping[str, Any]) -> dict[str, Any]:
        reason = _why_due(update)
        enabled = update.get("enabled", feed.enabled)
        # Another interval does not touch why a feed is disabled: its publisher's 410, perhaps.
        if reason is None or (not enabled and reason == SCHEDULE_CHANGED):
            return {}
        names = ("enabled", "interval_s", "cron", "window")
        settings = {name: getattr(feed, name) for name in names}
        return self._due(reason, {**settings, **update})

    def _due(self, reason: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return time and reason of a feed that is due at once, if it ever is."""
        if not settings["enabled"]:
            return {"next_fetch_at": None, "next_fetch_reason": DISABLED}
        if settings["window"] is not None:
            return {"next_fetch_at": None, "next_fetch_reason": BY_WINDOW}
        if settings["interval_s"] is None and settings["cron"] is None:
            return {"next_fetch_at": None, "next_fetch_reason": NOT_SCHEDULED}
        return {"next_fetch_at": self._clock.now(), "next_fetch_reason": reason}

    def _insert(self, source: str | None, fields: Mapping[str, Any]) -> Feed:
        if source is not None:
            return self._insert_as(source, fields)
        urls = fields["urls"]
        try:
            return self._insert_as(make_source(urls[0]), fields)
        except ConflictError:
            # Whoever was faster with these URLs may have taken that name.
            self._refuse_known_urls(urls)
            return self._insert_as(make_hashed_source(urls[0]), fields)

    def _insert_as(self, source: str, fields: Mapping[str, Any]) -> Feed:
        check_new_source(source)
        new = Feed(source=source, created_at=self._clock.now(), **fields)
        try:
            self._stores.feeds.insert(new)
        except ConflictError:
            if not self.exists(source):
                self._refuse_known_urls(new.urls)
            raise
        self._changes.set()
        return new

    def lift_pause(self, host: str) -> None:
        """Let a host be asked again that asked to be left alone; its feeds are due at once.

        Raises:
            NotFoundError: the host does not pause.
        """
        self._retry_after.lift(host)
        self._changes.set()

    def _refuse_known_urls(self, urls: Sequence[str]) -> None:
        known = self._stores.feeds.find_by_urls(urls) if urls else None
        if known is not None:
            what = "this URL" if len(urls) == 1 else "these URLs"
            raise ConflictError(f"feed {known.source!r} has {what} already")

    def _check_urls(self, urls: Sequence[str]) -> list[str]:
        if len(urls) > MAX_URLS:
            raise InvalidRequestError(f"a feed can have at most {MAX_URLS} URLs, not {len(urls)}")
        if any(is_masked(url) for url in urls):
            raise InvalidRequestError(
                f"URL contains {MASK} instead of a secret: write the secret itself"
            )
        checked = [self._check_url(url) for url in urls]
        if len(set(checked)) != len(checked):
            raise InvalidRequestError("urls must not contain the same URL twice")
        return checked


def _why_due(update: Mapping[str, Any]) -> str | None:
    """Return why a changed feed is due anew (or no more), or None when its schedule goes on."""
    if "enabled" in update and not update["enabled"]:
        return DISABLED
    if "urls" in update:
        return URL_CHANGED
    if "window" in update:
        return WINDOW_ENDED
    if "interval_s" in update or "cron" in update:
        return SCHEDULE_CHANGED
    return ENABLED if "enabled" in update else None
